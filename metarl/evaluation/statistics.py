"""Bootstrap confidence intervals over tasks, stratified by task name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

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
    for name in dict.fromkeys(names):
        stratum = values[labels == name]
        count = len(stratum)
        # n draws with replacement of n tasks: the mean depends on the number of times c_i that each is drawn only,
        # c ~ Multinomial(n; 1/n, ..., 1/n).
        times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        # m = 1/n sum_i x_i,  m*_b = 1/n sum_i c_bi x_i,  for b = 1..B
        means, draws = stratum.mean(axis=0), times_drawn @ stratum / count
        per_name[name] = _intervals(means, draws, level)
        summed_means += means
        summed_draws += draws
    # Over S names: m = 1/S sum_s m_s,  m*_b = 1/S sum_s m*_sb
    return per_name, _intervals(summed_means / len(per_name), summed_draws / len(per_name), level)


def _intervals(
    means: Float[np.ndarray, "metric"], draws: Float[np.ndarray, "resample metric"], level: float
) -> list[Interval]:
    # [q(alpha / 2), q(1 - alpha / 2)], q being the quantiles of m*_1..m*_B
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, bounds)) for bounds in zip(means, low, high, strict=True)]
