"""Confidence intervals of means over tasks and training seeds, for few tasks and skewed values too.

Values are split by task name, and each name weighs the same. Tasks of a name and seeds are draws from what they could
have been; names are not.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

RESAMPLES = 10_000
"""Default number of bootstrap resamples."""
LEVEL = 0.95
"""Default confidence level."""
MIN_TASKS = 6
"""Smallest number of tasks that a verdict is given for: of 5, even five gains of one sign have a probability of
2 / 2^5 = 6 % under chance."""
_MOST_WIDENING = 2.0
"""Largest factor by which skewness widens a side of Student's interval."""


class Interval(NamedTuple):
    """Mean with its confidence interval; both ends are NaN where there are too few tasks for one."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True if the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, float | None]:
        """Returns the interval as JSON types; ends that are not known are None."""
        return {name: None if np.isnan(value) else value for name, value in self._asdict().items()}


class Bounds(NamedTuple):
    """Means and ends of their intervals, as arrays over metrics."""

    mean: Float[np.ndarray, "metric"]
    low: Float[np.ndarray, "metric"]
    high: Float[np.ndarray, "metric"]

    def intervals(self) -> list[Interval]:
        """Returns the interval of each metric."""
        return [Interval(*map(float, bounds)) for bounds in zip(*self, strict=True)]


Verdict = Literal["excludes zero", "does not exclude zero", "too few tasks to tell"]


def verdict(interval: Interval, tasks: int) -> Verdict:
    """Says whether an interval excludes zero, or that there are fewer than 6 tasks.

    Args:
        interval: Interval of a gain.
        tasks: Number of tasks.
    """
    if tasks < MIN_TASKS or np.isnan(interval.low):
        return "too few tasks to tell"
    return "excludes zero" if interval.excludes_zero else "does not exclude zero"


def split_by_name(
    values: Float[np.ndarray, "seed task metric"], names: Sequence[str]
) -> dict[str, Float[np.ndarray, "seed _ metric"]]:
    """Splits values by the names of the tasks, in order of first appearance.

    Args:
        values: A value for each training seed, task and metric.
        names: Name of each task.
    """
    labels = np.asarray(names)
    return {name: values[:, labels == name] for name in dict.fromkeys(names)}


def mean_bounds(
    strata: Sequence[Float[np.ndarray, "seed _ metric"]],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Bounds:
    """Computes intervals of the mean over names of the mean over tasks, for values without bounds such as returns.

    The interval over tasks is Student's, each side widened as far as the studentised bootstrap asks for (Efron &
    Tibshirani 1993, section 12.5), which follows skewness, and at most to twice its length. Tasks are drawn within each
    name; all metrics share the draws. `with_seeds` adds the spread over seeds.

    Args:
        strata: Values of the tasks of each name, `(seed, task, metric)`, the mean over a task's episodes.
        rng: Generator of the draws, the only source of randomness.
        resamples: Number of bootstrap draws B.
        level: Confidence level 1 - alpha, in (0, 1).

    Returns:
        Means with intervals, which are NaN if a name has a single task.
    """
    tasks = [stratum.mean(axis=0) for stratum in strata]
    mean = np.mean([each.mean(axis=0) for each in tasks], axis=0)
    if min(map(len, tasks)) < 2:
        return Bounds(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    student, error = student_quantile(tasks, level), np.sqrt(sum(mean_variances(tasks)))
    studentised = _studentised_draws(tasks, rng, resamples, error)
    # [m - q(1 - alpha/2) e, m - q(alpha/2) e], q being the quantiles of t*_1..t*_B and e the standard error
    lower, upper = np.quantile(studentised, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    below, above = (np.clip(width, student, _MOST_WIDENING * student) for width in (upper, -lower))
    return with_seeds(Bounds(mean, mean - below * error, mean + above * error), strata, level)


def mean_variances(tasks: Sequence[Float[np.ndarray, "_ metric"]]) -> list[Float[np.ndarray, "metric"]]:
    """Returns each name's part v_j of the variance of the mean over S names: v_j = s_j^2 / (n_j S^2).

    Args:
        tasks: Values of the tasks of each name, at least two.
    """
    return [each.var(axis=0, ddof=1) / (len(each) * len(tasks) ** 2) for each in tasks]


def student_quantile(tasks: Sequence[Float[np.ndarray, "_ metric"]], level: float) -> Float[np.ndarray, "metric"]:
    """Returns the quantile of Student's t for the degrees of freedom that tasks of several names have together.

    Args:
        tasks: Values of the tasks of each name, at least two.
        level: Confidence level 1 - alpha.
    """
    variances, freedoms = np.stack(mean_variances(tasks)), np.array([len(each) - 1 for each in tasks])
    # only their ratios matter, and the squares of large ones would overflow
    largest = variances.max(axis=0)
    variances = np.divide(variances, largest, out=np.zeros_like(variances), where=largest > 0)
    # nu = (sum_j v_j)^2 / sum_j v_j^2 / (n_j - 1) (Satterthwaite 1946); without any spread sum_j (n_j - 1)
    denominator = (variances**2 / freedoms[:, None]).sum(axis=0)
    without = np.full(len(denominator), float(freedoms.sum()))
    freedom = np.divide(variances.sum(axis=0) ** 2, denominator, out=without, where=denominator > 0)
    quantile: Float[np.ndarray, "metric"] = stdtrit(freedom, (1 + level) / 2)
    return quantile


def with_seeds(bounds: Bounds, strata: Sequence[Float[np.ndarray, "seed _ metric"]], level: float) -> Bounds:
    """Adds the spread over training seeds to intervals over tasks; with one seed there is none to add.

    Effects of tasks and seeds add up, so the squares of their intervals' lengths do, on each side (Zou & Donner 2008).
    The interval over seeds is Student's, of the seeds' means over tasks. The part of the spread that belongs to single
    pairs of seed and task is in both, which makes the interval rather too wide than too narrow.

    Args:
        bounds: Intervals over tasks, of means over seeds.
        strata: Values of the tasks of each name, `(seed, task, metric)`.
        level: Confidence level.
    """
    seeds = len(strata[0])
    if seeds == 1:
        return bounds
    means = np.mean([stratum.mean(axis=1) for stratum in strata], axis=0)
    # w = t_{S-1}(1 - alpha/2) s / sqrt(S);  l = m - sqrt((m - l_tasks)^2 + w^2), and u likewise
    width = stdtrit(seeds - 1, (1 + level) / 2) * means.std(axis=0, ddof=1) / np.sqrt(seeds)
    low = bounds.mean - np.hypot(bounds.mean - bounds.low, width)
    return Bounds(bounds.mean, low, bounds.mean + np.hypot(bounds.high - bounds.mean, width))


def _studentised_draws(
    tasks: Sequence[Float[np.ndarray, "_ metric"]],
    rng: np.random.Generator,
    resamples: int,
    error: Float[np.ndarray, "metric"],
) -> Float[np.ndarray, "resample metric"]:
    """Returns t*_b = (m*_b - m) / e*_b of resamples b; infinite where a resample has no spread, 0 where m*_b = m."""
    deviations, variances = np.zeros((resamples, len(error))), np.zeros((resamples, len(error)))
    for each in tasks:
        # The mean and variance of n draws of n tasks depend on how often c_i each is drawn only:
        # c ~ Multinomial(n; 1/n, ..., 1/n).  With x_i centred:  d = 1/n sum_i c_i x_i,  s^2 = 1/n sum_i c_i x_i^2 - d^2
        count, centred = len(each), each - each.mean(axis=0)
        shares = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
        drawn = shares @ centred
        # m* - m = 1/S sum_j d_j,  (e*)^2 = 1/S^2 sum_j s_j^2 / (n_j - 1)
        deviations += drawn / len(tasks)
        variances += np.maximum(shares @ centred**2 - drawn**2, 0) / ((count - 1) * len(tasks) ** 2)
    moved = np.abs(deviations) > 1e-9 * error  # else rounding
    with np.errstate(divide="ignore"):
        return np.divide(deviations, np.sqrt(variances), out=np.zeros_like(deviations), where=moved)
