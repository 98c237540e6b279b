from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from jaxtyping import Float

from metarl.evaluation.shares import share_bounds, share_gain_bounds
from metarl.evaluation.statistics import Bounds, Interval, mean_bounds, split_by_name, verdict

T = scipy.stats.t.ppf
Values = Float[np.ndarray, "seed task metric"]


def strata(values: npt.ArrayLike, names: Iterable[str]) -> list[npt.NDArray[np.float64]]:
    """Values of one seed, or `[seed][task]`, of one metric, by name."""
    table = np.atleast_2d(np.asarray(values, dtype=float))
    return list(split_by_name(table[:, :, None], list(names)).values())


def mean_interval(values: npt.ArrayLike, names: Iterable[str], seed: int = 0, **options: Any) -> Interval:
    return mean_bounds(strata(values, names), np.random.default_rng(seed), **options).intervals()[0]


def test_interval_of_two_tasks_by_hand() -> None:
    # Half of the resamples of {1, 3} have no spread: both sides are as wide as they may be, twice Student's.
    # e = s / sqrt(2) = 1, t_1(97.5 %) = 12.7062
    assert mean_interval([1, 3], "aa") == pytest.approx((2, 2 - 2 * 12.7062, 2 + 2 * 12.7062), rel=1e-5)


def test_a_large_symmetric_sample_has_students_interval() -> None:
    values = scipy.stats.norm.ppf((np.arange(400) + 0.5) / 400)
    width = T(0.975, 399) * values.std(ddof=1) / 20
    found = mean_interval(values, "a" * 400)
    assert found == pytest.approx((0, -width, width), abs=0.04 * width)
    assert found.low <= -width + 1e-12
    assert found.high >= width - 1e-12  # never narrower


def test_the_long_side_is_that_of_the_long_tail() -> None:
    """The slow and obvious reference: draw tasks themselves, and studentise each draw."""
    rng = np.random.default_rng(7)
    first, second = rng.exponential(size=12), rng.normal(-1, 2, 9)
    names = "a" * 12 + "b" * 9
    found = mean_interval([*first, *second], names, resamples=20_000)
    mean, error = (first.mean() + second.mean()) / 2, np.hypot(scipy.stats.sem(first), scipy.stats.sem(second)) / 2
    draws = []
    for _ in range(20_000):
        one, other = rng.choice(first, 12), rng.choice(second, 9)
        drawn = np.hypot(one.std(ddof=0) / 11**0.5, other.std(ddof=0) / 8**0.5) / 2
        draws.append(((one.mean() + other.mean()) / 2 - mean) / drawn)
    parts = first.var(ddof=1) / 12, second.var(ddof=1) / 9
    student = T(0.975, sum(parts) ** 2 / (parts[0] ** 2 / 11 + parts[1] ** 2 / 8))
    low, high = np.quantile(draws, [0.025, 0.975])
    expected = mean - error * max(high, student), mean + error * max(-low, student)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.06 * error)
    assert found.mean == pytest.approx(mean)


def test_names_weigh_the_same_and_keep_their_order() -> None:
    assert mean_interval([0] * 20 + [1] * 2, "a" * 20 + "bb").mean == 0.5
    groups = split_by_name(np.array([[[1.0], [10.0], [3.0], [20.0]]]), ["b", "a", "b", "a"])
    assert [(name, group[0, :, 0].tolist()) for name, group in groups.items()] == [("b", [1, 3]), ("a", [10, 20])]


def test_a_single_task_of_a_name_has_no_interval() -> None:
    for values, names in (([4.2], "a"), ([1, 3, 10], "aab")):
        found = mean_interval(values, names)
        assert np.isnan([found.low, found.high]).all()
        assert not found.excludes_zero
        assert found.to_dict()["low"] is None
    assert mean_interval([1, 3, 10], "aab").mean == 6


def test_without_spread_the_interval_is_the_mean() -> None:
    assert mean_interval([4.2] * 7, "a" * 7) == pytest.approx((4.2, 4.2, 4.2))


