"""Result of an evaluation: the outcome of every episode, as JSON types and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import ActionChoice
from metarl.evaluation.aggregates import IQM_RESAMPLES
from metarl.evaluation.fields import EvaluationFields, check_fields
from metarl.evaluation.statistics import LEVEL, RESAMPLES, Interval
from metarl.evaluation.summary import Outcomes, Summary

_ADAPTATION = {
    AdaptsOn.EPISODES: "For each number k of adaptation episodes the agent starts anew, plays exactly k episodes on "
    "each task, spread over its adaptation steps, and adapts; ",
    AdaptsOn.DEMONSTRATIONS: "For each number k of demonstrations the agent starts anew and is shown the first k "
    "demonstrations of each task, and plays nothing to adapt; ",
}
_DESCRIPTION = (
    "then exactly the stated number of evaluation episodes is played on each task, to their end whether solved or not. "
    "Returns are undiscounted. An episode is a success if the task was "
    "solved in any of its steps; success_last asks for the last step. Values are averaged over a task's episodes, then "
    "over the tasks of a name, then over names. Gains are paired: the same task with k and with k = 0. "
    "Intervals tell of the spread over tasks, not over training runs: Student's, widened by a studentised bootstrap, "
    "for returns; Clopper and Pearson's for an effective number of tasks for success; Bonett and Price's for gains in "
    "success. IQM is the mean of the middle half of the tasks. An end of an interval is null where a name has a single "
    "task."
)


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
    """Numbers k of adaptation episodes, or of demonstrations, ascending."""
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
    acted_as: tuple[tuple[str, ...], ...] | None = None
    """Name `[k][task]` of what the adapted agent played the task as, such as a training class; None if it has none."""
    env_steps: int = 0
    """Environment steps played, adaptation episodes and what filled up the last batch of tasks included."""
    learning_steps: int = 0
    """Environment steps that a control learned each task for, beside what it was shown; 0 if it did not."""
    adapts_on: AdaptsOn = AdaptsOn.EPISODES
    """What k counts."""
    told_in_training: str = ""
    """What training was told and the agent is not, such as the actions of experts, in sentences; empty if nothing."""
    actions: ActionChoice = "likeliest"
    """Choice of the actions in evaluation episodes; controls that are no policy act in their own way."""

    @property
    def episodes(self) -> int:
        """Number of evaluation episodes per task and k."""
        return int(self.returns.shape[-1])

    @property
    def notes(self) -> list[str]:
        """Sentences that belong beside its numbers: on sampled actions, and on what training was told."""
        sampled = ["Actions sampled, as in training."] if self.actions == "sampled" else []
        return sampled + ([self.told_in_training] if self.told_in_training else [])

    @property
    def per_name(self) -> dict[str, list[Summary]]:
        """Summaries by task name, one for each k; names in order of first appearance."""
        return self.outcomes.per_name

    @property
    def overall(self) -> list[Summary]:
        """Summaries over all task names, one for each k; each name weighs the same."""
        return self.outcomes.overall

    @property
    def iqm(self) -> list[Interval]:
        """Interquartile mean of the return over all tasks, for each k."""
        return self.outcomes.iqm

    def solved_as(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Counts what the tasks of each name were played as after the largest k, and how many of them were solved.

        A task counts as solved if it was in most of its episodes.

        Returns:
            By task name and what it was played as: number of tasks, and of those solved; the most frequent first.
        """
        counts: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in self.task_names}
        played_as = () if self.acted_as is None else self.acted_as[-1]
        for name, label, success in zip(self.task_names, played_as, self.success[-1], strict=False):
            tasks, solved = counts[name].get(label, (0, 0))
            counts[name][label] = tasks + 1, solved + int(success.mean() > 0.5)
        return {name: dict(sorted(found.items(), key=lambda item: -item[1][0])) for name, found in counts.items()}

    @cached_property
    def outcomes(self) -> Outcomes:
        """Outcome on each task, the mean over its episodes."""
        return outcomes_of([self])

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON types: protocol, summaries with intervals, and each episode's outcome per task."""
        return {
            "protocol": {
                "description": _ADAPTATION[self.adapts_on] + _DESCRIPTION,
                "adaptation_episodes": list(self.adaptation_episodes),
                "adapts_on": self.adapts_on.value,
                "adaptation_steps": self.adaptation_steps,
                "episodes_per_task": self.episodes,
                "horizon": self.horizon,
                "seed": self.seed,
                "actions": self.actions,
                "divergences": self.divergences,
                "env_steps": self.env_steps,
                "learning_steps": self.learning_steps,
                "interval_level": LEVEL,
                "interval_resamples": RESAMPLES,
                "iqm_resamples": IQM_RESAMPLES,
            },
            "distribution": self.distribution,
            "held_out": self.held_out,
            "told_in_training": self.told_in_training,
            "overall": [summary.to_dict() for summary in self.overall],
            "iqm": [interval.to_dict() for interval in self.iqm],
            "per_name": {name: [summary.to_dict() for summary in rows] for name, rows in self.per_name.items()},
            "tasks": [
                {
                    "name": name,
                    "id": identifier,
                    "success": self.success[:, task].tolist(),
                    "success_last": self.success_last[:, task].tolist(),
                    "return": self.returns[:, task].tolist(),
                }
                | ({} if self.acted_as is None else {"acted_as": [names[task] for names in self.acted_as]})
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
        acted_as = [task.acted_as for task in tasks if task.acted_as is not None]
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
            actions=protocol.actions,
            divergences=protocol.divergences,
            acted_as=tuple(zip(*acted_as, strict=True)) if acted_as else None,
            env_steps=protocol.env_steps,
            learning_steps=protocol.learning_steps,
            adapts_on=protocol.adapts_on,
            told_in_training=fields.told_in_training,
        )


def outcomes_of(evaluations: Sequence[Evaluation]) -> Outcomes:
    """Takes the means over episodes of evaluations on the same tasks, one for each training seed.

    Args:
        evaluations: Evaluations by the same protocol.
    """
    first = evaluations[0]

    def means(name: str) -> Float[np.ndarray, "seed task k"]:
        # x[seed, task, k] = 1/E sum_e y[k, task, e] of E episodes
        return np.stack([getattr(each, name).mean(axis=-1).T for each in evaluations])

    success, success_last, returns = (means(name) for name in ("success", "success_last", "returns"))
    return Outcomes(
        first.task_names, first.adaptation_episodes, first.episodes, first.seed, success, success_last, returns
    )
