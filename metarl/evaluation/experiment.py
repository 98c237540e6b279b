"""Several training runs that differ in their seeds, evaluated by the same protocol on the same tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from metarl.evaluation import aggregates
from metarl.evaluation.result import Evaluation, outcomes_of
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import Origin, StoredEvaluation
from metarl.evaluation.summary import Outcomes, Summary
from metarl.loading import comparable_settings
from metarl_envs.errors import UserError


@dataclass(frozen=True, eq=False)
class Experiment:
    """Evaluations of several runs, with intervals over seeds and tasks; made by `of`.

    With a single run its intervals are those of the evaluation, over tasks.
    """

    evaluations: tuple[Evaluation, ...]
    """Evaluation of each run, by training seed."""
    origins: tuple[Origin, ...]
    """Origin of each evaluation."""

    @classmethod
    def of(cls, stored: Sequence[StoredEvaluation]) -> Experiment:
        """Puts the evaluations of several runs together.

        Raises:
            UserError: If there is none, they differ in tasks, protocol or settings of training, or two have the same
                training seed.
        """
        if not stored:
            raise UserError("an experiment needs at least one evaluation")
        first, *others = sorted(stored, key=lambda each: each.origin.training_seed)
        origins = [each.origin for each in (first, *others)]
        check_one_experiment([(each.run, each.config | {"seed": each.training_seed}) for each in origins])
        for before, other in pairwise((first, *others)):
            difference = _difference(before, other)
            if difference is not None:
                raise UserError(f"cannot put {before.origin.run} and {other.origin.run} together: {difference}")
        return cls(tuple(each.evaluation for each in (first, *others)), tuple(origins))

    @property
    def stored(self) -> list[StoredEvaluation]:
        """Evaluations with their origins, by training seed."""
        return list(map(StoredEvaluation, self.evaluations, self.origins))

    @property
    def task_names(self) -> tuple[str, ...]:
        """Name of each task."""
        return self.evaluations[0].task_names

    @property
    def per_name(self) -> dict[str, list[Summary]]:
        """Summaries by task name, one for each k."""
        return self.outcomes.per_name

    @property
    def overall(self) -> list[Summary]:
        """Summaries over all task names, one for each k; each name weighs the same."""
        return self.outcomes.overall

    @property
    def iqm(self) -> list[Interval]:
        """Interquartile mean of the return over all pairs of run and task, for each k."""
        return self.outcomes.iqm

    @cached_property
    def outcomes(self) -> Outcomes:
        """Outcome of each run on each task, the mean over its episodes."""
        return outcomes_of(self.evaluations)

    def profile(self, k: int, thresholds: Sequence[float]) -> list[Interval]:
        """Computes the performance profile: the share of pairs of run and task whose return exceeds each threshold.

        Args:
            k: Number of adaptation episodes.
            thresholds: Thresholds of the return.

        Raises:
            UserError: If `k` was not played.
        """
        return aggregates.performance_profile(self._returns(k), self.task_names, thresholds)

    def probability_of_improvement(self, other: Experiment, k: int) -> Interval:
        """Estimates the probability that a run of this experiment has a higher return on a task than one of another.

        Args:
            other: Experiment on the same tasks by the same protocol, of another algorithm for example.
            k: Number of adaptation episodes.

        Raises:
            UserError: If tasks or protocol are others, or `k` was not played.
        """
        mine, theirs = (StoredEvaluation(each.evaluations[0], each.origins[0]) for each in (self, other))
        difference = _difference(mine, theirs)
        if difference is not None:
            raise UserError(f"{mine.origin.run} and {theirs.origin.run} cannot be compared: {difference}")
        return aggregates.probability_of_improvement(self._returns(k), other._returns(k), self.task_names)

    def _returns(self, k: int) -> Float[np.ndarray, "seed task"]:
        ks = self.outcomes.adaptation_episodes
        if k not in ks:
            raise UserError(f"k = {k} was not played, only {', '.join(map(str, ks))}")
        return self.outcomes.returns[..., ks.index(k)]


def check_one_experiment(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Checks that runs have the same settings of tasks and algorithm, and different seeds.

    Args:
        runs: Name and configuration of each run, as JSON types.

    Raises:
        UserError: If two of them do not.
    """
    for (one, config), (other, other_config) in combinations(runs, 2):
        mine, theirs = comparable_settings(config), comparable_settings(other_config)
        difference = _first_difference(mine | {"seed": None}, theirs | {"seed": None})
        if difference is None and mine.get("seed") == theirs.get("seed"):
            difference = f"both were trained with seed {mine.get('seed')}"
        if difference is not None:
            raise UserError(f"cannot put {one} and {other} together: {difference}")


def _difference(one: StoredEvaluation, other: StoredEvaluation) -> str | None:
    """Returns the first difference in tasks or protocol; None if there is none."""
    mine, theirs = (
        {
            "distribution": evaluation.distribution,
            "control": origin.control,
            "split": origin.split,
            "adaptation_episodes": list(evaluation.adaptation_episodes),
            "episodes": evaluation.episodes,
            "actions": evaluation.actions,
            "horizon": evaluation.horizon,
            "task_fingerprint": origin.task_fingerprint,
            "task_ids": evaluation.task_ids,
        }
        for evaluation, origin in (one, other)
    )
    return _first_difference(mine, theirs)


def _first_difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    for name in dict.fromkeys([*mine, *theirs]):
        values = mine.get(name), theirs.get(name)
        if values[0] != values[1]:
            return f"{name} differs" if name == "task_ids" else f"{name} is {values[0]} and {values[1]}"
    return None
