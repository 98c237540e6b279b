from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.tabular import Model, TabularMDP, TabularVectorEnv, action_values, models
from metarl_envs.testing import check_distribution

# Two states, two actions. Action 0 stays and pays 0; action 1 changes the state, for 1 in state 0 and for 5 in state 1.
REWARDS = [[0.0, 1.0], [0.0, 5.0]]
TRANSITIONS = [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]


def task_of(rewards: Any, transitions: Any) -> Task:
    return Task("tabular", np.concatenate([np.ravel(rewards), np.ravel(transitions)]))


def env_for(
    *tasks: Task, states: int = 2, actions: int = 2, horizon: int = 3, seed: int | list[int] = 0
) -> TabularVectorEnv:
    env = TabularVectorEnv(len(tasks), states, actions, horizon)
    env.set_tasks(tasks)
    env.reset(seed=seed)
    return env


SWITCH = task_of(REWARDS, TRANSITIONS)


def test_keeps_the_contract() -> None:
    check_distribution(TabularMDP(num_train_tasks=50, num_test_tasks=5))
    check_distribution(TabularMDP(states=1, actions=2, horizon=3, num_train_tasks=50, num_test_tasks=5))


def test_moves_as_its_transitions_say_and_begins_in_state_0() -> None:
    env = env_for(SWITCH, SWITCH)
    observations, _, _, truncated, infos = env.step(np.array([0, 1]))
    assert observations.tolist() == [[1, 0], [0, 1]]
    assert "final_obs" not in infos
    observations, *_ = env.step(np.array([1, 0]))
    assert observations.tolist() == [[0, 1], [0, 1]]
    assert not truncated.any()
    observations, _, terminated, truncated, infos = env.step(np.array([0, 1]))
    assert infos["final_obs"].tolist() == [[0, 1], [1, 0]]
    assert observations.tolist() == [[1, 0], [1, 0]]
    assert truncated.all()
    assert not terminated.any()


def test_success_is_what_the_best_strategy_may_do() -> None:
    # Staying pays 1 in state 0 and 3 in state 1, changing nothing: with a step to follow it is best to change.
    task = task_of([[1.0, 0.0], [3.0, 0.0]], TRANSITIONS)
    env = env_for(task, task, horizon=2)
    for _ in range(2):
        assert env.step(np.array([0, 1]))[4]["success"].tolist() == [False, True]
        assert env.step(np.array([0, 0]))[4]["success"].tolist() == [True, True]


def test_both_of_two_equal_actions_are_a_success() -> None:
    same = task_of([[2.0, 2.0]], [[[1.0], [1.0]]])
    env = env_for(same, same, states=1)
    assert env.step(np.array([0, 1]))[4]["success"].all()


def test_rewards_and_moves_have_the_tasks_distribution() -> None:
    task = task_of([[3.0], [-1.0], [0.5]], [[[0.2, 0.5, 0.3]]] * 3)
    count = 40_000
    env = env_for(*[task] * count, states=3, actions=1)
    observations, rewards, *_ = env.step(np.zeros(count, dtype=int))
    assert rewards.mean() == pytest.approx(3.0, abs=0.025)  # five standard errors
    assert rewards.var() == pytest.approx(1.0, abs=0.04)
    np.testing.assert_allclose(observations.mean(axis=0), [0.2, 0.5, 0.3], atol=0.013)
    _, rewards, *_ = env.step(np.zeros(count, dtype=int))
    noise = rewards - observations @ [3.0, -1.0, 0.5]
    assert noise.mean() == pytest.approx(0.0, abs=0.025)
    assert abs(np.corrcoef(noise, observations[:, 1])[0, 1]) < 0.025


def test_reset_without_a_seed_goes_on_with_each_stream() -> None:
    def play(env: TabularVectorEnv, steps: int) -> npt.NDArray[Any]:
        return np.array([env.step(np.zeros(2, dtype=int))[1] for _ in range(steps)])

    whole = play(env_for(SWITCH, SWITCH, seed=[7, 8]), 600)
    env = env_for(SWITCH, SWITCH, seed=[7, 8])
    first = play(env, 300)
    env.reset()
    np.testing.assert_array_equal(np.concatenate([first, play(env, 300)]), whole)
    env.reset(seed=[None, 8])
    again = play(env, 300)
    np.testing.assert_array_equal(again[:, 1], whole[:300, 1])
    assert (again[:, 0] != whole[:300, 0]).all()


def test_tasks_are_drawn_as_in_the_paper_and_depend_on_the_seed_alone() -> None:
    one, more, other = (
        TabularMDP(num_train_tasks=n, num_test_tasks=20, seed=s) for n, s in ((400, 1), (500, 1), (400, 2))
    )
    assert one.train_tasks == more.train_tasks[:400]
    assert one.test_tasks == more.test_tasks
    assert not set(one.train_tasks) & set(other.train_tasks)
    rewards, transitions = models(one.train_tasks, 10, 5)
    assert rewards.shape == (400, 10, 5)
    assert rewards.mean() == pytest.approx(1.0, abs=0.035)  # five standard errors
    assert rewards.var() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(transitions.sum(axis=-1), 1.0)
    # A share of a flat Dirichlet of 10 is Beta(1, 9): mean 1/10, variance 9 / (100 * 11).
    assert transitions.var() == pytest.approx(9 / 1100, rel=0.03)


def slow_best_return(rewards: npt.NDArray[Any], transitions: npt.NDArray[Any], horizon: int, state: int = 0) -> float:
    """The best expected return by trying every plan of a state and what is left, without sharing any of the work."""
    if horizon == 0:
        return 0.0
    return max(
        float(reward + sum(p * slow_best_return(rewards, transitions, horizon - 1, to) for to, p in enumerate(moves)))
        for reward, moves in zip(rewards[state], transitions[state], strict=True)
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_action_values_are_those_of_the_definition(seed: int, horizon: int) -> None:
    distribution = TabularMDP(states=3, actions=2, num_train_tasks=2, num_test_tasks=1, seed=seed)
    model = models(distribution.train_tasks, 3, 2)
    values = action_values(model, horizon)
    assert values.shape == (2, horizon, 3, 2)
    for task, step, state in product(range(2), range(horizon), range(3)):
        expected = slow_best_return(model.rewards[task], model.transitions[task], horizon - step, state)
        assert values[task, step, state].max() == pytest.approx(expected)


def test_action_values_by_hand() -> None:
    values = action_values(Model(np.array(REWARDS), np.array(TRANSITIONS)), 2)
    assert values.tolist() == [[[0 + 1, 1 + 5], [0 + 5, 5 + 1]], [[0, 1], [0, 5]]]


def test_tasks_that_do_not_fit_are_refused() -> None:
    env = TabularVectorEnv(1, 2, 2, 3)
    with pytest.raises(UserError, match=r"'bandit' task .* is not an MDP of 2 states and 2 actions"):
        env.set_tasks([Task("bandit", SWITCH.parameters)])
    with pytest.raises(UserError, match="is not an MDP of 2 states and 2 actions"):
        env.set_tasks([task_of([[0.0]], [[[1.0]]])])
    for row in ([1.5, -0.5], [0.5, 0.4]):
        with pytest.raises(UserError, match="are negative or do not sum to 1"):
            env.set_tasks([task_of(REWARDS, [[row, [0, 1]], [[0, 1], [1, 0]]])])
    assert env.tasks == ()


def test_there_are_no_pictures() -> None:
    with pytest.raises(UserError, match="nothing to render"):
        TabularMDP(num_train_tasks=1, num_test_tasks=1).make_env(1, render_mode="rgb_array")
    assert not TabularMDP.renderable
