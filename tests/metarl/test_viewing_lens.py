"""Pictures of the only environment of a vector, at any size and from any camera."""

from contextlib import closing

import numpy as np
import pytest

from metarl.gl import HEADLESS_BACKENDS, can_draw
from metarl.viewing.lens import Lens
from metarl_envs.core import Task
from metarl_envs.metaworld import MetaWorld
from metarl_envs.navigation import Navigation


def test_pictures_of_any_size_from_any_camera(monkeypatch) -> None:
    backend = next(filter(can_draw, HEADLESS_BACKENDS), None)
    if backend is None:
        pytest.skip("neither EGL nor OSMesa draws on this machine")
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):
        monkeypatch.setenv(name, backend)
    distribution = MetaWorld("ML1", task="reach-v3", horizon=2)
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:
        env.set_tasks([distribution.test_tasks[0]])
        env.reset(seed=[1])
        pictures = []
        for size, camera in ((100, None), (700, None), (100, "topview")):
            with closing(Lens(env, "reach", size, camera)) as lens:
                picture = lens.draw()
                assert picture.shape == (size, size, 3)
                assert np.array_equal(picture, lens.draw())
                pictures.append(picture[:: size // 100, :: size // 100].astype(float))
        assert np.abs(pictures[0] - pictures[1]).mean() < 15 < np.abs(pictures[0] - pictures[2]).mean()


def test_pictures_that_are_not_mujocos_are_scaled(monkeypatch) -> None:
    monkeypatch.setattr("metarl.viewing.lens.choose_backend", lambda: None)
    env = Navigation(horizon=5).make_env(1, render_mode="rgb_array")
    env.set_tasks([Task("navigation", [0.3, -0.4])])
    env.reset(seed=[1])
    (original,) = env.render()
    same, larger, smaller = (Lens(env, "navigation", size).draw() for size in (480, 960, 120))
    assert np.array_equal(same, original)
    assert np.array_equal(larger[::2, ::2], original)
    assert smaller.shape == (120, 120, 3)
    assert np.abs(smaller.astype(float) - original[2::4, 2::4]).mean() < 3
