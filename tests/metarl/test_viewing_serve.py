"""The viewer in the browser: the page, what its controls do, and the geometry of its scene."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.viewing import serve
from metarl.viewing.film import Shot
from metarl_envs.errors import UserError
from metarl_envs.locomotion import Locomotion

CHROMIUM = Path("/usr/bin/chromium")
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
HORIZON = 6

_GEOMS = """<mujoco><asset>
<texture name="t" type="2d" builtin="flat" rgb1="1 .5 0" width="4" height="4"/>
<material name="m" texture="t" rgba="1 1 .5 1"/>
</asset><worldbody>
<geom type="box" size=".1 .2 .3" rgba="1 0 0 .5"/> <geom type="sphere" size=".4"/>
<geom type="ellipsoid" size=".1 .2 .3"/> <geom type="cylinder" size=".1 .5"/> <geom type="capsule" size=".1 .5"/>
<geom type="plane" size="2 0 1"/> <geom type="box" size="1 1 1" material="m"/>
</worldbody></mujoco>"""


class Pusher:
    """Pushes all joints one way; adapting is counted."""

    adaptation_steps = 1

    def __init__(self) -> None:
        self.adapted: list[int] = []

    def init(self) -> None:
        self.episodes = 0

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        return np.zeros((1, 6)), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        self.episodes += int(timestep.truncated[0])

    def adapt(self) -> None:
        self.adapted.append(self.episodes)

    def reset(self, env_mask: BoolArray) -> None:
        pass

    def eval_action(self, observations: Array) -> Array:
        return np.ones((1, 6))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cheetah() -> Locomotion:
    return Locomotion("HalfCheetahVel", horizon=HORIZON, num_train_tasks=1, num_test_tasks=4)


@pytest.fixture
def served(cheetah: Locomotion, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Pusher]]:
    """A viewer's port and agent; it ends with the test."""
    pages: list[serve.Page] = []
    made = threading.Event()

    class Page(serve.Page):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            pages.append(self)
            made.set()

    monkeypatch.setattr(serve, "Page", Page)
    agent, port = Pusher(), free_port()
    tasks = [("50th percentile of gain", 2), ("", 0)]
    thread = threading.Thread(target=serve.serve_run, args=(agent, cheetah, tasks, Shot(adaptation_episodes=3), port))
    thread.start()
    assert made.wait(60)
    yield port, agent
    pages[0].close()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of websockets and the event loop, as they end
def test_a_browser_shows_what_is_picked(served, cheetah) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium")
    port, agent = served
    complaints: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=SOFTWARE_GL)
        page = browser.new_page(viewport={"width": 640, "height": 360})
        page.set_default_timeout(120_000)  # pictures are slow without a GPU
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}")
        page.get_by_text(f"step {HORIZON} of {HORIZON}").wait_for()
        page.get_by_text("after 3 adaptation episodes").wait_for()
        page.locator("input[value*='50th percentile of gain']:visible").first.dispatch_event("click")
        page.locator("[role=option]").filter(has_text="3 (").first.dispatch_event("click")
        page.get_by_text(f"target speed {cheetah.test_tasks[3].parameters[0]:.2f} m/s").wait_for()
        # The scene is drawn: the page is not of one colour where no control is.
        picture = page.screenshot(clip={"x": 0, "y": 60, "width": 300, "height": 300})
        assert len(picture) > 3000
        browser.close()
    assert complaints == []
    assert all(url.startswith((f"http://127.0.0.1:{port}", "data:", "blob:")) for url in asked)
    assert agent.adapted[0] == 3


def test_a_port_in_use_is_told(cheetah) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot serve at port {port}: .*; name another by --port"):
            serve.serve_run(Pusher(), cheetah, [("", 0)], Shot(), port)


def test_without_viser_one_line_says_what_to_install(cheetah, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UserError, match=r"--serve needs viser, .*: pip install 'metarl-suite\[viewer\]'"):
        serve.serve_run(Pusher(), cheetah, [("", 0)], Shot(), free_port())


def test_geoms_become_meshes_of_their_size_and_colour() -> None:
    from metarl.viewing.web_scene import geom_colour, geom_mesh

    model = mujoco.MjModel.from_xml_string(_GEOMS)
    sizes = [(0.1, 0.2, 0.3), (0.4,) * 3, (0.1, 0.2, 0.3), (0.1, 0.1, 0.5), (0.1, 0.1, 0.6), (2.0, 20.0, 0.0005)]
    for geom, half in enumerate(sizes):
        mesh = geom_mesh(model, geom)
        assert mesh is not None
        assert mesh.vertices.max(0) == pytest.approx(half, rel=0.03)
        assert mesh.vertices.min(0) == pytest.approx(np.negative(half), rel=0.03)
        assert mesh.faces.max() < len(mesh.vertices)
    assert geom_colour(model, 0) == pytest.approx((1, 0, 0, 0.5))
    assert geom_colour(model, 6) == pytest.approx((1, 0.5, 0, 1), abs=0.01)  # the material's, times the texture's


def test_pictures_come_in_real_time_and_not_too_many(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    clock = serve._Clock()
    shown = [clock.wait(step * 0.01, 1.0, anew=step == 0) for step in range(9)]
    assert shown == [True, False, False, False, True, False, False, False, True]  # at most 30 a second
    assert now[0] == pytest.approx(100.08)
    assert clock.wait(0.18, 2.0, anew=False)  # at twice the speed
    assert now[0] == pytest.approx(100.13)


def test_the_marks_of_a_scene_and_its_text(cheetah) -> None:
    with closing(cheetah.make_env(1, render_mode="rgb_array")) as env:
        env.set_tasks([cheetah.test_tasks[0]])
        env.reset(seed=[1])
        speed = cheetah.test_tasks[0].parameters[0]
        assert env.describe() == f"target speed {speed:.2f} m/s; speed 0.00 m/s"
        (target,) = env.scene().marks
        assert np.subtract(target.tip, target.position) == pytest.approx((speed, 0, 0))
