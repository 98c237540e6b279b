"""Confidence intervals of shares, such as success, and of gains in them; right where a share is 0 or 1 too."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv, stdtrit

from metarl.evaluation.statistics import LEVEL, MIN_TASKS, Bounds, mean_variances, student_quantile, with_seeds


def share_bounds(
    strata: Sequence[Float[np.ndarray, "seed _ metric"]], episodes: int = 1, level: float = LEVEL
) -> Bounds:
    """Computes intervals of the mean over names of the mean over tasks, for values between 0 and 1.

    They are those of Clopper & Pearson (1934) for the effective number of tasks (Korn & Graubard 1998): as many coins
    as would have the variance that was found. Below 6 tasks, and where a name has a single one, each task is a coin.

    Args:
        strata: Shares of the tasks of each name, `(seed, task, metric)`.
        episodes: Number of episodes E that each share is of.
        level: Confidence level 1 - alpha.
    """
    tasks = [stratum.mean(axis=0) for stratum in strata]
    mean = np.clip(np.mean([each.mean(axis=0) for each in tasks], axis=0), 0, 1)
    coins = _effective_coins(tasks, mean, episodes * len(strata[0]), level)
    # With x = p n:  low = B(alpha/2; x, n - x + 1),  high = B(1 - alpha/2; x + 1, n - x), quantiles of beta
    # distributions;  low = 0 for x = 0,  high = 1 for x = n
    solved, failed, tail = mean * coins, (1 - mean) * coins, (1 - level) / 2
    low, high = np.zeros_like(mean), np.ones_like(mean)
    some, open_ = mean > 0, mean < 1
    low[some] = betaincinv(solved[some], failed[some] + 1, tail)
    high[open_] = betaincinv(solved[open_] + 1, failed[open_], 1 - tail)
    bounds = with_seeds(Bounds(mean, low, high), strata, level)
    return Bounds(mean, np.clip(bounds.low, 0, 1), np.clip(bounds.high, 0, 1))


def share_gain_bounds(strata: Sequence[Float[np.ndarray, "seed _ metric"]], level: float = LEVEL) -> Bounds:
    """Computes intervals of the mean gain in a share, for values between -1 and 1, paired by task.

    Student's interval after a task that gained 1 and one that lost 1 were added to n (Bonett & Price 2012, for pairs of
    shares), which leaves it a width where no task changed, or all did.

    Args:
        strata: Gains of the tasks of each name, `(seed, task, metric)`.
        level: Confidence level.

    Returns:
        Means with intervals, which are NaN if a name has a single task.
    """
    tasks = [stratum.mean(axis=0) for stratum in strata]
    mean = np.mean([each.mean(axis=0) for each in tasks], axis=0)
    if min(map(len, tasks)) < 2:
        return Bounds(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    count = _equal_count(tasks)
    # n tasks of mean m and variance s^2 = n v have sum_i d_i = n m and sum_i d_i^2 = n (s^2 + m^2); with the two added:
    # m' = n m / (n + 2),  s'^2 = (n (s^2 + m^2) + 2) / (n + 2) - m'^2,  m' -/+ t s' / sqrt(n + 2)
    variance = count * sum(mean_variances(tasks))
    middle = count * mean / (count + 2)
    square = (count * (variance + mean**2) + 2) / (count + 2) - middle**2
    width = student_quantile(tasks, level) * np.sqrt(square / (count + 2))
    around = Bounds(mean, np.minimum(middle - width, mean), np.maximum(middle + width, mean))
    bounds = with_seeds(around, strata, level)
    return Bounds(mean, np.clip(bounds.low, -1, 1), np.clip(bounds.high, -1, 1))


def _equal_count(tasks: Sequence[Float[np.ndarray, "_ metric"]]) -> float:
    """Returns the number of tasks that would tell as much if the S names had equally many: S^2 / sum_j 1 / n_j."""
    return float(len(tasks) ** 2 / sum(1 / len(each) for each in tasks))


def _effective_coins(
    tasks: Sequence[Float[np.ndarray, "_ metric"]], mean: Float[np.ndarray, "metric"], observations: int, level: float
) -> Float[np.ndarray, "metric"]:
    """Returns the number of coins with the variance of the mean over tasks, from the tasks' to the observations'."""
    # Values in [0, 1] of mean p vary by p (1 - p) at most, so n tasks tell no less than n coins.
    least, count = _equal_count(tasks), sum(map(len, tasks))
    if count < MIN_TASKS or min(map(len, tasks)) < 2:
        return np.full_like(mean, least)
    # n' = p (1 - p) / v, at most all n E observations, times (t_{nE-1} / t_{n-S})^2 as v is estimated
    variance, most = sum(mean_variances(tasks)), least * observations
    coins = np.divide(mean * (1 - mean), variance, out=np.full_like(mean, most), where=variance > 0)
    quantiles = stdtrit([most - 1, count - len(tasks)], (1 + level) / 2)
    effective: Float[np.ndarray, "metric"]
    effective = np.maximum(np.minimum(coins, most) * (quantiles[0] / quantiles[1]) ** 2, least)
    return effective
