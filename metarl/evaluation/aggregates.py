"""Aggregates of all pairs of training seed and task beside the mean (Agarwal et al. 2021), with intervals."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtrit
from scipy.stats import trim_mean

from metarl.evaluation.shares import share_bounds
from metarl.evaluation.statistics import LEVEL, Bounds, Interval, split_by_name, with_seeds

IQM_RESAMPLES = 2000
"""Default number of bootstrap resamples of the interquartile mean."""


def interquartile_mean(
    values: Float[np.ndarray, "seed task metric"],
    names: Sequence[str],
    rng: np.random.Generator,
    resamples: int = IQM_RESAMPLES,
    level: float = LEVEL,
) -> Bounds:
    """Computes the mean of the middle half of all pairs of seed and task, with its interval.

    Tasks are drawn within each name, then seeds. Each of the two percentile intervals is widened for few tasks or
    seeds, and the squares of their lengths add up (as in `with_seeds`).

    Args:
        values: A value for each training seed, task and metric.
        names: Name of each task.
        rng: Generator of the draws.
        resamples: Number of bootstrap draws B.
        level: Confidence level 1 - alpha.

    Returns:
        Interquartile means with intervals, which are NaN if a name has a single task.
    """
    seeds, count, _ = values.shape
    mean = _middle_mean(values.reshape(-1, values.shape[-1]).T)
    groups = [np.flatnonzero(np.asarray(names) == name) for name in dict.fromkeys(names)]
    if min(map(len, groups)) < 2:
        return Bounds(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))

    def interval_ends(draws: Float[np.ndarray, "resample metric"], freedom: int) -> Float[np.ndarray, "end metric"]:
        # f (q - m),  f = sqrt((nu + 1) / nu) t_nu(1 - alpha/2) / z(1 - alpha/2)  (Hesterberg 2015, section 5.2)
        widening = np.sqrt((freedom + 1) / freedom) * stdtrit(freedom, (1 + level) / 2) / ndtri((1 + level) / 2)
        ends: Float[np.ndarray, "end metric"]
        ends = widening * (np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0) - mean)
        return ends

    tasks = np.concatenate([rng.choice(group, (resamples, len(group))) for group in groups], axis=1)
    ends = interval_ends(_drawn_middle_means(values.swapaxes(0, 1), tasks), count - len(groups))
    if seeds > 1:
        draws = _drawn_middle_means(values, rng.integers(seeds, size=(resamples, seeds)))
        ends = np.hypot(ends, interval_ends(draws, seeds - 1))
        ends[0] *= -1
    return Bounds(mean, mean + np.minimum(ends[0], 0), mean + np.maximum(ends[1], 0))


def _middle_mean(values: Float[np.ndarray, "*batch value"]) -> Float[np.ndarray, "*batch"]:
    """Returns the mean of what is left without a quarter of the values, rounded down, at either end."""
    return np.asarray(trim_mean(values, 0.25, axis=-1))


def _drawn_middle_means(
    values: Float[np.ndarray, "one other metric"], drawn: Int[np.ndarray, "resample one"]
) -> Float[np.ndarray, "resample metric"]:
    """Returns the middle means of resamples of the first axis; a metric at a time, for memory."""
    columns = [_middle_mean(values[drawn, :, metric].reshape(len(drawn), -1)) for metric in range(values.shape[-1])]
    return np.stack(columns, axis=1)


def performance_profile(
    values: Float[np.ndarray, "seed task"], names: Sequence[str], thresholds: Sequence[float], level: float = LEVEL
) -> list[Interval]:
    """Computes the share of pairs of seed and task whose value exceeds each threshold (equation 2).

    Args:
        values: A value for each training seed and task, such as its mean return.
        names: Name of each task; each name weighs the same.
        thresholds: Thresholds tau.
        level: Confidence level, of each threshold by itself.
    """
    # F(tau) = mean of [x > tau]
    exceeds = values[:, :, None] > np.asarray(thresholds, dtype=float)
    return share_bounds(list(split_by_name(exceeds.astype(float), names).values()), level=level).intervals()


def probability_of_improvement(
    values: Float[np.ndarray, "seed task"],
    others: Float[np.ndarray, "other task"],
    names: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """Estimates the probability that a seed is better than another algorithm's seed on the same task (equation 3).

    It is the mean over tasks of the Mann-Whitney statistic, in which a tie counts half. Its interval over tasks is that
    of a share; that over the seeds of either side is Student's of their shares of comparisons won (DeLong et al. 1988).
    The squares of the lengths add up.

    Args:
        values: A value for each training seed and task.
        others: The other algorithm's, on the same tasks.
        names: Name of each task; each name weighs the same.
        level: Confidence level.
    """
    # w[i, j, t] = 1 if x[i, t] > y[j, t], 1/2 if equal, else 0
    wins = (values[:, None] > others[None]) + 0.5 * (values[:, None] == others[None])

    def by_name(shares: Float[np.ndarray, "seed task"]) -> list[Float[np.ndarray, "seed _ metric"]]:
        return list(split_by_name(shares[:, :, None], names).values())

    bounds = share_bounds(by_name(wins.mean(axis=(0, 1))[None]), len(values) * len(others), level)
    for side in (wins.mean(axis=1), wins.mean(axis=0)):
        bounds = with_seeds(bounds, by_name(side), level)
    (won,) = bounds.intervals()
    return Interval(won.mean, max(won.low, 0.0), min(won.high, 1.0))