def test_seeds_add_the_square_of_their_width() -> None:
    # Tasks by themselves: means over seeds 1, 3, so 2 -/+ 2 * 12.7062. Seeds by themselves: means 1, 3 over tasks, so
    # w = t_1 s / sqrt(2) = 12.7062.
    width = np.hypot(2 * 12.7062, 12.7062)
    assert mean_interval([[0, 2], [2, 4]], "aa") == pytest.approx((2, 2 - width, 2 + width), rel=1e-5)


def test_all_metrics_share_the_draws() -> None:
    before = np.random.default_rng(1).normal(0, 1000, 12)
    columns = np.stack([before, before + 1, np.ones(12)], axis=1)[None]
    first, second, gain = mean_bounds([columns], np.random.default_rng(0)).intervals()
    assert gain == pytest.approx((1, 1, 1))
    assert second.low - first.low == pytest.approx(1)


def test_the_result_depends_only_on_the_generator() -> None:
    values, names = np.random.default_rng(2).exponential(size=8), "aaabbbbb"
    assert mean_interval(values, names, seed=3) == mean_interval(values, names, seed=3)
    assert mean_interval(values, names, seed=3) != mean_interval(values, names, seed=4)


def test_a_lower_level_is_narrower() -> None:
    values = np.random.default_rng(2).normal(size=20)
    wide, narrow = (mean_interval(values, "a" * 20, level=level) for level in (0.95, 0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize(("solved", "tasks"), [(0, 50), (50, 50), (0, 2), (3, 5), (1, 3)])
def test_shares_of_one_episode_each_have_clopper_and_pearsons_interval(solved, tasks) -> None:
    (found,) = share_bounds(strata([1] * solved + [0] * (tasks - solved), "a" * tasks)).intervals()
    exact = scipy.stats.binomtest(solved, tasks).proportion_ci(method="exact")
    assert found == pytest.approx((solved / tasks, exact.low, exact.high))


def test_several_episodes_of_a_task_are_worth_more_than_one_if_tasks_are_alike() -> None:
    # 20 tasks of 3 episodes with shares 1/3 and 2/3: v = s^2 / 20 = (1/36) (20/19) / 20 and p = 1/2, so 171 coins. That
    # is more than 60 episodes: 60 (t_59 / t_19)^2 = 60 (2.0010 / 2.0930)^2 = 54.84 coins.
    (found,) = share_bounds(strata([1 / 3, 2 / 3] * 10, "a" * 20), 3).intervals()
    coins = 60 * (T(0.975, 59) / T(0.975, 19)) ** 2
    assert coins == pytest.approx(54.84, abs=0.01)
    low, high = scipy.stats.beta.ppf([0.025, 0.975], [coins / 2, coins / 2 + 1], [coins / 2 + 1, coins / 2])
    assert found == pytest.approx((0.5, low, high))
    # Where each task is solved always or never, 20 tasks are 20 coins, however many episodes.
    (unlike,) = share_bounds(strata([0, 1] * 10, "a" * 20), 3).intervals()
    assert unlike == pytest.approx((0.5, *scipy.stats.binomtest(10, 20).proportion_ci(method="exact")))


def test_a_gain_in_shares_has_a_width_where_nothing_changed_and_where_all_did() -> None:
    # 0 of 10 changed: with the two added tasks m' = 0, s'^2 = 2 / 12, width t_9 sqrt(2 / 144)
    width = T(0.975, 9) * (2 / 144) ** 0.5
    (found,) = share_gain_bounds(strata([0] * 10, "a" * 10)).intervals()
    assert found == pytest.approx((0, -width, width))
    # All of 10 gained 1: m' = 10/12, s'^2 = 12/12 - (10/12)^2
    (gained,) = share_gain_bounds(strata([1] * 10, "a" * 10)).intervals()
    assert gained == pytest.approx((1, 10 / 12 - T(0.975, 9) * ((1 - (10 / 12) ** 2) / 12) ** 0.5, 1))


def test_a_verdict_needs_six_tasks() -> None:
    gain, none = Interval(2, 1, 3), Interval(1, -1, 3)
    assert verdict(gain, 5) == "too few tasks to tell"
    assert verdict(gain, 6) == verdict(Interval(-2, -3, -1), 6) == "excludes zero"
    assert verdict(none, 6) == verdict(Interval(1, 0, 2), 6) == "does not exclude zero"
    assert verdict(Interval(1, np.nan, np.nan), 50) == "too few tasks to tell"


# Coverage by simulation. Every column of values is one imagined evaluation.


def _with_seeds(tasks: Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.float64]]) -> Any:
    """Values around 0 of tasks, to which seeds, if there are several, add effects of their own and on single tasks."""

    def draw(rng: np.random.Generator, seeds: int, count: int, columns: int) -> Values:
        values = tasks(rng, (1, count, columns))
        if seeds > 1:
            values = (
                values + 0.5 * rng.normal(size=(seeds, 1, columns)) + 0.5 * rng.normal(size=(seeds, count, columns))
            )
        return values

    return draw


