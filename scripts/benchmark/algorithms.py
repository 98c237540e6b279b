"""Suites of trainings: time and memory of a meta-iteration, measured one training after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark import references
from benchmark.cases import (
    MEMORY,
    SAMPLING_SPEED,
    TIME,
    TIME_OF_ML10,
    UPDATE,
    Bound,
    Case,
    Curve,
    Device,
    Suite,
    make_curves,
)
from benchmark.iterations import Iterations, measure_iterations
from benchmark.targets import Target
from metarl.errors import RunFailure

_EXACT = ("--algorithm.outer.fisher_subsample=1",)
_HALF = (Bound(TIME, 0.5, relative=True), Bound(MEMORY, 0.25, relative=True))
_QUARTER = (Bound(TIME, 0.25, relative=True), Bound(MEMORY, 0.25, relative=True))
_SECOND_ON_GPU = (Bound(UPDATE, 1.0, device="cuda"),)
_RL2 = (Bound(TIME, 0.5, relative=True), Bound(MEMORY, 0.5, relative=True))
_SIZES_OF_REFERENCE = (
    "--algorithm.encoder.hidden_sizes",
    *("256", "256"),
    "--algorithm.episodes=10",
    "--algorithm.chunk=250",
    "--algorithm.outer.minibatches=1",
)
_AS_REFERENCE = (*_SIZES_OF_REFERENCE, "--algorithm.outer.epochs=10")
"""RL² with the reference's settings: two layers before the GRU, trials of 10 episodes, back-propagation through 250
steps, and 10 epochs of one gradient step."""


def _sampling(name: str, *overrides: str, device: Device = "cpu") -> Case:
    """Measures the speed of sampling on ML10; the update is as short as possible."""
    bound = Bound(SAMPLING_SPEED, {"cpu": 15.0, "cuda": 60.0}[device], device=device)
    settings = (*_SIZES_OF_REFERENCE, "--algorithm.outer.epochs=1", *overrides)
    return Case(name, "ml10-rl2", settings, (), (bound,), (device,))


_CASES = (
    Case("MAML ML1 reach, exact", "ml1-reach-maml", _EXACT, (references.MAML_ML1,), _HALF),
    Case("MAML ML1 reach, shipped", "ml1-reach-maml", (), (references.MAML_ML1,), _QUARTER),
    Case("MAML ML10, exact", "ml10-maml", _EXACT, (references.MAML_ML10,), _HALF + _SECOND_ON_GPU),
    Case("MAML ML10, shipped", "ml10-maml", (), (references.MAML_ML10,), _QUARTER + _SECOND_ON_GPU),
    Case(
        "MAML navigation",
        "navigation-maml",
        ("--algorithm.hidden_sizes", "64", "64", "--algorithm.activation=tanh"),
        references.NAVIGATION,
        (Bound(TIME, 1.0),),
    ),
    Case("RL² ML1 reach", "ml1-reach-rl2", (*_AS_REFERENCE, "--algorithm.meta_batch=10"), (references.RL2_ML1,), _RL2),
    Case("RL² ML10", "ml10-rl2", _AS_REFERENCE, (references.RL2_ML10,), _RL2),
    _sampling("RL² 40 tasks", "--algorithm.meta_batch=40"),
    _sampling("RL² 200 tasks, sampling", "--algorithm.meta_batch=200"),
    Case(
        "RL² 200 tasks",
        "ml10-rl2",
        (*_AS_REFERENCE, "--algorithm.meta_batch=200"),
        (),
        (
            Bound(SAMPLING_SPEED, 60.0, device="cuda"),
            Bound(UPDATE, 30.0, device="cuda"),
            Bound(TIME_OF_ML10, 20.0, device="cuda"),
        ),
        devices=("cuda",),
    ),
    _sampling("RL² 200, buffered", "--algorithm.meta_batch=200", "--double_buffered=true", device="cuda"),
)

ALGORITHM_SUITES = {
    "algorithms": Suite(
        _CASES,
        make_curves(
            "ml1-reach-maml", _EXACT, {"tasks": (5, 10, 20), "episodes": (2, 5, 10), "steps": (125, 250, 500)}, base=1
        ),
    ),
    "algorithms-quick": Suite(
        (_CASES[4], Case("RL² navigation", "navigation-rl2")),
        make_curves("navigation-maml", (), {"tasks": (5, 20), "episodes": (5, 20), "steps": (25, 100)}, base=0),
    ),
}
"""Suites of algorithms by name."""


@dataclass(frozen=True)
class Measured:
    """Measurements of a suite."""

    device: Device
    """Device on which the algorithms learned."""
    cases: list[tuple[Case, Iterations]]
    """Cases that belong on the device."""
    curves: list[tuple[Curve, list[Iterations]]]
    """Curves, point by point."""

    @property
    def targets(self) -> list[Target]:
        """Targets for the device."""
        of_cases = [target for case, found in self.cases for target in case.targets(found, self.device)]
        return of_cases + [target for curve, found in self.curves for target in curve.targets(found)]

    def to_dict(self) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "device": self.device,
            "references": references.SOURCE,
            "cases": [case.to_dict(found) for case, found in self.cases],
            "curves": [curve.to_dict(found) for curve, found in self.curves],
            "targets": [target.to_dict() for target in self.targets],
        }


def measure_suite(
    suite: Suite, device: Device, count: int, begin: Callable[[str, int], None], advance: Callable[[], None]
) -> Measured:
    """Measures all cases of a device, one training after the other; a case that occurs twice is measured once.

    Args:
        suite: Trainings to measure.
        device: Device on which they learn.
        count: Meta-iterations of each training, beside the first.
        begin: Called before each training, with its name and the number of trainings.
        advance: Called after each training.

    Raises:
        UserError: If a preset is missing or does not fit; nothing has been measured then.
        RunFailure: If a training fails.
    """
    cases = [case for case in suite.cases if device in case.devices]
    points = [case for curve in suite.curves for _, case in curve.points]
    configs = {case: case.config(device) for case in (*cases, *points)}
    found: dict[Case, Iterations] = {}
    for case, config in configs.items():
        begin(case.name, len(configs))
        try:
            found[case] = measure_iterations(config, count)
        except RunFailure as error:
            raise RunFailure(f"{case.name}: {error}") from None
        advance()
    return Measured(
        device,
        [(case, found[case]) for case in cases],
        [(curve, [found[case] for _, case in curve.points]) for curve in suite.curves],
    )
