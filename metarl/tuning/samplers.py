"""Optuna's samplers and pruners by the names of their settings; what a trial draws depends on its number only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from metarl.seeding import Stream, derive_seeds
from metarl.tuning.settings import Pruner, Sampler


def make_sampler(kind: Sampler, seed: int) -> BaseSampler:
    """Makes the sampler of a study.

    Args:
        kind: Name of the sampler. A grid's settings are in the queue from the start, so that none is drawn.
        seed: Seed of the study.
    """
    return SeededByTrial(TPESampler if kind == "tpe" else RandomSampler, seed)


def make_pruner(kind: Pruner) -> BasePruner:
    """Makes the pruner of a study, for trials that report after each of a few evaluations."""
    match kind:
        case "median":
            return MedianPruner(n_startup_trials=4)
        case "asha":
            return SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        case "off":
            return NopPruner()


def trial_seeds(seed: int, number: int) -> tuple[int, int]:
    """Derives the seed of a trial's run and that of its sampler from the study's seed and the trial's number."""
    run, sampler = derive_seeds(seed, Stream.TUNING, number, count=2)
    return run, sampler


class SeededByTrial(BaseSampler):
    """Sampler made anew for each trial, so that what it draws depends neither on who draws nor on interruptions.

    Args:
        make: Makes the sampler with a seed.
        seed: Seed of the study.
    """

    def __init__(self, make: Callable[..., BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._current: tuple[int, BaseSampler] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See `BaseSampler`."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `BaseSampler`."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See `BaseSampler`."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """See `BaseSampler`."""
        self._of(trial).after_trial(study, trial, state, values)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if self._current is None or self._current[0] != trial.number:
            self._current = trial.number, self._make(seed=trial_seeds(self._seed, trial.number)[1])
        return self._current[1]
