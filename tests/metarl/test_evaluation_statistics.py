from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from metarl.evaluation.statistics import Interval, stratified_bootstrap


def one_metric(
    values: npt.ArrayLike, names: Iterable[str], seed: int = 0, **options: Any
) -> tuple[dict[str, Interval], Interval]:
    column = np.asarray(values, dtype=float)[:, None]
    per_name, overall = stratified_bootstrap(column, list(names), np.random.default_rng(seed), **options)
    return {name: row[0] for name, row in per_name.items()}, overall[0]


def test_intervals_of_two_tasks_by_hand() -> None:
    # Drawing two of {1, 3} gives the means 1, 2, 3 with probabilities 1/4, 1/2, 1/4: both tails hold more than 2.5 %.
    per_name, overall = one_metric([1, 3, 10], ["a", "a", "b"])
    assert per_name["a"] == pytest.approx(Interval(2, 1, 3))
    assert per_name["b"] == pytest.approx(Interval(10, 10, 10))
    assert overall == pytest.approx(Interval(6, 5.5, 6.5))


def test_level_moves_the_bounds() -> None:
    # Three tasks {0, 0, 1}: the mean of a draw is 0 with probability 8/27, so a 30 % interval starts at 1/3, not at 0.
    _, wide = one_metric([0, 0, 1], "aaa")
    _, narrow = one_metric([0, 0, 1], "aaa", level=0.3)
    assert wide == pytest.approx(Interval(1 / 3, 0, 1))
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
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


def test_agrees_with_drawing_tasks_themselves() -> None:
    """A direct reference with two names of different sizes and spreads."""
    rng = np.random.default_rng(7)
    first, second = rng.normal(1, 2, 6), rng.normal(-1, 5, 9)
    draws = (rng.choice(first, (40_000, 6)).mean(axis=1) + rng.choice(second, (40_000, 9)).mean(axis=1)) / 2
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
