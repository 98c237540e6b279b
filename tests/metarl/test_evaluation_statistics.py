from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from metarl.evaluation.statistics import Interval, share_interval, stratified_bootstrap


def one_metric(
    values: npt.ArrayLike, names: Iterable[str], seed: int = 0, **options: Any
) -> tuple[dict[str, Interval], Interval]:
    column = np.asarray(values, dtype=float)[:, None]
    per_name, overall = stratified_bootstrap(column, list(names), np.random.default_rng(seed), **options)
    return {name: row[0] for name, row in per_name.items()}, overall[0]


def test_intervals_of_two_tasks_by_hand() -> None:
    # Drawing two of {1, 3} gives the means 1, 2, 3 with probabilities 1/4, 1/2, 1/4: both tails hold more than 2.5 %.
    # The distance 1 from the mean is widened by sqrt(2 / 1), and by t(97.5 %, one degree of freedom) / z(97.5 %).
    width = 2**0.5 * 12.7062 / 1.95996
    per_name, overall = one_metric([1, 3, 10], ["a", "a", "b"])
    assert per_name["a"] == pytest.approx(Interval(2, 2 - width, 2 + width), rel=1e-5)
    assert per_name["b"] == pytest.approx(Interval(10, 10, 10))
    assert overall == pytest.approx(Interval(6, 6 - width / 2, 6 + width / 2), rel=1e-5)


def test_degrees_of_freedom_of_several_names_by_hand() -> None:
    # Variances of the means are 2/2 = 1 and 8/2 = 4: nu = (1 + 4)^2 / (1/1 + 16/1) = 25/17, where t is far above z.
    freedom = 25 / 17
    _, overall = one_metric([0, 2, 0, 4], ["a", "a", "b", "b"], resamples=200_000)
    # 1.5 -/+ sqrt(2) (1/2 1 + 1/2 2), which both tails reach with probability 1/16
    width = 2**0.5 * 1.5 * scipy.stats.t.ppf(0.975, freedom) / scipy.stats.norm.ppf(0.975)
    assert overall == pytest.approx(Interval(1.5, 1.5 - width, 1.5 + width), rel=1e-9)


def test_level_moves_the_bounds() -> None:
    # Three tasks {0, 0, 1}: the mean of a draw is 0 with probability 8/27, so a 30 % interval starts at 1/3, not at 0.
    # Distances from the mean are widened by sqrt(3 / 2), and by t(97.5 %, two degrees of freedom) / z(97.5 %).
    _, wide = one_metric([0, 0, 1], "aaa")
    _, narrow = one_metric([0, 0, 1], "aaa", level=0.3)
    width = 1.5**0.5 * 4.30265 / 1.95996
    assert wide == pytest.approx(Interval(1 / 3, 1 / 3 - width / 3, 1 / 3 + 2 * width / 3), rel=1e-5)
    assert narrow == pytest.approx(Interval(1 / 3, 1 / 3, 1 / 3))


def test_a_name_with_more_tasks_does_not_weigh_more() -> None:
    _, overall = one_metric([0] * 20 + [1], ["many"] * 20 + ["one"])
    assert overall == pytest.approx(Interval(0.5, 0.5, 0.5))


def test_names_keep_their_order_and_may_be_interleaved() -> None:
    per_name, _ = one_metric([1, 10, 3, 20], ["b", "a", "b", "a"])
    assert list(per_name) == ["b", "a"]
    assert per_name["b"].mean == 2
    assert per_name["a"].mean == 15


@pytest.mark.parametrize(("values", "names"), [([4.2], "a"), ([4.2] * 7, "aaaaaaa"), ([4.2, 4.2], "ab")])
def test_without_spread_the_interval_is_the_mean(values, names) -> None:
    per_name, overall = one_metric(values, names)
    for interval in (overall, *per_name.values()):
        assert interval == pytest.approx(Interval(4.2, 4.2, 4.2))


def test_difference_columns_are_paired() -> None:
    before = np.random.default_rng(1).normal(0, 1000, 12)
    columns = np.stack([before, before + 1, np.ones(12)], axis=1)
    _, (first, second, gain) = stratified_bootstrap(columns, ["a"] * 12, np.random.default_rng(0))
    assert gain == pytest.approx(Interval(1, 1, 1))
    assert second.low - first.low == pytest.approx(1)  # the same draws
    assert first.high - first.low > 100


