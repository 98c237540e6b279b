from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import beta

from metarl.data.steps import Timestep
from metarl.strategies.bandits import EPSILON, BanditStrategy, Counts, bandit_strategies, bayes_optimal_return
from metarl.strategies.gittins import gittins_indices
from metarl.strategies.trials import Player, play_trials
from metarl_envs.bandit import Bandit
from metarl_envs.core import Task

History = tuple[tuple[int, int], ...]
"""The arms pulled and their rewards."""
Policy = dict[History, int]
"""The arm to pull after each history."""


def scores_of(name: str, successes: list[int], failures: list[int], pulls: int = 10) -> npt.NDArray[np.float64]:
    counts = np.array([successes], dtype=float), np.array([failures], dtype=float)
    scores: npt.NDArray[np.float64] = bandit_strategies(pulls)[name](*counts, np.random.default_rng(0))[0]
    return scores


def pulled_arms(name: str, successes: list[int], failures: list[int], times: int) -> npt.NDArray[np.float64]:
    """How often each arm is pulled next, of many draws."""
    a, b = (np.broadcast_to(np.array(count, dtype=float), (times, len(count))) for count in (successes, failures))
    arms = bandit_strategies(10)[name](a, b, np.random.default_rng(1)).argmax(axis=-1)
    return np.bincount(arms, minlength=len(successes)) / times


def test_greedy_by_hand() -> None:
    # Posterior means of Beta(1 + 3, 1 + 1), Beta(1, 1) and Beta(1, 1 + 1).
    np.testing.assert_allclose(scores_of("greedy", [3, 0, 0], [1, 0, 1]), [4 / 6, 1 / 2, 1 / 3])


def test_ucb1_by_hand() -> None:
    # After 3 pulls t = 4. Arm 0: mean (1 + 2) / (2 + 3) and n = 5; arm 1: mean 1/2 and n = 2.
    expected = [0.6 + 0.2 * (2 * np.log(4) / 5) ** 0.5, 0.5 + 0.2 * (2 * np.log(4) / 2) ** 0.5]
    np.testing.assert_allclose(expected, [0.748932, 0.735482], atol=1e-6)
    np.testing.assert_allclose(scores_of("ucb1", [2, 0], [1, 0]), expected)


def test_epsilon_greedy_explores_every_arm_alike() -> None:
    shares = pulled_arms("epsilon-greedy", [1, 5, 0], [1, 0, 5], 100_000)
    np.testing.assert_allclose(shares, [EPSILON / 3, 1 - 2 * EPSILON / 3, EPSILON / 3], atol=0.002)


def test_random_pulls_every_arm_alike() -> None:
    np.testing.assert_allclose(pulled_arms("random", [1, 5, 0], [1, 0, 5], 100_000), [1 / 3] * 3, atol=0.008)


def chance_of_being_best(posteriors: list[Any], arm: int) -> float:
    others = [posterior for index, posterior in enumerate(posteriors) if index != arm]
    return float(quad(lambda x: posteriors[arm].pdf(x) * np.prod([other.cdf(x) for other in others]), 0, 1)[0])


def test_thompson_pulls_each_arm_as_often_as_it_is_the_best() -> None:
    successes, failures = [2, 0, 1], [1, 0, 4]
    posteriors = [beta(1 + a, 1 + b) for a, b in zip(successes, failures, strict=True)]
    expected = [chance_of_being_best(posteriors, arm) for arm in range(3)]
    assert sum(expected) == pytest.approx(1)
    np.testing.assert_allclose(pulled_arms("thompson", successes, failures, 100_000), expected, atol=0.008)


def test_optimistic_thompson_never_goes_below_the_mean() -> None:
    draws = bandit_strategies(10)["optimistic thompson"](
        np.full((10_000, 1), 2.0), np.ones((10_000, 1)), np.random.default_rng(0)
    )
    posterior = beta(3, 2)
    assert draws.min() == pytest.approx(0.6)
    assert (draws > 0.6001).mean() == pytest.approx(posterior.sf(0.6), abs=0.02)
    assert (draws > 0.8).mean() == pytest.approx(posterior.sf(0.8), abs=0.02)


