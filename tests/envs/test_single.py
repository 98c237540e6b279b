"""One task as a plain Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import metarl_envs
from metarl_envs.errors import UserError
from metarl_envs.single import SingleTaskEnv

# not Bandit: its episodes of one step are against what the checker assumes
FAMILIES: dict[str, dict[str, Any]] = {
    "Navigation": {"horizon": 4},
    "Tabular": {},
    "ML1": {"env_name": "reach-v3", "horizon": 4},
    "HalfCheetahVel": {"horizon": 4},
}


@pytest.mark.filterwarnings("ignore:.*A Box observation space:UserWarning")  # without bounds, or with one value
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_makes_an_environment_that_gymnasium_accepts(name) -> None:
    env = gymnasium.make(f"metarl/{name}-train-v0", **FAMILIES[name])
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


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
