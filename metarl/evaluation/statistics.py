"""Bootstrap confidence intervals over tasks, stratified by task name, and of shares without spread."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

RESAMPLES = 10_000
"""Default number of bootstrap resamples."""
LEVEL = 0.95
"""Default confidence level."""


class Interval(NamedTuple):
    """Mean with its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def share_interval(interval: Interval, tasks: int, level: float = LEVEL) -> Interval:
    """Corrects the interval of a share: it ends at 0 and 1, and has a width where all tasks are 0 or all are 1.

    There a resample never differs, but that none of n tasks was solved does not mean that none could be: the interval
    is Wilson's (1927).

    Args:
        interval: Bootstrap interval of the share.
        tasks: Number of tasks n.
        level: Confidence level.
    """
    mean, low, high = interval.mean, max(interval.low, 0.0), min(interval.high, 1.0)
    # Wilson's bounds at p = 0: [0, z^2 / (n + z^2)], and at p = 1: [n / (n + z^2), 1]
    square = float(ndtri((1 + level) / 2)) ** 2
    if interval.low == interval.high == 0:
        high = square / (tasks + square)
    elif interval.low == interval.high == 1:
        low = tasks / (tasks + square)
    return Interval(mean, low, high)


def stratified_bootstrap(
    values: Float[np.ndarray, "task metric"],
    names: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[dict[str, list[Interval]], list[Interval]]:
    """Computes percentile bootstrap intervals of each name's mean over its tasks, and of the mean over the names.

    Tasks are drawn with replacement within each name (Efron & Tibshirani 1993, ch. 13; stratified as in Agarwal et al.
    2021, sec. 4.1). Each name weighs the same, whatever its number of tasks. All metrics share the draws, so the
    interval of a column of differences is a paired interval. A name with a single task has no spread: both ends of its
    interval are its mean.

    Percentile intervals of few tasks are too narrow (Hesterberg 2015, "What teachers should know about the bootstrap",
    section 5.2): they lack the factor sqrt(n / (n - 1)) between the two estimates of a variance, and the quantile of
    Student's t in place of the normal distribution's. Both are made up for, by widening intervals around their means.

    Args:
        values: Means over a task's episodes, `(task, metric)`.
        names: Name of each task, which is its stratum.
        rng: Generator of the draws, the only source of randomness.
        resamples: Number of bootstrap draws B of all tasks.
        level: Confidence level 1 - alpha, in (0, 1).

    Returns:
        Intervals of each name, in order of first appearance, and intervals over all names; both are lists over metrics.
    """
    labels = np.asarray(names)
    per_name: dict[str, list[Interval]] = {}
    summed_means, summed_draws = np.zeros(values.shape[1]), np.zeros((resamples, values.shape[1]))
    variances, counts = [], []
    for name in dict.fromkeys(names):
        stratum = values[labels == name]
        count = len(stratum)
        # n draws with replacement of n tasks: the mean depends on the number of times c_i that each is drawn only,
        # c ~ Multinomial(n; 1/n, ..., 1/n).
        times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        # m = 1/n sum_i x_i,  m*_b = m + sqrt(n / (n - 1)) (1/n sum_i c_bi x_i - m),  for b = 1..B
        means = stratum.mean(axis=0)
        draws = means + np.sqrt(count / max(count - 1, 1)) * (times_drawn @ stratum / count - means)
        # v = s^2 / n, with s^2 = 1/(n - 1) sum_i (x_i - m)^2
        variances.append(((stratum - means) ** 2).sum(axis=0) / (max(count - 1, 1) * count))
        counts.append(count)
        per_name[name] = _intervals(means, draws, _t_factor(variances[-1:], counts[-1:], level), level)
        summed_means += means
        summed_draws += draws
    # Over S names: m = 1/S sum_s m_s,  m*_b = 1/S sum_s m*_sb
    names_count, factor = len(per_name), _t_factor(variances, counts, level)
    return per_name, _intervals(summed_means / names_count, summed_draws / names_count, factor, level)


def _t_factor(
    variances: Sequence[Float[np.ndarray, "metric"]], counts: Sequence[int], level: float
) -> Float[np.ndarray, "metric"]:
    """Quantile of Student's t over that of the normal distribution, for the degrees of freedom of the tasks."""
    each = np.stack(variances)
    # nu = (sum_s v_s)^2 / sum_s v_s^2 / (n_s - 1) (Satterthwaite 1946), infinite without spread
    denominator = (each**2 / np.maximum(np.array(counts) - 1, 1)[:, None]).sum(axis=0)
    freedom = np.divide(each.sum(axis=0) ** 2, denominator, out=np.full(each.shape[1], np.inf), where=denominator > 0)
    # t_nu(1 - alpha / 2) / z(1 - alpha / 2)
    quantile, normal = stdtrit(np.minimum(freedom, 1e9), (1 + level) / 2), ndtri((1 + level) / 2)
    factor: Float[np.ndarray, "metric"] = quantile / normal
    return factor


def _intervals(
    means: Float[np.ndarray, "metric"],
    draws: Float[np.ndarray, "resample metric"],
    factor: Float[np.ndarray, "metric"],
    level: float,
) -> list[Interval]:
    # m + f (q(alpha / 2) - m), m + f (q(1 - alpha / 2) - m), q being the quantiles of m*_1..m*_B
    low, high = means + factor * (np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0) - means)
    return [Interval(*map(float, bounds)) for bounds in zip(means, low, high, strict=True)]
