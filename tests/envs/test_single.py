"""One task as a plain Gymnasium environment."""

import os
from typing import Any

import gymnasium
import numpy as np
import pytest

import metarl_envs
from metarl_envs.errors import UserError
from metarl_envs.single import SingleTaskEnv


def test_an_episode_is_the_one_of_the_vector() -> None:
    family = metarl_envs.make("navigation", horizon=3)
    vector = family.make_env(1)
    vector.set_tasks([family.test_tasks[2]])
    env = gymnasium.make("metarl/Navigation-test-v0", task=2, horizon=3)
    assert isinstance(env.unwrapped, SingleTaskEnv)
    assert env.unwrapped.task == family.test_tasks[2]
    expected, _ = vector.reset(seed=[5])
    np.testing.assert_array_equal(env.reset(seed=5)[0], expected[0])
    for step in range(3):
        action = np.array([0.5, -0.2 * step])
        observations, rewards, terminated, truncated, infos = vector.step(action[None])
        observation, reward, *ended, info = env.step(action)
        last = infos["final_obs"] if truncated[0] else observations  # the vector has begun the next episode
        np.testing.assert_array_equal(observation, last[0])
        assert (reward, ended, info) == (rewards[0], [terminated[0], truncated[0]], {"success": infos["success"][0]})
    assert ended == [False, True]
    np.testing.assert_array_equal(env.reset(seed=5)[0], expected[0])


@pytest.mark.parametrize("task", [-1, 40])
def test_a_task_that_is_not_there(task) -> None:
    with pytest.raises(UserError, match=f"^task must be from 0 to 39, as there are 40 tasks: got {task}$"):
        gymnasium.make("metarl/Navigation-test-v0", task=task)


@pytest.mark.parametrize("task", [True, False])
def test_what_is_no_index_of_a_task(task) -> None:
    with pytest.raises(UserError, match=r"^task must be the index of a task, from 0 to 39: got "):
        gymnasium.make("metarl/Navigation-test-v0", task=task)


def test_pictures_at_the_robots_own_speed(monkeypatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
    env = gymnasium.make("metarl/HalfCheetahVel-train-v0", horizon=3, render_mode="rgb_array")
    assert env.metadata["render_fps"] == 20  # a step lasts 0.05 s
    env.reset(seed=0)
    frame: Any = env.render()
    assert frame.shape == (480, 480, 3)
    env.close()
