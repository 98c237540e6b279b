from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from metarl.data.steps import Timestep
from metarl.strategies import tabular
from metarl.strategies.tabular import (
    EPSILON,
    SAMPLES,
    Experience,
    PlanningStrategy,
    Values,
    optimistic_transitions,
    posterior_draw,
    posterior_mean,
    tabular_strategies,
    ucrl2,
)
from metarl.strategies.trials import Player, play_trials
from metarl_envs.tabular import TabularMDP, action_values, models

Earned = tuple[float, dict[str, npt.NDArray[np.float64]]]


def nothing_seen(tasks: int = 1, states: int = 2, actions: int = 2) -> Experience:
    visits, reward_sums = np.zeros((2, tasks, states, actions))
    return Experience(visits, reward_sums, np.zeros((tasks, states, actions, states)))


def some_experience() -> Experience:
    """Of one MDP with 2 states and 2 actions: action 1 in state 0 was taken 3 times, the last at an episode's end."""
    seen = nothing_seen()
    seen.visits[0, 0, 1] = 3
    seen.reward_sums[0, 0, 1] = 11
    seen.transition_counts[0, 0, 1] = [0, 2]
    return seen


def random_experience(seed: int, tasks: int = 2, states: int = 4, actions: int = 3, most: int = 6) -> Experience:
    rng = np.random.default_rng(seed)
    moves = rng.integers(0, most, (tasks, states, actions, states)).astype(float)
    visits = moves.sum(axis=-1)
    return Experience(visits, rng.normal(visits, np.sqrt(visits)), moves)


def test_posterior_mean_by_hand() -> None:
    rewards, transitions = posterior_mean(some_experience())
    # Normal(1, 1) and three rewards of unit variance that sum to 11: (1 + 11) / (1 + 3). Nothing seen: the prior's 1.
    assert rewards.tolist() == [[[1.0, 3.0], [1.0, 1.0]]]
    assert transitions[0, 0, 1].tolist() == [1 / 4, 3 / 4]
    assert transitions[0, 1, 0].tolist() == [1 / 2, 1 / 2]


def test_posterior_draws_have_the_posteriors_moments() -> None:
    count = 40_000
    seen = Experience(*(np.repeat(part, count, axis=0) for part in some_experience()))
    rewards, transitions = posterior_draw(seen, np.random.default_rng(0))
    np.testing.assert_allclose(rewards.mean(axis=0), [[1, 3], [1, 1]], atol=0.025)  # five standard errors
    np.testing.assert_allclose(rewards.var(axis=0), [[1.0, 1 / 4], [1.0, 1.0]], rtol=0.04)
    np.testing.assert_allclose(transitions.sum(axis=-1), 1)
    share = transitions[:, 0, 1, 1]  # Beta(3, 1)
    assert share.mean() == pytest.approx(3 / 4, abs=0.006)
    assert share.var() == pytest.approx(3 / (4**2 * 5), rel=0.05)
    assert np.quantile(transitions[:, 1, 0, 0], [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.015)


def test_experience_is_what_was_shown() -> None:
    taken: list[Experience] = []

    def plan(seen: Experience, horizon: int, rng: np.random.Generator) -> Values:
        taken.append(Experience(*(part.copy() for part in seen)))
        return np.broadcast_to([0.0, 1.0], (2, horizon, 3, 2))  # action 1 everywhere

    strategy = PlanningStrategy(plan, num_tasks=2, states=3, actions=2, horizon=2, rng=np.random.default_rng(0))
    assert isinstance(strategy, Player)

    def step(states: list[int], rewards: list[float], ends: bool) -> None:
        observations = np.eye(3)[states]
        actions, _ = strategy.act(observations)
        assert actions.tolist() == [1, 1]
        ended = np.full(2, ends)
        strategy.step(Timestep(observations, actions, np.array(rewards), ~ended & False, ended, {}))

    step([0, 0], [1.0, 2.0], ends=False)
    step([1, 2], [3.0, 4.0], ends=True)  # leads to a state that no one is shown
    step([0, 0], [5.0, 6.0], ends=False)
    assert len(taken) == 2  # one plan per episode
    assert not any(part.any() for part in taken[0])
    assert taken[1].visits[..., 1].tolist() == [[1, 1, 0], [1, 0, 1]]
    assert taken[1].reward_sums[..., 1].tolist() == [[1, 3, 0], [2, 0, 4]]
    assert taken[1].transition_counts[:, 0, 1].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert taken[1].transition_counts.sum() == 2
    assert not taken[1].visits[..., 0].any()
    assert (
        strategy.experience.transition_counts.sum() == 2
    )  # state 0 is where the episode began, not where the last one led to
    strategy.init()
    step([0, 0], [0.0, 0.0], ends=False)
    assert not any(part.any() for part in taken[2])


def test_values_of_the_step_and_state_are_followed() -> None:
    values = np.random.default_rng(0).random((1, 3, 2, 2))
    strategy = PlanningStrategy(lambda *_: values, 1, 2, 2, 3, np.random.default_rng(0))
    ended = np.zeros(1, dtype=bool)
    for step, state in enumerate([0, 1, 1]):
        observations = np.eye(2)[[state]]
        actions, _ = strategy.act(observations)
        assert actions[0] == values[0, step, state].argmax()
        strategy.step(Timestep(observations, actions, np.zeros(1), ended, ended, {}))


distributions = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5).filter(lambda weights: sum(weights) > 0.1)


