"""The OpenGL backend: which one is chosen, and that a try is a real one."""

import os
import subprocess
import sys

import pytest

from metarl import gl
from metarl_envs.errors import UserError

_DRAW_WITH_GYMNASIUM = """
import mujoco  # imported before the choice is made, as the commands do
from metarl.gl import choose_backend
import gymnasium
print(choose_backend())
env = gymnasium.make("Reacher-v5", render_mode="rgb_array", width=64, height=64)
env.reset(seed=0)
assert env.render().std() > 10
env.close()
"""


class Environment(dict[str, str]):
    """Stands in for `os.environ`, where pytest keeps a variable of its own."""

    @property
    def chosen(self) -> tuple[str | None, ...]:
        return tuple(self.get(name) for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"))


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An empty environment of the test's own, on Linux."""
    monkeypatch.setattr(sys, "platform", "linux")
    environ = Environment()
    monkeypatch.setattr(os, "environ", environ)
    return environ


def only(monkeypatch: pytest.MonkeyPatch, *working: str) -> list[str]:
    """Makes these backends the ones that work, and returns the list of those tried."""
    tried: list[str] = []

    def can_draw(backend: str) -> bool:
        tried.append(backend)
        return backend in working

    monkeypatch.setattr(gl, "can_draw", can_draw)
    return tried


def test_egl_comes_first(monkeypatch, environ) -> None:
    tried = only(monkeypatch, "egl", "osmesa")
    assert gl.choose_backend() == "egl"
    assert tried == ["egl"]
    assert environ.chosen == ("egl", "egl")


def test_osmesa_where_egl_fails(monkeypatch, environ) -> None:
    environ["PYOPENGL_PLATFORM"] = "egl"
    only(monkeypatch, "osmesa")
    assert gl.choose_backend() == "osmesa"
    assert environ.chosen == ("osmesa", "osmesa")


def test_none_names_the_packages_in_one_line(monkeypatch, environ) -> None:
    only(monkeypatch)
    with pytest.raises(UserError, match="apt-get install libegl1 libgl1-mesa-dri libopengl0") as error:
        gl.choose_backend()
    assert "\n" not in str(error.value)
    assert environ.chosen == (None, None)


@pytest.mark.parametrize(
    ("said", "expected"), [("osmesa", "osmesa"), (" OSMesa", "osmesa"), ("glfw", "glfw"), ("", "egl")]
)
def test_what_is_set_is_kept(monkeypatch, environ, said, expected) -> None:
    environ["MUJOCO_GL"] = said
    only(monkeypatch, "egl", "osmesa", "glfw")
    assert gl.choose_backend() == expected
    assert environ.chosen == (expected, None if expected == "glfw" else expected)


def test_what_is_set_and_fails_is_not_replaced(monkeypatch, environ) -> None:
    environ["MUJOCO_GL"] = "egl"
    only(monkeypatch, "osmesa")
    with pytest.raises(UserError, match="MUJOCO_GL=egl does not draw"):
        gl.choose_backend()
    assert environ.chosen == ("egl", None)


def test_unknown_backend_is_told_with_the_nearest(monkeypatch, environ) -> None:
    environ["MUJOCO_GL"] = "elg"
    only(monkeypatch)
    with pytest.raises(UserError, match="unknown MUJOCO_GL 'elg'; did you mean 'egl'"):
        gl.choose_backend()


def test_other_systems_need_no_choice(monkeypatch, environ) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    tried = only(monkeypatch, "egl")
    assert gl.choose_backend() is None
    assert (tried, environ.chosen) == ([], (None, None))


def test_a_failing_try_leaves_this_process_and_folder_alone(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    assert not gl.can_draw("vga")  # MuJoCo refuses to be imported with it
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", gl.HEADLESS_BACKENDS)
def test_the_choice_holds_for_gymnasium_in_a_process_that_knows_mujoco(backend, tmp_path) -> None:
    if sys.platform != "linux" or not gl.can_draw(backend):
        pytest.skip(f"{backend} does not draw on this machine")
    environ = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    environ["MUJOCO_GL"] = backend
    environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", _DRAW_WITH_GYMNASIUM]
    ran = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == backend
