from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from metarl_envs.bandit import Bandit, BanditVectorEnv
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.testing import check_distribution


def env_for(*means: Any, seed: int | list[int] = 0) -> BanditVectorEnv:
    env = BanditVectorEnv(len(means), len(means[0]))
    env.set_tasks([Task("bandit", arms) for arms in means])
    env.reset(seed=seed)
    return env


@pytest.mark.parametrize("arms", [1, 2, 5])
def test_keeps_the_contract(arms: int) -> None:
    check_distribution(Bandit(arms, num_train_tasks=50, num_test_tasks=5))


def test_each_pull_is_an_episode() -> None:
    env = env_for([0.2, 0.8], [0.5, 0.1])
    for _ in range(3):
        observations, rewards, terminated, truncated, infos = env.step(np.array([0, 1]))
        assert observations.tolist() == infos["final_obs"].tolist() == [[0.0], [0.0]]
        assert set(rewards) <= {0.0, 1.0}
        assert not terminated.any()
        assert truncated.all()
        assert infos["_final_obs"].all()


def test_success_is_pulling_the_best_arm_whatever_it_pays() -> None:
    env = env_for([0.0, 0.1, 0.05], [0.0, 0.1, 0.05], [1.0, 0.3, 1.0])
    infos = env.step(np.array([0, 1, 2]))[4]
    assert infos["success"].tolist() == [False, True, True]


def test_arms_pay_at_the_rate_of_their_means() -> None:
    means = np.array([[0.0, 0.3], [1.0, 0.9]])
    env = env_for(*means)
    pulls = 4000
    for arm in (0, 1):
        paid = sum(env.step(np.array([arm, arm]))[1] for _ in range(pulls))
        np.testing.assert_allclose(paid / pulls, means[:, arm], atol=0.03)  # four standard errors


def rewards_of(env: BanditVectorEnv, pulls: int) -> npt.NDArray[Any]:
    arms = np.arange(pulls) % 2
    return np.array([env.step(np.full(env.num_envs, arm))[1] for arm in arms])


def test_payments_depend_on_the_environments_own_seed_only() -> None:
    means = [0.4, 0.6]
    two, three = env_for(means, means, seed=[7, 8]), env_for(means, means, means, seed=[9, 7, 8])
    np.testing.assert_array_equal(rewards_of(two, 600), rewards_of(three, 600)[:, 1:])
    assert (rewards_of(two, 600)[:, 0] != rewards_of(two, 600)[:, 1]).any()


def test_payments_are_those_of_the_seeds_generator_across_blocks() -> None:
    means = np.array([0.4, 0.6])
    uniforms = np.random.default_rng(7).random(1000)
    expected = uniforms < means[np.arange(1000) % 2]
    np.testing.assert_array_equal(rewards_of(env_for(means, seed=[7]), 1000)[:, 0], expected)


def test_reset_without_a_seed_continues_each_stream() -> None:
    means = [0.4, 0.6]
    whole = rewards_of(env_for(means, means, seed=[7, 8]), 600)
    env = env_for(means, means, seed=[7, 8])
    parts = [rewards_of(env, 100)]
    env.reset()
    parts.append(rewards_of(env, 300))
    env.reset(seed=[None, 8])
    rest = rewards_of(env, 200)
    np.testing.assert_array_equal(np.concatenate(parts), whole[:400])
    np.testing.assert_array_equal(rest[:, 0], whole[400:, 0])
    np.testing.assert_array_equal(rest[:, 1], whole[:200, 1])


def test_means_are_uniform_and_depend_on_the_seed_alone() -> None:
    one, same, other = Bandit(seed=1), Bandit(seed=1), Bandit(seed=2)
    means = np.array([task.parameters for task in one.train_tasks])
    assert means.shape == (10_000, 5)
    assert len(one.test_tasks) == 500
    np.testing.assert_allclose(np.quantile(means, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.01)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_tasks_of_another_family_and_pictures_are_refused() -> None:
    env = BanditVectorEnv(1, 2)
    for task in (Task("navigation", [0.1, 0.2]), Task("bandit", [0.1, 0.2, 0.3])):
        with pytest.raises(UserError, match="is not a bandit task of 2 arms"):
            env.set_tasks([task])
    with pytest.raises(UserError, match="nothing to render"):
        Bandit().make_env(1, render_mode="rgb_array")
    assert not Bandit.renderable