@given(distributions, st.floats(0, 2.5), st.integers(0, 2**32 - 1))
def test_optimistic_transitions_are_the_best_within_the_distance(
    weights: list[float], spread: float, seed: int
) -> None:
    frequencies = np.array(weights) / sum(weights)
    count = len(weights)
    values = np.sort(np.random.default_rng(seed).normal(size=count))
    found = optimistic_transitions(frequencies, np.array(spread))
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    assert np.abs(found - frequencies).sum() <= spread + 1e-9
    # Independently, as a linear programme in (p, d): |p - frequencies| <= d, sum d <= spread, maximise p @ values.
    eye = np.eye(count)
    limits = np.block([[eye, -eye], [-eye, -eye], [np.zeros(count), np.ones(count)]])
    bounds = np.concatenate([frequencies, -frequencies, [spread]])
    total = np.concatenate([np.ones(count), np.zeros(count)])[None]
    best = linprog(np.concatenate([-values, np.zeros(count)]), limits, bounds, total, [1.0])
    assert found @ values == pytest.approx(-best.fun, abs=1e-7)


def test_ucrl2_by_hand() -> None:
    # One step is left: reward estimates plus 2 sqrt(7 ln(2 * 2 * 2 * 3 / 0.05) / (2 * (1 + n))), after 3 steps.
    values = ucrl2(some_experience(), horizon=2, scale=0.1)
    log = np.log(2 * 2 * 2 * 3 / 0.05)
    unseen, seen = 1 + 0.2 * (7 * log / 2) ** 0.5, 3 + 0.2 * (7 * log / 8) ** 0.5
    np.testing.assert_allclose(values[0, 1], [[unseen, seen], [unseen, unseen]])
    # Two steps: state 0 is worth more by then. Moves seen went to state 1 with 3/4, from 4 with the prior's.
    spread = 0.1 * (14 * 2 * np.log(2 * 2 * 3 / 0.05) / 4) ** 0.5
    better = 1 / 4 + spread / 2
    assert 0.25 < better < 1
    assert values[0, 0, 0, 1] == pytest.approx(seen + better * seen + (1 - better) * unseen)


@given(st.integers(0, 2**32 - 1))
def test_ucrl2_without_radii_is_greedy_and_grows_with_them(seed: int) -> None:
    seen = random_experience(seed)
    greedy = action_values(posterior_mean(seen), 3)
    np.testing.assert_allclose(ucrl2(seen, 3, scale=0.0), greedy)
    small, large = ucrl2(seen, 3, scale=0.05), ucrl2(seen, 3, scale=0.2)
    assert (greedy < small).all()
    assert (small < large).all()


def test_ucrl2_does_not_depend_on_the_names_of_states() -> None:
    seen = random_experience(5, states=3)
    values = ucrl2(seen, 4, scale=0.1)
    for permutation in permutations(range(3)):
        order = list(permutation)
        renamed = Experience(
            seen.visits[:, order], seen.reward_sums[:, order], seen.transition_counts[:, order][..., order]
        )
        np.testing.assert_allclose(ucrl2(renamed, 4, scale=0.1), values[:, :, order])