@pytest.mark.parametrize(
    ("discount", "successes", "failures", "published"),
    [  # Gittins, Glazebrook & Weber 2011, tables for Bernoulli arms: Beta(1 + successes, 1 + failures)
        (0.9, 0, 0, 0.7029),
        (0.9, 1, 0, 0.8001),
        (0.9, 0, 1, 0.5001),
        (0.99, 0, 0, 0.8699),
        (0.99, 1, 0, 0.9102),
        (0.99, 0, 1, 0.7005),
    ],
)
def test_gittins_indices_are_the_published_ones(
    discount: float, successes: int, failures: int, published: float
) -> None:
    assert gittins_indices(discount, 3)[successes, failures] == pytest.approx(published, abs=1e-4)


def slow_gittins_index(discount: float, successes: int, failures: int, depth: int) -> float:
    """The charge per pull at which playing on, for as long as one likes, is worth exactly nothing."""

    def gain(charge: float) -> float:
        @cache
        def best(a: int, b: int) -> float:
            mean = (1 + a) / (2 + a + b)
            if a + b >= depth:
                return max(0.0, (mean - charge) / (1 - discount))
            return max(0.0, go_on(a, b))

        def go_on(a: int, b: int) -> float:
            mean = (1 + a) / (2 + a + b)
            following = mean * best(a + 1, b) + (1 - mean) * best(a, b + 1)
            return mean - charge + discount * following

        return go_on(successes, failures)

    return float(brentq(gain, 0.0, 1.0, xtol=1e-10))


@pytest.mark.parametrize(("successes", "failures"), [(0, 0), (3, 1), (1, 3), (5, 0), (0, 5)])
def test_gittins_indices_are_those_of_the_definition(successes: int, failures: int) -> None:
    expected = slow_gittins_index(0.8, successes, failures, depth=60)
    assert gittins_indices(0.8, 5)[successes, failures] == pytest.approx(expected, abs=1e-4)


def test_gittins_table_covers_all_that_can_be_seen() -> None:
    indices = gittins_indices(0.9, 6)
    successes, failures = np.indices((7, 7))
    seen = successes + failures <= 6
    assert (np.isfinite(indices) == seen).all()
    means = (1 + successes) / (2 + successes + failures)
    assert (indices[seen] > means[seen]).all()
    assert indices[0, 0] == pytest.approx(gittins_indices(0.9, 50)[0, 0], abs=3e-5)


def test_gittins_discount_has_the_trial_as_its_horizon() -> None:
    expected = gittins_indices(0.9, 10)[[2, 0], [1, 0]]
    np.testing.assert_array_equal(scores_of("gittins", [2, 0], [1, 0], pulls=10), expected)
    assert scores_of("gittins", [2, 0], [1, 0], pulls=100)[1] > expected[1]
    assert np.isfinite(scores_of("gittins", [0, 0], [0, 0], pulls=1)).all()


def exact_value(policy: Policy, pulls: int) -> float:
    """Expected reward of a deterministic policy `history -> arm` under the prior, following every outcome."""

    def value(history: History) -> float:
        if len(history) == pulls:
            return 0.0
        arm = policy[history]
        outcomes = [outcome for pulled, outcome in history if pulled == arm]
        chance = (1 + sum(outcomes)) / (2 + len(outcomes))
        return chance * (1 + value((*history, (arm, 1)))) + (1 - chance) * value((*history, (arm, 0)))

    return value(())


def all_policies(arms: int, pulls: int) -> Iterator[Policy]:
    """Every deterministic policy; what it would do where it never comes is decided too, and makes no difference."""
    histories = [
        tuple(zip(pulled, outcomes, strict=True))
        for length in range(pulls)
        for pulled in product(range(arms), repeat=length)
        for outcomes in product((0, 1), repeat=length)
    ]
    for choice in product(range(arms), repeat=len(histories)):
        yield dict(zip(histories, choice, strict=True))


def test_best_return_beats_every_strategy_there_is() -> None:
    assert bayes_optimal_return(2, 1) == pytest.approx(1 / 2)
    best = max(exact_value(policy, 2) for policy in all_policies(2, 2))
    assert bayes_optimal_return(2, 2) == pytest.approx(best) == pytest.approx(0.5 + 0.5 * (2 / 3) + 0.5 * (1 / 2))


