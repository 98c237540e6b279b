"""Search space of a preset: checked against its configuration before anything is played, sampled, and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metarl.config import RunConfig, assign_fields
from metarl.tuning.dimensions import Dimensions, Label, Options, Range, Values, combinations, count, label_of, walk
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_FIXED = ("tasks", "evaluation", "seed", "checkpoint")
"""Sections that no search may vary: trials are compared on the same tasks by the same evaluation."""
_MOST_BRANCHES = 256
_MOST_POINTS = 100_000


class Space:
    """Settings that a search may try for a preset.

    Args:
        preset: Configuration that they change.
        dimensions: What varies, from `read_dimensions`.
        where: Name of the file, in messages.
        distribution: Tasks that trials train on, for which every choice of options must build an algorithm.

    Raises:
        UserError: If a field is unknown or may not be varied, or a value is not valid for it.
    """

    def __init__(self, preset: RunConfig, dimensions: Dimensions, where: str, distribution: TaskDistribution) -> None:
        self._preset, self._dimensions, self._where = preset, dimensions, where
        self._whole: dict[str, bool] = {}
        """For each range by key: true if its numbers are whole."""
        branches = count(dimensions, _nothing)
        if branches > _MOST_BRANCHES:
            raise UserError(
                f"{where}: {branches} combinations of options; at most {_MOST_BRANCHES} are searched at once"
            )
        for branch in combinations(dimensions, _nothing):
            self._check_branch(branch, distribution)

    def suggest(self, trial: BaseTrial) -> RunConfig:
        """Lets a trial's sampler choose, and returns the configuration of what it chose.

        Raises:
            UserError: If that is not valid, as some settings exclude each other.
        """

        def choose(key: str, options: Values | Options) -> Label:
            return str(trial.suggest_categorical(key, _labels(options)))

        def take(key: str, dimension: Range | Values) -> Any:
            if isinstance(dimension, Values):
                return dimension.of(choose(key, dimension))
            if self._whole[key]:
                return trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
            return trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)

        fields = walk(self._dimensions, choose)
        return self._configure({name: each if key is None else take(key, each) for key, name, each in fields})

    def config_of(self, labels: Mapping[str, Label]) -> RunConfig:
        """Returns the configuration of what a trial chose, by key."""

        def take(key: str, dimension: Range | Values) -> Any:
            return dimension.of(labels[key]) if isinstance(dimension, Values) else labels[key]

        fields = walk(self._dimensions, lambda key, options: labels[key])
        return self._configure({name: each if key is None else take(key, each) for key, name, each in fields})

    def grid(self) -> list[dict[str, Label]]:
        """Returns all combinations of labels by key.

        Raises:
            UserError: If a range has no number of steps, or there are too many combinations.
        """

        def points(key: str, dimension: Range | Values) -> Sequence[Label]:
            if isinstance(dimension, Values):
                return _labels(dimension)
            if dimension.steps is None:
                raise UserError(f"{self._where}: {key}: a grid needs the number of steps of a range, as in steps: 5")
            return dimension.points(self._whole[key])

        total = count(self._dimensions, points)
        if total > _MOST_POINTS:
            raise UserError(f"{self._where}: a grid of {total} settings, more than {_MOST_POINTS}: search at random")
        return list(combinations(self._dimensions, points))

    def _configure(self, values: Mapping[str, Any], where: str | None = None) -> RunConfig:
        return assign_fields(self._preset, values, where or self._where)

    def _check_branch(self, branch: Mapping[str, Label], distribution: TaskDistribution) -> None:
        """Checks one combination of options: what it sets, and each of its ranges and values by itself."""
        where = self._where + "".join(f", {key} = {label}" for key, label in branch.items())
        fields = list(walk(self._dimensions, lambda key, options: branch[key]))
        _check_names([name for _, name, _ in fields], where)
        fixed = {name: value for key, name, value in fields if key is None}
        base = self._configure(fixed, where)
        try:
            algorithm = base.algorithm.build(distribution, torch.device("cpu"))
            distribution.sample(algorithm.meta_batch, np.random.default_rng())  # raises if that is too large
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        for key, name, dimension in fields:
            if isinstance(dimension, Values) and key is not None:
                for value in dimension.values:
                    assign_fields(base, {name: value}, where)
            elif isinstance(dimension, Range) and key is not None:
                ends = [assign_fields(base, {name: value}, where) for value in (dimension.low, dimension.high)]
                # a field of floats holds a whole number as a float
                self._whole[key] = isinstance(reduce(getattr, name.split("."), ends[0]), int)


def _check_names(names: Sequence[str], where: str) -> None:
    """Checks that each field may be varied, and is set once."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UserError(f"{where}: {name}: set twice; give it once for each choice of options")
        if name.split(".")[0] in _FIXED:
            raise UserError(
                f"{where}: {name}: a search cannot vary {', '.join(_FIXED[:-1])} or {_FIXED[-1]}: its trials are"
                " compared by one evaluation on training tasks put aside; vary the algorithm"
            )


def _labels(dimension: Values | Options) -> list[str]:
    return [label_of(value) for value in (dimension.values if isinstance(dimension, Values) else dimension.options)]


def _nothing(key: str, dimension: Range | Values) -> Sequence[Label]:
    return ()
