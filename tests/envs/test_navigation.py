from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import MAX_STEP, Navigation, NavigationVectorEnv, optimal_return
from metarl_envs.testing import check_distribution
from metarl_envs.wrapping import VisibleTasks

coordinates = st.floats(-0.5, 0.5)


def env_for(*goals: Any, horizon: int = 10, render_mode: str | None = None) -> NavigationVectorEnv:
    env = NavigationVectorEnv(len(goals), horizon, render_mode)
    env.set_tasks([Task("navigation", goal) for goal in goals])
    env.reset(seed=0)
    return env


def test_keeps_the_contract() -> None:
    check_distribution(Navigation(num_train_tasks=5, num_test_tasks=2, horizon=6), render=True)


def test_reward_is_minus_the_distance_after_the_move() -> None:
    env = env_for([0.3, 0.4], [0.0, 0.0])
    positions, rewards, *_, infos = env.step(np.array([[0.0, 0.0], [0.03, -0.04]]))
    np.testing.assert_allclose(rewards, [-0.5, -0.05])
    np.testing.assert_allclose(positions, [[0.0, 0.0], [0.03, -0.04]])
    assert infos["success"].tolist() == [False, False]


def test_moves_are_clipped_per_axis() -> None:
    env = env_for([0.0, 0.0])
    env.step(np.array([[5.0, -0.02]]))
    positions, *_ = env.step(np.array([[0.05, -7.0]]))
    np.testing.assert_allclose(positions, [[0.15, -0.12]])


def test_success_is_within_a_hundredth_and_does_not_end_the_episode() -> None:
    env = env_for([0.1, 0.0], [0.1, 0.0], horizon=3)
    *_, infos = env.step(np.array([[0.0905, 0.0], [0.0895, 0.0]]))
    assert infos["success"].tolist() == [True, False]
    _, _, terminated, truncated, infos = env.step(np.zeros((2, 2)))
    assert not terminated.any()
    assert not truncated.any()
    positions, _, terminated, truncated, infos = env.step(np.zeros((2, 2)))
    assert positions.tolist() == [[0.0, 0.0], [0.0, 0.0]]  # the next episode has begun
    assert truncated.all()
    assert not terminated.any()
    np.testing.assert_allclose(infos["final_obs"], [[0.0905, 0.0], [0.0895, 0.0]])


def test_new_goals_count_from_the_next_reset_on() -> None:
    env = env_for([0.3, 0.4])
    env.set_tasks([Task("navigation", [0.0, 0.1])])
    assert env.step(np.zeros((1, 2)))[1] == pytest.approx([-0.5])
    env.reset()
    assert env.step(np.zeros((1, 2)))[1] == pytest.approx([-0.1])


def test_optimal_return_by_hand() -> None:
    # goal (0.25, -0.1): distances after each move are 0.15, 0.05, then 0
    assert optimal_return(Task("navigation", [0.25, -0.1]), 100) == pytest.approx(-0.2)
    # goal (0.4, 0.3) with two steps: |(0.3, 0.2)| + |(0.2, 0.1)|
    assert optimal_return(Task("navigation", [0.4, 0.3]), 2) == pytest.approx(-(0.13**0.5) - 0.05**0.5)


@given(coordinates, coordinates, st.integers(1, 12), st.integers(0, 2**32))
def test_no_way_beats_the_optimal_return_and_the_straight_one_reaches_it(
    x: float, y: float, horizon: int, seed: int
) -> None:
    goal = np.array([x, y])
    env = env_for(goal, goal, horizon=horizon)
    rng = np.random.default_rng(seed)
    positions, returns = np.zeros((2, 2)), np.zeros(2)
    for _ in range(horizon):
        actions = goal - positions  # clipped by the environment
        actions[1] = rng.normal(actions[1], 0.02)
        positions, rewards, *_ = env.step(actions)
        returns += rewards
    optimum = optimal_return(Task("navigation", goal), horizon)
    assert returns[0] == pytest.approx(optimum, abs=1e-12)
    assert returns[1] <= optimum + 1e-12


def test_standing_still_earns_what_the_paper_reports_before_adaptation() -> None:
    # about -40 (Finn et al. 2017): the mean distance of a goal is 0.3826 (an integral over the square)
    goals = [task.parameters for task in Navigation(num_train_tasks=4000).train_tasks]
    assert -100 * np.linalg.norm(goals, axis=1).mean() == pytest.approx(-38.26, abs=0.6)


def test_goals_fill_the_square_and_depend_on_the_seed_alone() -> None:
    one, same, other = Navigation(seed=1), Navigation(seed=1), Navigation(seed=2)
    goals = np.array([task.parameters for task in one.train_tasks])
    assert goals.shape == (1000, 2)
    assert len(one.test_tasks) == 40
    assert np.all(np.abs(goals) <= 0.5)
    np.testing.assert_allclose(np.quantile(goals, [0.1, 0.5, 0.9], axis=0).T, [[-0.4, 0, 0.4]] * 2, atol=0.06)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert Navigation(num_train_tasks=10).train_tasks == one.train_tasks[:10]


def test_tasks_of_another_family_are_refused() -> None:
    env = NavigationVectorEnv(1, horizon=5)
    for task in (Task("bandit", [0.1, 0.2]), Task("navigation", [0.1, 0.2, 0.3])):
        with pytest.raises(UserError, match="is not a navigation task"):
            env.set_tasks([task])


def test_picture_has_the_goal_where_it_is() -> None:
    env = env_for([0.5, 0.5], [-0.5, -0.5], render_mode="rgb_array")
    env.step(np.array([[0.1, 0.0], [0.1, 0.0]]))
    upper_right, lower_left = env.render()
    assert upper_right.shape == (480, 480, 3)
    green, blue = (50, 205, 50), (65, 105, 225)  # limegreen and royalblue
    assert tuple(upper_right[80, 400]) == green  # pixel 240 + 0.5 / 0.75 * 240, rows count downwards
    assert tuple(lower_left[400, 80]) == green
    assert tuple(upper_right[240, 272]) == blue  # moved 0.1 to the right


def test_other_render_modes_are_refused() -> None:
    with pytest.raises(UserError, match="no render mode 'human': use 'rgb_array'"):
        Navigation().make_env(1, render_mode="human")
    with pytest.raises(UserError, match="does not render"):
        env_for([0.1, 0.1]).render()


@pytest.mark.parametrize("visible", [False, True])
def test_the_expert_reaches_the_optimal_return(visible: bool) -> None:
    family = VisibleTasks(Navigation(horizon=12)) if visible else Navigation(horizon=12)
    tasks, expert = family.train_tasks[:5], family.expert()
    assert expert is not None
    env = family.make_env(5)
    env.set_tasks(tasks)
    observations, _ = env.reset(seed=0)
    returns = np.zeros(5)
    for _ in range(12):
        actions = expert(tasks, observations)
        assert np.abs(actions).max() <= MAX_STEP
        observations, rewards, *_ = env.step(actions)
        returns += rewards
    np.testing.assert_allclose(returns, [optimal_return(task, 12) for task in tasks])