def best_of_three_pulls() -> float:
    """Every policy of three pulls of two arms that pulls arm 0 first: the arms are alike."""
    best = 0.0
    for second in product((0, 1), repeat=2):  # after a blank, after a payment
        for third in product((0, 1), repeat=4):
            policy: Policy = {(): 0}
            for first_outcome in (0, 1):
                one: History = ((0, first_outcome),)
                policy[one] = second[first_outcome]
                for outcome in (0, 1):
                    policy[(*one, (second[first_outcome], outcome))] = third[2 * first_outcome + outcome]
            best = max(best, exact_value(policy, 3))
    return best


def test_best_return_of_three_pulls_is_that_of_the_best_of_64_policies() -> None:
    assert bayes_optimal_return(2, 3) == pytest.approx(best_of_three_pulls())


def test_best_return_knows_that_arms_beyond_the_pulls_do_not_matter() -> None:
    assert bayes_optimal_return(4, 4) == bayes_optimal_return(50, 4) > bayes_optimal_return(3, 4)
    assert bayes_optimal_return(5, 10) == pytest.approx(6.66, abs=0.005)


@cache
def mean_reward(name: str, arms: int, pulls: int, count: int = 4000) -> float:
    distribution = Bandit(arms, num_train_tasks=1, num_test_tasks=count, seed=3)
    strategy = BanditStrategy(bandit_strategies(pulls)[name], count, arms, np.random.default_rng(0))
    return float(play_trials(strategy, distribution, distribution.test_tasks, pulls, seed=1).sum(axis=-1).mean())


@pytest.mark.parametrize(
    ("name", "arms", "pulls", "published"),
    [  # what we recall of table 1 of Duan et al. 2016 (over 1000 bandits: standard error 0.07 at 10 pulls, 0.5 at 100)
        ("random", 5, 10, 5.0),
        ("random", 5, 100, 49.9),
        ("greedy", 5, 10, 6.6),
        ("greedy", 5, 100, 74.8),
        ("ucb1", 5, 10, 6.7),
        ("ucb1", 5, 100, 78.0),
        ("thompson", 5, 10, 5.7),
        ("thompson", 5, 100, 74.7),
        ("gittins", 5, 10, 6.6),
        ("gittins", 5, 100, 78.3),
    ],
)
def test_strategies_earn_what_the_paper_reports(name: str, arms: int, pulls: int, published: float) -> None:
    assert mean_reward(name, arms, pulls) == pytest.approx(published, abs=0.2 if pulls == 10 else 1.5)


def test_no_strategy_beats_the_best_and_all_beat_chance() -> None:
    best = bayes_optimal_return(5, 10)
    earned = {name: mean_reward(name, 5, 10) for name in bandit_strategies(10)}
    assert max(earned.values()) < best + 0.11  # three standard errors
    assert earned["gittins"] > 0.98 * best
    assert min(reward for name, reward in earned.items() if name != "random") > earned["random"] + 0.5


def test_every_strategy_finds_the_arm_that_always_pays() -> None:
    tasks = [Task("bandit", [0.0, 1.0, 0.0])] * 100
    distribution = Bandit(3, num_train_tasks=1, num_test_tasks=1)
    for name, scores in bandit_strategies(200).items():
        strategy = BanditStrategy(scores, 100, 3, np.random.default_rng(0))
        earned = play_trials(strategy, distribution, tasks, 200, seed=0).sum(axis=-1)
        assert (earned.min() > 170) == (name != "random"), name


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=10))
def test_payments_are_counted_for_the_arm_that_was_pulled(pulls: list[tuple[int, bool]]) -> None:
    shown = []

    def record(successes: Counts, failures: Counts, rng: np.random.Generator) -> Counts:
        shown.append((successes.copy(), failures.copy()))
        return successes

    strategy = BanditStrategy(record, 1, 3, np.random.default_rng(0))
    assert isinstance(strategy, Player)
    nothing = np.zeros((1, 1))
    for arm, pays in pulls:
        strategy.act(nothing)
        ended = np.array([True])
        strategy.step(Timestep(nothing, np.array([arm]), np.array([float(pays)]), ~ended, ended, {}))
    strategy.act(nothing)
    for arm in range(3):
        assert shown[-1][0][0, arm] == sum(pays for pulled, pays in pulls if pulled == arm)
        assert shown[-1][1][0, arm] == sum(not pays for pulled, pays in pulls if pulled == arm)
    strategy.init()
    strategy.act(nothing)
    assert not np.any(shown[-1])