def test_bayes_exploration_bonus_by_hand() -> None:
    seen = some_experience()
    values = tabular_strategies()["beb"](seen, 1, np.random.default_rng(0))
    # The prior's one move to each of two states counts, and two moves were seen.
    assert values[0, 0].tolist() == [[1 + 10 / 3, 3 + 10 / 5], [1 + 10 / 3, 1 + 10 / 3]]


def test_psrl_is_optimal_for_a_draw() -> None:
    seen = random_experience(1)
    values = tabular_strategies()["psrl"](seen, 3, np.random.default_rng(4))
    np.testing.assert_allclose(values, action_values(posterior_draw(seen, np.random.default_rng(4)), 3))


def test_optimistic_psrl_merges_its_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = random_experience(1)
    plan = tabular_strategies()["optimistic psrl"]
    rng = np.random.default_rng(4)
    draws = [posterior_draw(seen, rng) for _ in range(SAMPLES)]
    values = plan(seen, 2, np.random.default_rng(4))
    last = np.max([draw.rewards for draw in draws], axis=0)
    np.testing.assert_allclose(values[:, 1], last)
    task, state, action = 1, 2, 0
    expected = max(
        draw.rewards[task, state, action] + draw.transitions[task, state, action] @ last[task].max(axis=-1)
        for draw in draws
    )
    assert values[task, 0, state, action] == pytest.approx(expected)
    monkeypatch.setattr(tabular, "SAMPLES", 1)  # of one draw there is nothing to merge
    np.testing.assert_allclose(
        plan(seen, 3, np.random.default_rng(4)), tabular_strategies()["psrl"](seen, 3, np.random.default_rng(4))
    )


def test_epsilon_greedy_departs_from_greedy_as_often_as_it_should() -> None:
    seen = Experience(*(np.repeat(part, 4000, axis=0) for part in random_experience(2, tasks=1)))
    strategies, rng = tabular_strategies(), np.random.default_rng(0)
    greedy, explored = (strategies[name](seen, 5, rng).argmax(axis=-1) for name in ("greedy", "epsilon-greedy"))
    departs = (greedy != explored).mean()
    assert departs == pytest.approx(EPSILON * 2 / 3, rel=0.05)  # one action of three is the greedy one
    np.testing.assert_array_equal(greedy, action_values(posterior_mean(seen), 5).argmax(axis=-1))


@pytest.fixture(scope="module")
def earned() -> Earned:
    """Mean return per episode of each strategy, `(episode,)`, over 200 MDPs."""
    distribution = TabularMDP(num_train_tasks=1, num_test_tasks=150, seed=3)
    tasks = distribution.test_tasks
    returns = {}
    for name, plan in tabular_strategies().items():
        strategy = PlanningStrategy(plan, 150, 10, 5, 10, np.random.default_rng(0))
        returns[name] = play_trials(strategy, distribution, tasks, 25, seed=1).mean(axis=0)
    best = action_values(models(tasks, 10, 5), 10)[:, 0, 0].max(axis=-1).mean()
    return best, returns


def test_strategies_learn_and_none_beats_the_best(earned: Earned) -> None:
    best, returns = earned
    for name, episodes in returns.items():
        late = episodes[20:].mean()
        assert late < best, name
        if name == "random":
            assert late == pytest.approx(episodes[:5].mean(), abs=0.5)
        elif name == "ucrl2":  # its radii are those of a proof
            assert late > episodes[:5].mean() + 1
        else:
            assert late > episodes[:5].mean() + 3, name
            assert late > returns["random"].mean() + 6, name


def test_strategies_earn_what_the_paper_reports(earned: Earned) -> None:
    # What we recall of table 2 of Duan et al. 2016, 25 episodes: random 250.2, PSRL 408.8, BEB 427.8, over 1000 MDPs.
    _, returns = earned
    for name, published in (("random", 250.2), ("psrl", 408.8), ("beb", 427.8)):
        assert returns[name].sum() == pytest.approx(published, rel=0.05)
