"""What is to be seen of each family: marks, texts, and cameras."""

from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest

from metarl_envs.core import Task, TaskVectorEnv, describe_parameters
from metarl_envs.errors import UserError
from metarl_envs.locomotion import Locomotion
from metarl_envs.navigation import Navigation
from metarl_envs.scenes import ACTUAL, GOAL, Mark, Scene, check_camera
from metarl_envs.wrapped import WrappedDistribution


def begun(family: str, parameters: list[float]) -> TaskVectorEnv:
    env = Locomotion(family, horizon=5).make_env(1, render_mode="rgb_array")
    env.set_tasks([Task(family, parameters)])
    env.reset(seed=[1])
    return env


def seen(env: TaskVectorEnv) -> Scene:
    scene = env.scene()
    assert scene is not None
    return scene


def along(mark: Mark) -> np.ndarray[Any, Any]:
    assert mark.tip is not None
    return np.subtract(mark.tip, mark.position)


def test_speeds_are_arrows_and_text() -> None:
    with closing(begun("HalfCheetahVel", [1.5])) as env:
        (target,) = seen(env).marks  # at rest there is no other arrow
        assert target.colour == GOAL
        assert along(target) == pytest.approx((1.5, 0, 0))
        assert env.describe() == "target speed 1.50 m/s; speed 0.00 m/s"
        start = env.simulation(0).qpos[0]  # type: ignore[attr-defined]
        env.step(np.ones((1, 6)))
        speed = (env.simulation(0).qpos[0] - start) / 0.05  # type: ignore[attr-defined]
        target, actual = seen(env).marks
        assert actual.colour == ACTUAL
        assert along(actual) == pytest.approx((speed, 0, 0))
        assert env.describe() == f"target speed 1.50 m/s; speed {speed:.2f} m/s"


@pytest.mark.parametrize(
    ("family", "parameters", "direction", "text"),
    [
        ("HalfCheetahDir", [-1.0], (-1, 0, 0), "task: run backwards; speed that way -0.00 m/s"),
        ("AntDir", [np.pi / 2], (0, 1, 0), "task: run towards 90°; speed that way 0.00 m/s"),
        ("HumanoidDir", [np.pi], (-1, 0, 0), "task: run towards 180°; speed that way 0.00 m/s"),
        ("Walker2dVel", [5.0], (1, 0, 0), "target speed 5.00 m/s; speed 0.00 m/s"),
    ],
)
def test_directions_are_arrows_and_text(family, parameters, direction, text) -> None:
    with closing(begun(family, parameters)) as env:
        assert along(seen(env).marks[0]) == pytest.approx(direction, abs=1e-9)
        assert env.describe() == text


def test_a_place_is_a_ball_and_text() -> None:
    with closing(begun("AntGoal", [2.0, -1.0])) as env:
        (mark,) = seen(env).marks
        assert (mark.position, mark.tip) == ((2.0, -1.0, 0.0), None)
        assert env.describe().startswith("goal x 2.00, y -1.00 m; distance 2.2")


def test_random_physics_is_told_by_the_mean_factor_of_each_field() -> None:
    distribution = Locomotion("HopperRandParams", num_train_tasks=1, num_test_tasks=1)
    sizes = distribution.family._sizes()  # type: ignore[attr-defined]
    parameters = np.concatenate(
        [np.full(size, factor) for size, factor in zip(sizes, (0.5, 2.0, 1.0, 3.0), strict=True)]
    )
    with closing(begun("HopperRandParams", parameters.tolist())) as env:
        assert seen(env).marks == ()
        assert env.describe() == "mass x0.5, inertia x2, damping x1, friction x3; speed 0.00 m/s"


def test_navigation_tells_its_goal_and_the_distance() -> None:
    env = Navigation(horizon=5).make_env(1)
    env.set_tasks([Task("navigation", [0.3, -0.4])])
    env.reset(seed=[1])
    assert env.scene() is None
    assert env.describe() == "hidden goal x 0.30, y -0.40; distance 0.50"
    env.step(np.array([[0.1, -0.1]]))
    assert env.describe() == "hidden goal x 0.30, y -0.40; distance 0.36"


def test_any_other_task_is_told_by_its_parameters() -> None:
    assert describe_parameters(Task("a", [1.0, 0.123456])) == "parameters 1, 0.1235"
    assert describe_parameters(Task("a", range(12))) == "parameters 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."


def wrapped(name: str) -> TaskVectorEnv:
    def make(render_mode: str | None) -> gymnasium.Env[Any, Any]:
        return gymnasium.make(name, render_mode=render_mode)

    tasks = Task("wrapped", [0.0]), Task("wrapped", [0.25])
    distribution = WrappedDistribution("wrapped", tasks[:1], tasks[1:], make, lambda env, task: None, 5)
    env = distribution.make_env(1, render_mode="rgb_array")
    env.set_tasks(tasks[1:])
    env.reset(seed=[1])
    return env


def test_wrapped_environments_show_mujoco_where_there_is_any() -> None:
    with closing(wrapped("InvertedPendulum-v5")) as env:
        scene = seen(env)
        assert (scene.model.nq, scene.view, scene.marks) == (2, None, ())
        assert env.describe() == "parameters 0.25"


def test_cameras_are_listed_where_one_is_unknown() -> None:
    with closing(begun("HalfCheetahDir", [1.0])) as env:
        check_camera(seen(env), "track", "HalfCheetahDir")
        with pytest.raises(UserError, match=r"HalfCheetahDir has no camera 'side': it has track$"):
            check_camera(seen(env), "side", "HalfCheetahDir")
    told = pytest.raises(UserError, match="wrapped has no camera 'side': its model has none: leave --camera out")
    with closing(wrapped("InvertedPendulum-v5")) as env, told:
        check_camera(seen(env), "side", "wrapped")
