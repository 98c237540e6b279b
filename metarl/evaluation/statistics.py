"""Bootstrap confidence intervals over tasks, stratified by task name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and the confidence interval around it."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def stratified_bootstrap(
    values: Float[np.ndarray, "task metric"],
    names: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[dict[str, list[Interval]], list[Interval]]:
    """Percentile bootstrap intervals for each name's mean over its tasks, and for the mean over the names.

    Tasks are drawn with replacement within each name (Efron & Tibshirani 1993, ch. 13; stratified as in Agarwal et al.
    2021, sec. 4.1), and each name weighs the same however many tasks it has. All metrics share the draws, so that an
    interval of a difference column is a paired one. A name with a single task has no spread to draw from: its interval
    is its mean.

    Args:
        values: One number per task and metric, averaged over the task's episodes.
        names: The name of each task.
        rng: The source of randomness; the result depends on nothing else.
        resamples: How many times the tasks are drawn anew.
        level: Confidence level.

    Returns:
        The intervals of each name, in order of first appearance, and those over all names; each a list over metrics.
    """
    labels = np.asarray(names)
    per_name: dict[str, list[Interval]] = {}
    summed_means, summed_draws = np.zeros(values.shape[1]), np.zeros((resamples, values.shape[1]))
    for name in dict.fromkeys(names):
        stratum = values[labels == name]
        count = len(stratum)
        # How often each task is drawn is all that the mean of a draw depends on.
        times_drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        means, draws = stratum.mean(axis=0), times_drawn @ stratum / count
        per_name[name] = _intervals(means, draws, level)
        summed_means += means
        summed_draws += draws
    return per_name, _intervals(summed_means / len(per_name), summed_draws / len(per_name), level)


def _intervals(
    means: Float[np.ndarray, "metric"], draws: Float[np.ndarray, "resample metric"], level: float
) -> list[Interval]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, bounds)) for bounds in zip(means, low, high, strict=True)]
