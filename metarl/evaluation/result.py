"""Result of an evaluation: the outcome of every episode, and summaries with confidence intervals."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from metarl.evaluation.fields import EvaluationFields, check_fields
from metarl.evaluation.statistics import LEVEL, RESAMPLES, Interval, share_interval, stratified_bootstrap
from metarl.seeding import Stream, generator

_DESCRIPTION = (
    "For each number k of adaptation episodes the agent starts anew, plays exactly k episodes on each task, spread "
    "over its adaptation steps, and adapts; then exactly the stated number of evaluation episodes is played on each "
    "task, to their end whether solved or not. Returns are undiscounted. An episode is a success if the task was "
    "solved in any of its steps; success_last asks for the last step. Values are averaged over a task's episodes, then "
    "over the tasks of a name, then over names. Intervals are percentile bootstraps over tasks, drawn within each "
    "name, and widened by Student's t for few tasks; where no task was solved, or all were, they are Wilson's. They "
    "tell of the spread over tasks, not over training runs. Gains are paired: the same task with k and with "
    "0 adaptation episodes."
)


@dataclass(frozen=True)
class Summary:
    """Performance after `k` adaptation episodes, for one task name or over all names."""

    k: int
    """Number of adaptation episodes."""
    success: Interval
    """Share of episodes in which the task was solved at any step."""
    success_last: Interval
    """Share of episodes in which the task was solved at the last step."""
    returns: Interval
    """Undiscounted return of an episode."""
    success_gain: Interval | None
    """`success` minus `success` at k = 0, paired by task; None for k = 0 or where k = 0 was not played."""
    return_gain: Interval | None
    """`returns` minus `returns` at k = 0, paired by task; None likewise."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as JSON types; gains that are None are left out."""
        intervals = {
            "success": self.success,
            "success_last": self.success_last,
            "return": self.returns,
            "success_gain": self.success_gain,
            "return_gain": self.return_gain,
        }
        return {"k": self.k} | {name: interval._asdict() for name, interval in intervals.items() if interval}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Result of an evaluation in full: the outcome of every evaluation episode."""

    distribution: str
    """Name of the task distribution."""
    held_out: bool
    """True if all tasks are test tasks of the distribution and none is a training task as well."""
    horizon: int
    """Steps after which an episode is truncated."""
    task_names: tuple[str, ...]
    """Name of each task."""
    task_ids: tuple[str, ...]
    """Identifier of each task."""
    adaptation_episodes: tuple[int, ...]
    """Numbers k of adaptation episodes, ascending."""
    adaptation_steps: int
    """Number of the agent's adaptation steps, over which the adaptation episodes were spread."""
    seed: int
    """Seed that the environments' seeds and the bootstrap were derived from."""
    success: Bool[np.ndarray, "k task episode"]
    """True where the task was solved at any step of the episode."""
    success_last: Bool[np.ndarray, "k task episode"]
    """True where the task was solved at the episode's last step."""
    returns: Float[np.ndarray, "k task episode"]
    """Undiscounted return of the full episode."""
    divergences: int = 0
    """Number of episodes, adaptation episodes included, that ended early because the simulation diverged."""

    @property
    def episodes(self) -> int:
        """Number of evaluation episodes per task and k."""
        return int(self.returns.shape[-1])

    @property
    def per_name(self) -> dict[str, list[Summary]]:
        """Summaries by task name, one for each k; names in order of first appearance."""
        return self._summaries[0]

    @property
    def overall(self) -> list[Summary]:
        """Summaries over all task names, one for each k; each name weighs the same."""
        return self._summaries[1]

    @cached_property
    def _summaries(self) -> tuple[dict[str, list[Summary]], list[Summary]]:
        # x[k, task] = 1/E sum_e y[k, task, e], for y = success, success_last and return of E episodes
        measured = [array.mean(axis=-1) for array in (self.success, self.success_last, self.returns)]
        per_task = np.concatenate([*measured, self._gains(measured[0]), self._gains(measured[2])]).T
        per_name, overall = stratified_bootstrap(per_task, self.task_names, generator(self.seed, Stream.EVALUATION))
        counts = Counter(self.task_names)
        summaries = {name: self._summarise(row, counts[name]) for name, row in per_name.items()}
        return summaries, self._summarise(overall, len(self.task_names))

    def _gains(self, values: Float[np.ndarray, "k task"]) -> Float[np.ndarray, "k task"]:
        # gain[k, task] = x[k, task] - x[0, task]; zero, and never shown, where k = 0 was not played
        has_baseline = self.adaptation_episodes[0] == 0
        return values - values[0] if has_baseline else np.zeros_like(values)

    def _summarise(self, intervals: list[Interval], tasks: int) -> list[Summary]:
        ks = self.adaptation_episodes
        success, last, returns, success_gain, return_gain = (
            intervals[start : start + len(ks)] for start in range(0, len(intervals), len(ks))
        )
        return [
            Summary(
                k,
                share_interval(success[row], tasks),
                share_interval(last[row], tasks),
                returns[row],
                _gain_of_shares(success_gain[row]) if k and ks[0] == 0 else None,
                return_gain[row] if k and ks[0] == 0 else None,
            )
            for row, k in enumerate(ks)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON types: protocol, summaries with intervals, and each episode's outcome per task."""
        return {
            "protocol": {
                "description": _DESCRIPTION,
                "adaptation_episodes": list(self.adaptation_episodes),
                "adaptation_steps": self.adaptation_steps,
                "episodes_per_task": self.episodes,
                "horizon": self.horizon,
                "seed": self.seed,
                "divergences": self.divergences,
                "interval_level": LEVEL,
                "interval_resamples": RESAMPLES,
            },
            "distribution": self.distribution,
            "held_out": self.held_out,
            "overall": [summary.to_dict() for summary in self.overall],
            "per_name": {name: [summary.to_dict() for summary in rows] for name, rows in self.per_name.items()},
            "tasks": [
                {
                    "name": name,
                    "id": identifier,
                    "success": self.success[:, task].tolist(),
                    "success_last": self.success_last[:, task].tolist(),
                    "return": self.returns[:, task].tolist(),
                }
                for task, (name, identifier) in enumerate(zip(self.task_names, self.task_ids, strict=True))
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Evaluation":
        """Reads what `to_dict` returned; summaries are computed anew.

        Args:
            data: JSON types; fields that are not the evaluation's own are left alone.

        Raises:
            UserError: If a field is missing or not what it should be.
        """
        fields = check_fields(EvaluationFields, data, "an evaluation")
        protocol, tasks = fields.protocol, fields.tasks
        return cls(
            distribution=fields.distribution,
            held_out=fields.held_out,
            horizon=protocol.horizon,
            task_names=tuple(task.name for task in tasks),
            task_ids=tuple(task.id for task in tasks),
            adaptation_episodes=tuple(protocol.adaptation_episodes),
            adaptation_steps=protocol.adaptation_steps,
            seed=protocol.seed,
            # [task][k][episode] as (k, task, episode)
            success=np.array([task.success for task in tasks]).swapaxes(0, 1),
            success_last=np.array([task.success_last for task in tasks]).swapaxes(0, 1),
            returns=np.array([task.returns for task in tasks], dtype=float).swapaxes(0, 1),
            divergences=protocol.divergences,
        )


def _gain_of_shares(gain: Interval) -> Interval:
    return Interval(gain.mean, max(gain.low, -1.0), min(gain.high, 1.0))