NORMAL = _with_seeds(lambda rng, shape: rng.normal(size=shape))
SKEWED = _with_seeds(lambda rng, shape: rng.exponential(size=shape) - 1)
SIZES = [[2], [3], [5], [10], [50], [2] * 5]


def solved(rng: np.random.Generator, seeds: int, count: int, columns: int, mean: float, spread: float) -> Values:
    """Shares of 3 episodes solved; each task and each seed shifts the log-odds."""
    shift = spread * rng.normal(size=(1, count, columns)) + 0.5 * (seeds > 1) * rng.normal(size=(seeds, 1, columns))
    shares: Values = rng.binomial(3, scipy.special.expit(scipy.special.logit(mean) + shift)) / 3
    return shares


def true_share(seeds: int, mean: float, spread: float) -> float:
    """The mean of `solved` over all tasks and seeds, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    shift = np.hypot(spread, 0.5 * (seeds > 1)) * nodes
    return float((scipy.special.expit(scipy.special.logit(mean) + shift) * weights).sum() / weights.sum())


def coverage(bounds: Bounds, truth: float) -> float:
    return float(np.mean((bounds.low <= truth) & (truth <= bounds.high)))


def check_coverage(seeds: int, sizes: Sequence[int], columns: int, resamples: int, slack: float) -> None:
    """95 % are meant; at least 93 % are asked for, and `slack` less for what chance does to a simulation.

    Wrong verdicts: at most 5 % of normal gains, 7 % of skewed ones.
    """
    rng, count = np.random.default_rng([seeds, *sizes]), sum(sizes)
    ends = np.cumsum(sizes)[:-1]

    def by_name(values: Values) -> list[npt.NDArray[np.float64]]:
        return np.split(values, ends, axis=1)

    for draw, most_wrong in ((NORMAL, 0.05), (SKEWED, 0.07)):
        bounds = mean_bounds(by_name(draw(rng, seeds, count, columns)), rng, resamples)
        assert coverage(bounds, 0) >= 0.93 - slack
        wrong = np.mean([verdict(gain, count) == "excludes zero" for gain in bounds.intervals()])
        assert wrong <= most_wrong + slack
    for mean, spread in ((0.02, 0.0), (0.1, 1.5), (0.5, 0.0), (0.5, 3.0)):
        before, after = (solved(rng, seeds, count, columns, mean, spread) for _ in range(2))
        assert coverage(share_bounds(by_name(before), 3), true_share(seeds, mean, spread)) >= 0.93 - slack
        # Chance gains: the same tasks and seeds need not be drawn alike for their mean to be 0.
        gains = share_gain_bounds(by_name(after - before))
        assert coverage(gains, 0) >= 0.95 - slack


@pytest.mark.parametrize("seeds", [1, 3, 10])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_coverage(seeds: int, sizes: list[int]) -> None:
    check_coverage(seeds, sizes, columns=400, resamples=400, slack=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3, 10])
@pytest.mark.parametrize("sizes", [*SIZES, [4], [6], [25], [10] * 5, [50] * 5], ids=str)
def test_coverage_at_length(seeds: int, sizes: list[int]) -> None:
    check_coverage(seeds, sizes, columns=4000, resamples=1500, slack=0.01)
