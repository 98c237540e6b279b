"""Perturbations do what they say, by hand-computed numbers, and nothing else."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from counting_env import CountingEnv

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation
from metarl_envs.perturbed import (
    PERTURBATIONS,
    TRUE_REWARD,
    ActionDelay,
    ActionNoise,
    MassChange,
    Perturbation,
    PerturbedVectorEnv,
    RewardDelay,
    RewardDrop,
    SensorNoise,
)

Array = npt.NDArray[Any]


def perturbed(
    *each: Sequence[Perturbation], lengths: Sequence[int] = (4,), scale: Sequence[float] = (1.0, 0.0), **options: Any
) -> tuple[PerturbedVectorEnv, CountingEnv]:
    """Counting environments with these perturbations, one sequence for each."""
    bare = CountingEnv(len(each), 4, **options)
    env = PerturbedVectorEnv(bare, np.array(scale))
    env.perturb(each)
    env.set_tasks([Task("count", [length, 10.0]) for length in np.resize(lengths, len(each)).tolist()])
    return env, bare


def executed(env: PerturbedVectorEnv, bare: CountingEnv, actions: Array) -> Array:
    """What the environments are told when these actions `(step, env, ...)` are commanded."""
    env.reset(seed=3)
    for action in actions:
        env.step(action)
    return np.stack(bare.received)


def test_delayed_actions_come_late_by_so_many_steps_and_each_episode_begins_at_rest() -> None:
    env, bare = perturbed([ActionDelay(2)], [], [ActionDelay(1)], lengths=(4, 4, 3))
    actions = np.arange(1.0, 8)[:, None, None] / 10 * np.ones((7, 3, 2))
    made = executed(env, bare, actions)[:, :, 1]
    # episodes of 4, 4 and 3 steps
    np.testing.assert_array_equal(made[:, 0], [0, 0, 0.1, 0.2, 0, 0, 0.5])
    np.testing.assert_array_equal(made[:, 1], actions[:, 1, 1])
    np.testing.assert_array_equal(made[:, 2], [0, 0.1, 0.2, 0, 0.4, 0.5, 0])


def test_a_delay_of_discrete_actions_begins_with_the_first() -> None:
    env, bare = perturbed([ActionDelay(1)], discrete=True)
    assert executed(env, bare, np.array([[2], [1], [2]])).tolist() == [[0], [2], [1]]


def test_noise_has_the_stated_deviation_and_leaves_what_has_none() -> None:
    count = 400
    env, _ = perturbed(*[[SensorNoise(0.5)]] * count, scale=(4.0, 0.0))
    first, _ = env.reset(seed=1)
    seen = [first, *(env.step(np.zeros((count, 2)))[0] for _ in range(9))]
    noise = np.stack(seen)[..., 0] - np.arange(10.0)[:, None]
    # 4000 draws of N(0, 2²): their mean is within 4 * 2 / sqrt(4000) = 0.13, their deviation within 4 * 2 / sqrt(8000)
    assert abs(noise.mean()) < 0.13
    assert abs(noise.std() - 2.0) < 0.09
    assert np.unique(noise.round(9)).size == noise.size  # in every episode anew
    assert (np.stack(seen)[..., 1] == 10.0).all()


def test_final_observations_are_seen_with_noise_too() -> None:
    env, _ = perturbed([SensorNoise(1.0)], lengths=(2,))
    env.reset(seed=1)
    env.step(np.zeros((1, 2)))
    following, _, _, _, infos = env.step(np.zeros((1, 2)))
    # the true ones are 2 and, as the counting environment makes them, 2.5
    noise = following[0, 0] - 2.0, infos["final_obs"][0, 0] - 2.5
    assert noise[0] != 0
    assert noise[1] != 0
    assert noise[0] != noise[1]


def test_noise_on_actions_is_in_half_widths_and_stays_within_the_bounds() -> None:
    count = 500
    env, bare = perturbed(*[[ActionNoise(0.1)], [ActionNoise(3.0)], []] * count)
    commanded = np.full((4, 3 * count, 2), 0.25)
    made = executed(env, bare, commanded)
    small = made[:, ::3] - 0.25
    assert abs(small.mean()) < 0.01
    assert abs(small.std() - 0.1) < 0.01  # 4000 draws
    large = made[:, 1::3]
    assert large.min() == -1.0
    assert large.max() == 1.0
    np.testing.assert_array_equal(made[:, 2::3], commanded[:, 2::3])


def test_so_large_a_share_of_the_rewards_is_dropped_and_the_true_ones_remain() -> None:
    count = 500
    env, _ = perturbed(*[[RewardDrop(0.3)], [], [RewardDrop(1.0)]] * count)
    env.reset(seed=5)
    told, true = [], []
    for _ in range(8):
        _, rewards, _, _, infos = env.step(np.zeros((3 * count, 2)))
        told.append(rewards)
        true.append(infos[TRUE_REWARD])
    # 10 + steps made since the reset
    np.testing.assert_array_equal(np.stack(true), (10.0 + np.arange(8))[:, None] * np.ones(3 * count))
    dropped = np.stack(told) == 0
    assert abs(dropped[:, ::3].mean() - 0.3) < 0.03  # 4000 draws: four standard deviations
    assert not dropped[:, 1::3].any()
    assert dropped[:, 2::3].all()
    kept = ~dropped
    np.testing.assert_array_equal(np.stack(told)[kept], np.stack(true)[kept])


def test_late_rewards_are_told_at_the_end_of_the_episode_at_last() -> None:
    env, _ = perturbed([RewardDelay(2)], [RewardDelay(9)], [], [RewardDelay(1)], lengths=(4, 4, 4, 3))
    env.reset(seed=5)
    told = np.stack([env.step(np.zeros((4, 2)))[1] for _ in range(8)])
    # rewards 10, 11, ..., 17
    np.testing.assert_array_equal(told[:, 0], [0, 0, 10, 11 + 12 + 13, 0, 0, 14, 15 + 16 + 17])
    np.testing.assert_array_equal(told[:, 1], [0, 0, 0, 46, 0, 0, 0, 62])
    np.testing.assert_array_equal(told[:, 2], np.arange(10.0, 18))
    np.testing.assert_array_equal(told[:, 3], [0, 10, 11 + 12, 0, 13, 14 + 15, 0, 16])


ALL = [SensorNoise(0.3), ActionNoise(0.2), ActionDelay(2), RewardDrop(0.4), RewardDelay(1)]


def rows(tasks: Sequence[Task], seeds: Sequence[int], perturbations: Sequence[Perturbation]) -> Array:
    """What is seen and told in navigation, `(step, env, ...)`, over the ends of episodes."""
    distribution = Navigation(num_train_tasks=3, num_test_tasks=3, horizon=5)
    actions = np.linspace(-0.1, 0.1, 26).reshape(13, 2)
    with closing(PerturbedVectorEnv(distribution.make_env(len(tasks)), np.array([0.5, 2.0]))) as env:
        env.perturb([perturbations] * len(tasks))
        env.set_tasks(tasks)
        first, _ = env.reset(seed=seeds)
        result = [np.column_stack([first, np.zeros((len(tasks), 2))])]
        for action in actions:
            env.send(np.tile(action, (len(tasks), 1)))
            seen, rewards, _, truncated, _ = env.receive()
            result.append(np.column_stack([seen, rewards, truncated]))
    return np.stack(result)


def test_what_happens_in_an_environment_does_not_depend_on_the_others() -> None:
    tasks = Navigation(num_train_tasks=3, num_test_tasks=3, horizon=5).train_tasks
    together = rows(tasks, [7, 8, 9], ALL)
    for index, task in enumerate(tasks):
        np.testing.assert_array_equal(together[:, [index]], rows([task], [7 + index], ALL))
    assert (together != rows(tasks, [17, 8, 9], ALL)).any(axis=(0, 2)).tolist() == [True, False, False]


def test_noise_of_one_kind_does_not_depend_on_another_kind() -> None:
    tasks = Navigation(num_train_tasks=3, num_test_tasks=3, horizon=5).train_tasks
    alone, with_lost_rewards = rows(tasks, [1, 2, 3], ALL[:1]), rows(tasks, [1, 2, 3], [ALL[0], ALL[3]])
    np.testing.assert_array_equal(alone[..., :2], with_lost_rewards[..., :2])
    assert (alone[..., 2] != with_lost_rewards[..., 2]).any()


def test_strength_zero_and_no_perturbation_change_nothing() -> None:
    tasks = Navigation(num_train_tasks=3, num_test_tasks=3, horizon=5).train_tasks
    nothing = rows(tasks, [1, 2, 3], [])
    np.testing.assert_array_equal(nothing, rows(tasks, [1, 2, 3], [type(each)(0.0) for each in ALL]))
    assert (nothing != rows(tasks, [1, 2, 3], ALL)).any()


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("sensor-noise", -0.1, "strength of sensor-noise must be a number of at least 0: got -0.1"),
        ("action-noise", float("nan"), "must be a number of at least 0: got nan"),
        ("action-delay", 1.5, "must be a whole number from 0 to 1000: got 1.5"),
        ("reward-drop", 1.1, "must be a number from 0 to 1: got 1.1"),
        ("mass", -1.0, "must be a number from -0.99 to 99: got -1"),
    ],
)
def test_strengths_out_of_range_are_refused(name: str, strength: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PERTURBATIONS[name](strength)


def test_perturbations_that_cannot_be_are_refused() -> None:
    env, _ = perturbed([], discrete=True)
    with pytest.raises(UserError, match="action-noise needs continuous actions"):
        env.perturb([[ActionNoise(0.1)]])
    with pytest.raises(UserError, match="mass needs Meta-World's native engine or locomotion"):
        env.perturb([[MassChange(0.1)]])
    with pytest.raises(UserError, match="one sequence per environment: got 2 for 1"):
        env.perturb([[], []])
    with pytest.raises(UserError, match="one perturbation of a kind"):
        env.perturb([[ActionDelay(1), ActionDelay(2)]])
