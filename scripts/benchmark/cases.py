"""Trainings to measure, and the time and memory that their meta-iterations may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

import metarl
from benchmark.iterations import Iterations
from benchmark.references import Reference
from benchmark.targets import Target

if TYPE_CHECKING:  # so that the command does not wait for PyTorch
    from metarl.config import RunConfig

Device = Literal["cpu", "cuda"]

PRESETS = Path(metarl.__file__).parent / "presets"

_MAX_EXPONENT = 1.1
"""Largest power of size that passes for linear growth: one, and a tenth for noise."""


class Quantity(NamedTuple):
    """Quantity that is measured of a training."""

    name: str
    unit: str
    of: Callable[[Iterations], float | None]
    of_reference: Callable[[Reference], float] = lambda reference: reference.total[0]
    """Best figure of a reference."""
    at_most: bool = True


TIME = Quantity("time", " s", lambda found: median(found.total))
UPDATE = Quantity("update", " s", lambda found: median(found.update), lambda reference: reference.update[0])
MEMORY = Quantity(
    "memory",
    " GB",
    lambda found: None if found.memory is None else found.memory / 1e9,
    lambda reference: reference.memory,
)
SAMPLING_SPEED = Quantity("k steps/s sampled", "", lambda found: found.sampling_speed / 1000, at_most=False)
TIME_OF_ML10 = Quantity("20 M steps", " min", lambda found: 20e6 / found.speed / 60)


@dataclass(frozen=True)
class Bound:
    """Bound on a quantity on one kind of device."""

    quantity: Quantity
    limit: float
    """Bound in the quantity's unit or, if `relative`, as a share of the reference's best figure."""
    relative: bool = False
    """True if the limit is a share of the reference's best figure."""
    device: Device = "cpu"
    """Device on which the bound holds."""


@dataclass(frozen=True)
class Case:
    """Training to measure: a preset with overrides."""

    name: str
    """Name in tables."""
    preset: str
    """Name of the preset."""
    overrides: tuple[str, ...] = ()
    """Overrides as on the command line of `metarl train`."""
    references: tuple[Reference, ...] = ()
    """Timings of the same work elsewhere; relative bounds refer to the first."""
    bounds: tuple[Bound, ...] = ()
    """Bounds on the measured quantities."""
    devices: tuple[Device, ...] = ("cpu", "cuda")
    """Devices on which the training is measured."""

    def config(self, device: Device) -> RunConfig:
        """Returns the configuration to measure.

        Raises:
            UserError: If there is no such preset or field.
        """
        from metarl.config import load_config

        return load_config(PRESETS / f"{self.preset}.yaml", [*self.overrides, f"--device={device}"])

    def targets(self, found: Iterations, device: Device) -> list[Target]:
        """Compares measurements with the bounds for a device."""
        targets = []
        for quantity, limit, relative in ((b.quantity, b.limit, b.relative) for b in self.bounds if b.device == device):
            value = quantity.of(found)
            if value is None:
                continue
            what, unit = f"{self.name}: {quantity.name}", quantity.unit
            if relative:
                value, what, unit = value / quantity.of_reference(self.references[0]), f"{what} / ref.", ""
            targets.append(Target(what, value, limit, at_most=quantity.at_most, unit=unit))
        return targets

    def to_dict(self, found: Iterations) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "name": self.name,
            "preset": self.preset,
            "overrides": self.overrides,
            "references": [reference.__dict__ for reference in self.references],
            **found.to_dict(),
        }


@dataclass(frozen=True)
class Curve:
    """Growth of a training's cost with one size."""

    axis: str
    """Size that is varied: tasks, episodes or steps."""
    points: tuple[tuple[int, Case], ...]
    """Sizes in ascending order, each with its training."""

    @property
    def sizes(self) -> list[int]:
        """Sizes of the points."""
        return [size for size, _ in self.points]

    def exponent(self, found: Sequence[Iterations], quantity: Quantity) -> float | None:
        """Exponent p of the power law `quantity = c * size**p` that fits best; None if a measurement is missing."""
        # least squares of log(quantity) = p log(size) + log(c)
        values = [value for each in found if (value := quantity.of(each)) is not None]
        return float(np.polyfit(np.log(self.sizes), np.log(values), 1)[0]) if len(values) == len(found) else None

    def targets(self, found: Sequence[Iterations]) -> list[Target]:
        """Compares the growth of time and memory with linear growth."""
        exponents = {quantity.name: self.exponent(found, quantity) for quantity in (UPDATE, MEMORY)}
        return [
            Target(f"growth with {self.axis}: {name}, power", exponent, _MAX_EXPONENT, at_most=True)
            for name, exponent in exponents.items()
            if exponent is not None
        ]

    def to_dict(self, found: Sequence[Iterations]) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "axis": self.axis,
            "exponents": {quantity.name: self.exponent(found, quantity) for quantity in (UPDATE, MEMORY)},
            "points": [
                {"size": size, **case.to_dict(each)} for (size, case), each in zip(self.points, found, strict=True)
            ],
        }


class Suite(NamedTuple):
    """Trainings that are measured together."""

    cases: tuple[Case, ...]
    curves: tuple[Curve, ...]


def make_curves(preset: str, overrides: Sequence[str], sizes: dict[str, Sequence[int]], base: int) -> tuple[Curve, ...]:
    """Makes curves of MAML over tasks, episodes and steps.

    Args:
        preset: Preset that is varied.
        overrides: Overrides that all points share.
        sizes: Sizes of each axis.
        base: Index of the size that an axis has while another is varied.
    """
    fields = {
        "tasks": ("algorithm.meta_batch",),
        "episodes": ("algorithm.episodes", "algorithm.parallel_episodes"),
        "steps": ("tasks.horizon",),
    }

    def case(chosen: dict[str, int]) -> Case:
        changes = [f"--{field}={chosen[axis]}" for axis, names in fields.items() for field in names]
        return Case("MAML, " + " x ".join(map(str, chosen.values())), preset, (*overrides, *changes))

    usual = {axis: sizes[axis][base] for axis in fields}
    return tuple(Curve(axis, tuple((size, case({**usual, axis: size})) for size in sizes[axis])) for axis in fields)
