"""Learning from scratch on single tasks, and what adaptation is worth in episodes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, JsonValue, model_validator
from scipy.stats import binom

from metarl.acting.adapts_on import AdaptsOn
from metarl.evaluation.fields import StoredFields, Whole, check_fields
from metarl.evaluation.result import Evaluation
from metarl.evaluation.statistics import LEVEL
from metarl.evaluation.stored import read_result, result_files, write_result
from metarl.runs import RunDirectory
from metarl.strict import Count, CountOrZero
from metarl_envs.errors import UserError

KIND = "learning_curve"
"""Kind of a file with a `LearningCurve`."""

Measure = Literal["return", "success"]
"""Quantities that adaptation and learning from scratch are compared by."""


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Learning from scratch on each of several tasks: performance of the mean action after n episodes on the task."""

    learner: str
    """Name of the learner, such as "ppo"."""
    settings: dict[str, Any]
    """Settings of the learner and of its evaluation, as JSON types."""
    distribution: str
    """Name of the task distribution."""
    task_names: tuple[str, ...]
    """Name of each task."""
    task_ids: tuple[str, ...]
    """Identifier of each task."""
    episodes: Int[np.ndarray, "point"]
    """Number of training episodes at each point, ascending from 0 to the budget."""
    success: Float[np.ndarray, "task point"]
    """Share of the evaluation episodes in which the task was solved at any step."""
    returns: Float[np.ndarray, "task point"]
    """Undiscounted return of an evaluation episode, averaged."""
    horizon: int
    """Steps after which an episode is truncated."""
    seed: int
    """Seed that the learners' seeds were derived from."""

    @property
    def budget(self) -> int:
        """Number of training episodes at the last point."""
        return int(self.episodes[-1])

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON types."""
        return {
            "learner": self.learner,
            "settings": self.settings,
            "distribution": self.distribution,
            "horizon": self.horizon,
            "seed": self.seed,
            "episodes": self.episodes.tolist(),
            "tasks": [
                {"name": name, "id": identifier, "success": success.tolist(), "return": returns.tolist()}
                for name, identifier, success, returns in zip(
                    self.task_names, self.task_ids, self.success, self.returns, strict=True
                )
            ],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> LearningCurve:
        """Makes a learning curve of what `to_dict` gave.

        Raises:
            UserError: If a field is missing or not what it should be.
        """
        fields = check_fields(_CurveFields, data, "a learning curve")
        return LearningCurve(
            learner=fields.learner,
            settings=fields.settings,
            distribution=fields.distribution,
            task_names=tuple(task.name for task in fields.tasks),
            task_ids=tuple(task.id for task in fields.tasks),
            episodes=np.array(fields.episodes),
            success=np.array([task.success for task in fields.tasks], dtype=np.float64),
            returns=np.array([task.returns for task in fields.tasks], dtype=np.float64),
            horizon=fields.horizon,
            seed=fields.seed,
        )


class _TaskFields(StoredFields):
    name: str
    id: str
    success: list[float]
    returns: list[float] = Field(alias="return")


class _CurveFields(StoredFields):
    learner: str
    settings: dict[str, JsonValue]
    distribution: str
    horizon: Count
    seed: Whole
    episodes: Annotated[list[CountOrZero], Field(min_length=1)]
    tasks: Annotated[list[_TaskFields], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_shapes(self) -> _CurveFields:
        if self.episodes != sorted(set(self.episodes)):
            raise ValueError("episodes must ascend")
        for task in self.tasks:
            if not len(task.success) == len(task.returns) == len(self.episodes):
                raise ValueError(f"task {task.id} must have {len(self.episodes)} points")
        return self


def write_curve(path: Path, curve: LearningCurve) -> None:
    """Writes or replaces the file of a learning curve.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_result(path, KIND, curve.to_dict())


def read_curve(path: Path) -> LearningCurve:
    """Reads the file of a learning curve.

    Raises:
        UserError: If there is no such file, or it is of another format or kind, or damaged.
    """
    data = read_result(path, KIND)
    try:
        return LearningCurve.from_dict(data)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def read_curves(run: RunDirectory) -> list[LearningCurve]:
    """Reads all learning curves among a run's evaluations, by names of their files.

    Raises:
        UserError: If a file is of another format, or damaged.
    """
    return [read_curve(path) for path in result_files(run, KIND)]