def test_the_result_depends_only_on_the_generator() -> None:
    values, names = np.random.default_rng(2).normal(size=9), "aaabbbbbc"
    assert one_metric(values, names, seed=3) == one_metric(values, names, seed=3)
    assert one_metric(values, names, seed=3) != one_metric(values, names, seed=4)


def test_agrees_with_scipy_on_a_single_name() -> None:
    values = np.random.default_rng(5).exponential(size=40)
    _, ours = one_metric(values, "a" * 40, resamples=40_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=40_000, method="percentile", rng=6)
    tolerance = 0.05 * theirs.standard_error
    mean, widening = values.mean(), (40 / 39) ** 0.5 * 2.02269 / 1.95996  # t with 39 degrees of freedom
    assert ours.low == pytest.approx(mean + widening * (theirs.confidence_interval.low - mean), abs=tolerance)
    assert ours.high == pytest.approx(mean + widening * (theirs.confidence_interval.high - mean), abs=tolerance)


def test_agrees_with_drawing_tasks_themselves() -> None:
    """A direct reference with two names of different sizes and spreads."""
    rng = np.random.default_rng(7)
    first, second = rng.normal(1, 2, 6), rng.normal(-1, 5, 9)
    one, other = rng.choice(first, (40_000, 6)).mean(axis=1), rng.choice(second, (40_000, 9)).mean(axis=1)
    means = first.mean(), second.mean()
    draws = means[0] + (6 / 5) ** 0.5 * (one - means[0]) + means[1] + (9 / 8) ** 0.5 * (other - means[1])
    variances = first.var(ddof=1) / 6, second.var(ddof=1) / 9
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 5 + variances[1] ** 2 / 8)
    factor = scipy.stats.t.ppf(0.975, freedom) / scipy.stats.norm.ppf(0.975)
    draws = (sum(means) + factor * (draws - sum(means))) / 2
    _, ours = one_metric([*first, *second], "a" * 6 + "b" * 9, resamples=40_000)
    assert [ours.low, ours.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist(), abs=0.06 * draws.std())


def test_coverage_of_the_true_mean() -> None:
    """Two names, 25 and 40 tasks, true means 1 and 3: about 19 of 20 intervals hold the overall mean 2."""
    rng = np.random.default_rng(8)
    hits = 0
    for trial in range(400):
        values = np.concatenate([rng.normal(1, 2, 25), rng.exponential(3, 40)])
        _, interval = one_metric(values, "a" * 25 + "b" * 40, seed=trial, resamples=500)
        hits += interval.low <= 2 <= interval.high
    assert 0.90 <= hits / 400 <= 0.975


@pytest.mark.parametrize(("names", "each"), [(1, 2), (1, 3), (1, 5), (5, 2), (1, 10), (1, 50), (3, 4)])
def test_chance_seldom_excludes_zero_however_few_tasks_there_are(names: int, each: int) -> None:
    """Of 600 sets of normal numbers around 0, 5 % are meant to exclude it; 8 % is three standard errors above."""
    rng = np.random.default_rng(names * 100 + each)
    labels = [str(name) for name in range(names) for _ in range(each)]
    wrong = [one_metric(rng.normal(size=names * each), labels, resamples=1000)[1].excludes_zero for _ in range(600)]
    assert np.mean(wrong) < 0.08


def test_a_share_without_spread_has_wilsons_interval() -> None:
    # 0 of 50: 0 to z^2 / (50 + z^2) = 7.1 %; 50 of 50: the mirror image
    assert share_interval(Interval(0, 0, 0), 50) == pytest.approx((0, 0, 0.0713), abs=1e-4)
    assert share_interval(Interval(1, 1, 1), 50) == pytest.approx((1, 0.9287, 1), abs=1e-4)
    assert share_interval(Interval(0.1, -0.2, 0.4), 5) == (0.1, 0, 0.4)
    assert share_interval(Interval(0.9, 0.6, 1.2), 5) == (0.9, 0.6, 1)
    assert share_interval(Interval(0.5, 0.5, 0.5), 5) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("interval", "excludes"),
    [
        (Interval(2, 1, 3), True),
        (Interval(-2, -3, -1), True),
        (Interval(1, -1, 3), False),
        (Interval(1, 0, 2), False),
        (Interval(0, 0, 0), False),
    ],
)
def test_excludes_zero(interval, excludes) -> None:
    assert interval.excludes_zero is excludes
