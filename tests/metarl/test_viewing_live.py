"""MuJoCo's viewer: what is shown when, and what happens where it cannot be opened."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import gymnasium
import mujoco
import numpy as np
import pytest

from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.viewing import live
from metarl.viewing.film import Shot
from metarl.viewing.live import follow, has_display, play_live
from metarl.viewing.playing import Moment
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.locomotion import Locomotion
from metarl_envs.metaworld import MetaWorld
from metarl_envs.navigation import Navigation
from metarl_envs.scenes import Scene
from metarl_envs.wrapped import WrappedDistribution

HORIZON = 3
ONE = Shot(adaptation_episodes=1)

_IN_A_WINDOW = """
import sys
sys.path[:0] = {path!r}
from test_viewing_live import Still
from mujoco import viewer
from metarl_envs.metaworld import MetaWorld
from metarl.viewing.film import Shot
from metarl.viewing.live import play_live

launch, shown = viewer.launch_passive, []

def launch_and_close_soon(*arguments, **options):
    handle = launch(*arguments, **options)
    sync = handle.sync
    handle.sync = lambda: (sync(), shown.append(handle.cam.distance), len(shown) == 7 and handle.close())
    return handle

viewer.launch_passive = launch_and_close_soon
distribution = MetaWorld("ML1", task="reach-v3", horizon=3)
play_live(Still(), distribution, distribution.test_tasks[0], Shot(adaptation_episodes=1))
print(len(shown), set(shown))
"""


class Still:
    """Never moves."""

    adaptation_steps = 1

    def __init__(self, actions: int = 4) -> None:
        self.shape = 1, actions

    def init(self) -> None:
        pass

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        return np.zeros(self.shape), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        pass

    def adapt(self) -> None:
        pass

    def reset(self, env_mask: BoolArray) -> None:
        pass

    def eval_action(self, observations: Array) -> Array:
        return np.zeros(self.shape)


class Viewer:
    """Stands in for the handle that MuJoCo gives, and is closed after some pictures."""

    left = False

    def __init__(self, model: Any, data: Any, closes_after: int) -> None:
        self.model, self.data, self.closes_after = model, data, closes_after
        self.cam, self.opt, self.user_scn = mujoco.MjvCamera(), mujoco.MjvOption(), mujoco.MjvScene(model, 5)
        self.shown: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def is_running(self) -> bool:
        return len(self.shown) < self.closes_after

    def sync(self) -> None:
        self.shown.append(self.data.time)


@pytest.fixture(scope="module")
def reach() -> MetaWorld:
    return MetaWorld("ML1", task="reach-v3", horizon=HORIZON)


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> list[Viewer]:
    """Opens a viewer that is no window and that is closed after nine pictures."""
    from mujoco import viewer

    opened: list[Viewer] = []

    def launch(model: Any, data: Any, **options: Any) -> Viewer:
        opened.append(Viewer(model, data, closes_after=9))
        return opened[-1]

    monkeypatch.setattr(live, "has_display", lambda: True)
    monkeypatch.setattr(viewer, "launch_passive", launch)
    return opened


def test_before_and_after_take_turns_until_the_window_is_closed(reach, viewer, capsys) -> None:
    task = reach.test_tasks[0]
    play_live(Still(), reach, task, Shot(adaptation_episodes=2))
    (opened,) = viewer
    assert len(opened.shown) == 9  # three pictures an episode: the start and each step but the last
    assert opened.left
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "reach-v3 before adaptation",
        "reach-v3 after 2 adaptation episodes",
        "reach-v3 before adaptation",
    ]
    assert all(": step 3, return " in line and line.endswith("not solved") for line in lines)


def test_a_trial_is_shown_episode_by_episode(reach, viewer, capsys) -> None:
    play_live(Still(), reach, reach.test_tasks[0], Shot(adaptation_episodes=2, trial=True))
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "reach-v3 before adaptation",
        "reach-v3 adaptation episode 1 of 2",
        "reach-v3 adaptation episode 2 of 2",
    ]


def test_the_goal_is_marked(reach, viewer) -> None:
    task = reach.test_tasks[0]
    play_live(Still(), reach, task, ONE)
    scene = viewer[0].user_scn
    assert scene.ngeom == 1
    assert scene.geoms[0].pos == pytest.approx(task.parameters[-3:], abs=1e-6)  # reach's rand_vec ends with the goal
    assert not viewer[0].opt.sitegroup.any()  # Meta-World's own marks are in wrong places


def test_robots_are_followed_and_their_marks_move_along(viewer) -> None:
    cheetah = Locomotion("HalfCheetahVel", horizon=HORIZON, num_test_tasks=1)
    play_live(Still(6), cheetah, cheetah.test_tasks[0], ONE)
    opened = viewer[0]
    assert len(opened.shown) == 9
    assert (opened.cam.type, opened.cam.trackbodyid) == (mujoco.mjtCamera.mjCAMERA_TRACKING, 1)
    assert opened.user_scn.ngeom in (1, 2)  # the target speed, and the speed where there is any
    assert opened.user_scn.geoms[0].type == mujoco.mjtGeom.mjGEOM_ARROW


def test_wrapped_environments_are_shown(viewer) -> None:
    def make(render_mode: str | None) -> gymnasium.Env[Any, Any]:
        return gymnasium.make("Reacher-v5", render_mode=render_mode)

    tasks = Task("reacher", [0.0]), Task("reacher", [1.0])
    reacher = WrappedDistribution("reacher", tasks[:1], tasks[1:], make, lambda env, task: None, HORIZON)
    play_live(Still(2), reacher, tasks[1], ONE)
    assert len(viewer[0].shown) == 9


def test_a_camera_of_the_model(reach, viewer) -> None:
    play_live(Still(), reach, reach.test_tasks[0], Shot(adaptation_episodes=1, camera="topview"))
    assert (viewer[0].cam.type, viewer[0].cam.fixedcamid) == (mujoco.mjtCamera.mjCAMERA_FIXED, 0)
    with pytest.raises(UserError, match="ML1-reach-v3 has no camera 'top': it has topview, corner, "):
        play_live(Still(), reach, reach.test_tasks[0], Shot(camera="top"))


def test_interrupting_closes_the_window(reach, viewer, monkeypatch) -> None:
    monkeypatch.setattr(Viewer, "sync", lambda self: os.kill(os.getpid(), signal.SIGINT))  # Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        play_live(Still(), reach, reach.test_tasks[0], ONE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert viewer[0].left


def test_real_time_starts_after_adaptation(monkeypatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))
    data = SimpleNamespace(time=70.0)
    shown: list[tuple[float, float]] = []
    viewer = SimpleNamespace(
        is_running=lambda: True,
        sync=lambda: shown.append((data.time, clock.now)),
        lock=nullcontext,
        user_scn=SimpleNamespace(geoms=[], ngeom=0),
    )
    start = Moment("", 0)

    def episode() -> Iterator[Moment]:
        clock.now, data.time = 1030.0, 5.0  # adaptation took half a minute and the simulation has begun anew
        yield start
        data.time, clock.now = 5.25, clock.now + 0.125  # a step of a quarter second, computed in half of that
        yield replace(start, step=1)
        data.time, clock.now = 5.5, clock.now + 2.0  # a slow one: the next is shown at once
        yield replace(start, step=2)
        data.time = 5.0
        yield replace(start, step=3, over=True)

    assert follow(viewer, lambda: Scene(None, data), episode()) == replace(start, step=3, over=True)
    assert shown == [(5.0, 1030.0), (5.25, 1030.25), (5.5, 1032.25)]


def test_without_a_display_one_line_says_so(reach, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="--live needs a display") as error:
        play_live(Still(), reach, reach.test_tasks[0], ONE)
    assert "\n" not in str(error.value)


def test_a_display_that_is_not_there_is_none(monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()


def test_other_simulators_are_refused() -> None:
    navigation = Navigation(num_train_tasks=1, num_test_tasks=1)
    with pytest.raises(UserError, match="navigation cannot be opened in MuJoCo's viewer"):
        play_live(Still(), navigation, navigation.test_tasks[0], ONE)


@pytest.fixture
def display() -> Iterator[str]:
    """A display, of our own where the machine has none."""
    if "DISPLAY" in os.environ:
        yield os.environ["DISPLAY"]
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no display, and no Xvfb to make one")
    read, write = os.pipe()
    command = ["Xvfb", "-noreset", "-displayfd", str(write), "-screen", "0", "320x240x24"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with open(read) as ready:
            number = ready.readline().strip()
        yield f":{number}"
        server.terminate()


def test_a_real_window(display, tmp_path) -> None:
    path = [os.path.dirname(__file__), *(entry for entry in sys.path if entry)]
    script = _IN_A_WINDOW.format(path=path)
    environ = os.environ | {"DISPLAY": display}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    *lines, count = ran.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        "reach-v3 before adaptation",
        "reach-v3 after 1 adaptation episode",
    ]
    assert count == "7 {1.6}"