@dataclass(frozen=True)
class Worth:
    """Number of episodes from scratch that adaptation in `k` episodes is worth: median over tasks, with its interval.

    A number is infinite where it is more than the budget.
    """

    k: int
    """Number of adaptation episodes."""
    learner: str
    """Name of the learner, such as "ppo"."""
    measure: Measure
    """Quantity that is compared."""
    median: float
    """Median over tasks."""
    low: float
    """Lower end of the interval of the median; 0 where there are too few tasks for one."""
    high: float
    """Upper end of the interval of the median; infinite where there are too few tasks for one."""
    reached: int
    """Number of tasks on which the learner got as far within the budget."""
    tasks: int
    """Number of tasks compared."""
    budget: int
    """Number of episodes that the learner had on each task."""

    @property
    def has_interval(self) -> bool:
        """True if there are tasks enough for an interval."""
        return _order_statistics(self.tasks) is not None

    def sentence(self) -> str:
        """Returns what adaptation is worth in one sentence."""
        interval = "too few tasks for an interval"
        if self.has_interval:
            interval = f"{LEVEL:.0%} interval {self._number(self.low)} to {self._number(self.high)}"
        episodes = f"{self.k} episode{'' if self.k == 1 else 's'}"
        return (
            f"Adaptation in {episodes} is worth {self._number(self.median)} episodes of {self.learner.upper()} from"
            f" scratch by {self.measure} (median over {self.tasks} task{'' if self.tasks == 1 else 's'}, {interval};"
            f" reached on {self.reached} of {self.tasks} within {self.budget:,})."
        )

    def _number(self, episodes: float) -> str:
        return f"more than {self.budget:,}" if math.isinf(episodes) else f"{episodes:,.0f}"


def check_worth(adapts_on: AdaptsOn) -> None:
    """Checks that what a policy adapts on can be held against episodes from scratch.

    Raises:
        UserError: If it adapts on demonstrations.
    """
    if adapts_on is AdaptsOn.DEMONSTRATIONS:
        raise UserError(
            "learning from scratch tells what adaptation episodes are worth, but this policy plays none: hold it"
            " against plain cloning of the same demonstrations, --controls cloning"
        )


def worth(evaluation: Evaluation, curve: LearningCurve, k: int, measure: Measure = "return") -> Worth:
    """Computes how many episodes from scratch it takes to get as far as an adapted policy on the same tasks.

    On each task the number is the first point of the learning curve that is no worse than the policy's mean after k
    adaptation episodes; it is censored where no point within the budget is. Taking the first such point favours the
    learner: of a noisy curve it is a lucky one. Compared are the tasks that both have.

    Args:
        evaluation: Evaluation of the adapting policy.
        curve: Learning from scratch.
        k: Number of adaptation episodes.
        measure: Quantity to compare.

    Raises:
        UserError: If the policy adapts on demonstrations, the evaluation lacks k, or the two have other episodes or no
            task in common.
    """
    check_worth(evaluation.adapts_on)
    if k not in evaluation.adaptation_episodes:
        raise UserError(f"k = {k} was not evaluated: known: {', '.join(map(str, evaluation.adaptation_episodes))}")
    if evaluation.horizon != curve.horizon:
        raise UserError(f"episodes differ: {evaluation.horizon} steps adapted, {curve.horizon} from scratch")
    rows = {identifier: row for row, identifier in enumerate(evaluation.task_ids)}
    common = [(row, rows[identifier]) for row, identifier in enumerate(curve.task_ids) if identifier in rows]
    if not common:
        raise UserError(f"the evaluation and the learning curve of {curve.learner} have no task in common")
    values, adapted = (
        (curve.returns, evaluation.returns) if measure == "return" else (curve.success, evaluation.success)
    )
    targets = adapted[evaluation.adaptation_episodes.index(k)].mean(axis=-1)
    taken = np.array([_first_reaching(values[row], curve.episodes, targets[target]) for row, target in common])
    median, low, high = _median(taken)
    reached = int(np.isfinite(taken).sum())
    return Worth(k, curve.learner, measure, median, low, high, reached, len(taken), curve.budget)


def _first_reaching(
    values: Float[np.ndarray, "point"], episodes: Int[np.ndarray, "point"], target: float | np.floating[Any]
) -> float:
    # N = min {n : y(n) >= y*}, infinite if there is none
    reaching = episodes[values >= target]
    return float(reaching[0]) if len(reaching) else math.inf


def _median(values: Float[np.ndarray, "task"]) -> tuple[float, float, float]:
    """Median and its interval by order statistics, exact for any distribution and with infinite values too.

    The median of an even number of values is the lower one of the middle two, as their mean may be infinite.
    """
    ordered = sorted(map(float, values))
    ranks = _order_statistics(len(ordered))
    low, high = (0.0, math.inf) if ranks is None else (ordered[ranks[0]], ordered[ranks[1]])
    return ordered[(len(ordered) - 1) // 2], low, high


def _order_statistics(count: int, level: float = LEVEL) -> tuple[int, int] | None:
    """Indices of the ordered values between which the median lies with this probability; None for too few values.

    The number of values below the median is Bin(n, 1/2), so x_(l) and x_(n + 1 - l) enclose it with probability
    1 - 2 P(Bin(n, 1/2) <= l - 1) (David & Nagaraja 2003, Order Statistics, section 7.1).
    """
    # l - 1 = largest j with P(Bin(n, 1/2) <= j) <= alpha / 2
    below = int(binom.ppf((1 - level) / 2, count, 0.5))
    if binom.cdf(below, count, 0.5) > (1 - level) / 2:
        below -= 1
    return None if below < 0 else (below, count - 1 - below)
