"""Several training runs that differ in their seeds, evaluated by the same protocol on the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from metarl.evaluation.result import Evaluation, Summary
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import StoredEvaluation
from metarl_envs.errors import UserError


@dataclass(frozen=True, eq=False)
class Experiment:
    """Evaluations of several runs, with intervals over seeds and tasks; made by `of`."""

    stored: tuple[StoredEvaluation, ...]
    """Evaluation of each run, by training seed."""

    @classmethod
    def of(cls, stored: Sequence[StoredEvaluation]) -> Experiment:
        """Puts the evaluations of several runs together.

        Raises:
            UserError: If there is none, or they cannot be compared.
        """
        if not stored:
            raise UserError("an experiment needs at least one evaluation")
        return cls(tuple(sorted(stored, key=lambda each: each.origin.training_seed)))

    @property
    def per_name(self) -> dict[str, list[Summary]]:
        """Summaries by task name, one for each k."""
        return self._together.per_name

    @property
    def overall(self) -> list[Summary]:
        """Summaries over all task names, one for each k; each name weighs the same."""
        return self._together.overall

    @property
    def iqm(self) -> list[Interval]:
        """Interquartile mean of the return, for each k."""
        return [summary.returns for summary in self.overall]

    def profile(self, k: int, thresholds: Sequence[float]) -> list[Interval]:
        """Computes the performance profile: the share of runs and tasks whose return exceeds each threshold."""
        raise NotImplementedError

    def probability_of_improvement(self, other: Experiment, k: int) -> Interval:
        """Estimates the probability that a run of this experiment has a higher return on a task than one of another."""
        raise NotImplementedError

    @cached_property
    def _together(self) -> Evaluation:
        evaluations = [each.evaluation for each in self.stored]
        return replace(
            evaluations[0],
            success=np.concatenate([each.success for each in evaluations], axis=-1),
            success_last=np.concatenate([each.success_last for each in evaluations], axis=-1),
            returns=np.concatenate([each.returns for each in evaluations], axis=-1),
        )
