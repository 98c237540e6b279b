from itertools import product

import numpy as np
import pytest
import scipy.stats

from metarl.evaluation.aggregates import interquartile_mean, performance_profile, probability_of_improvement


def test_interquartile_mean_by_hand() -> None:
    # Two seeds of four tasks: without the two lowest (-50, 1) and highest (90, 1000), the mean of 2, 3, 5, 6 is 4.
    values = np.array([[-50.0, 2, 3, 90], [1, 5, 6, 1000]])[:, :, None]
    (found,) = interquartile_mean(values, ["a"] * 4, np.random.default_rng(0), resamples=50).intervals()
    assert found.mean == 4
    assert found.low < 4 < found.high


def test_interquartile_mean_agrees_with_drawing_tasks_themselves() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(10, 3, 40)
    (found,) = interquartile_mean(values[None, :, None], ["a"] * 40, rng, resamples=4000).intervals()
    draws = [np.sort(rng.choice(values, 40))[10:30].mean() for _ in range(4000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    widening = (40 / 39) ** 0.5 * scipy.stats.t.ppf(0.975, 39) / scipy.stats.norm.ppf(0.975)
    expected = found.mean + widening * (low - found.mean), found.mean + widening * (high - found.mean)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.1 * np.std(draws))


def test_interquartile_mean_spreads_over_seeds_and_tasks() -> None:
    rng = np.random.default_rng(2)
    tasks, seeds = rng.normal(size=(1, 30)), 3 * rng.normal(size=(5, 1))

    def width(values: np.ndarray) -> float:
        (found,) = interquartile_mean(values[:, :, None], ["a"] * 30, rng, resamples=500).intervals()
        return found.high - found.low

    alike = width(np.repeat(tasks, 5, axis=0))
    assert alike == pytest.approx(width(tasks), rel=0.15)  # seeds that are alike add nothing
    assert width(tasks + seeds) > 3 * alike


def test_interquartile_mean_of_a_single_task_has_no_interval() -> None:
    (found,) = interquartile_mean(np.ones((3, 1, 1)), ["a"], np.random.default_rng(0)).intervals()
    assert found.mean == 1
    assert np.isnan([found.low, found.high]).all()


def test_performance_profile_by_hand() -> None:
    values = np.array([[0.0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    found = performance_profile(values, ["a"] * 6, [-1.0, 2.0, 2.5, 11.0])
    assert [each.mean for each in found] == pytest.approx([1, 9 / 12, 9 / 12, 0])  # strictly above
    # All of 6 tasks, with nothing that differs between seeds, are Clopper and Pearson's; 12 pairs tell more than 6.
    assert found[0].high == 1
    assert found[0].low == pytest.approx(scipy.stats.beta.ppf(0.025, coins := 12 * ratio(11, 5), 1))
    assert 6 < coins < 12


def ratio(many: int, few: int) -> float:
    return float((scipy.stats.t.ppf(0.975, many) / scipy.stats.t.ppf(0.975, few)) ** 2)


def test_performance_profile_falls() -> None:
    values = np.random.default_rng(0).normal(size=(3, 20))
    found = performance_profile(values, ["a"] * 10 + ["b"] * 10, np.linspace(-3, 3, 20).tolist())
    assert (np.diff([each.mean for each in found]) <= 0).all()
    assert all(0 <= each.low <= each.mean <= each.high <= 1 for each in found)


def test_probability_of_improvement_by_hand() -> None:
    # Task 1: of 1, 3 against 2, 3 wins 1 > none, 3 > 2, and 3 = 3 counts half: 1.5 of 4. Task 2: 4 of 4.
    found = probability_of_improvement(np.array([[1.0, 9], [3, 9]]), np.array([[2.0, 0], [3, 0]]), ["a", "b"])
    assert found.mean == pytest.approx((1.5 / 4 + 1) / 2)


def test_probability_of_improvement_agrees_with_mann_whitney() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 6, (4, 12)).astype(float), rng.integers(0, 6, (3, 12)).astype(float)
    found = probability_of_improvement(one, other, ["a"] * 12)
    slow = np.mean([scipy.stats.mannwhitneyu(one[:, t], other[:, t]).statistic / 12 for t in range(12)])
    assert found.mean == pytest.approx(slow)
    loops = [
        np.mean([(x > y) + 0.5 * (x == y) for x, y in product(one[:, t], other[:, t], repeat=1)]) for t in range(12)
    ]
    assert found.mean == pytest.approx(np.mean(loops))


def test_probability_of_improvement_is_a_share_and_mirrored() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(5, 20)), rng.normal(0.3, 1, size=(3, 20))
    names = ["a"] * 20
    found, mirrored = probability_of_improvement(one, other, names), probability_of_improvement(other, one, names)
    assert mirrored == pytest.approx((1 - found.mean, 1 - found.high, 1 - found.low))
    always = probability_of_improvement(np.ones((1, 50)), np.zeros((1, 50)), ["a"] * 50)
    assert always == pytest.approx((1, 0.025 ** (1 / 50), 1))  # Clopper and Pearson's of 50 of 50


def test_probability_of_improvement_covers_a_half_where_nothing_differs() -> None:
    """Of 200 pairs of experiments with 4 and 3 seeds on 15 tasks, 95 % are meant; 91 % is 2.6 standard errors below."""
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        one, other = (rng.normal(size=(seeds, 15)) + 0.5 * rng.normal(size=(seeds, 1)) for seeds in (4, 3))
        found = probability_of_improvement(one, other, ["a"] * 15)
        hits += found.low <= 0.5 <= found.high
    assert hits / 200 >= 0.91


@pytest.mark.parametrize(("seeds", "tasks"), [(1, 5), (1, 30), (3, 10)])
def test_interquartile_mean_covers_the_centre_of_a_symmetric_distribution(seeds: int, tasks: int) -> None:
    """Of 200 evaluations; 95 % are meant, and 91 % is 2.6 standard errors below."""
    rng = np.random.default_rng([seeds, tasks])
    values = rng.normal(size=(1, tasks, 200)) + (seeds > 1) * rng.normal(size=(seeds, 1, 200))
    found = interquartile_mean(values, ["a"] * tasks, rng, resamples=300)
    assert np.mean((found.low <= 0) & (found.high >= 0)) >= 0.91
