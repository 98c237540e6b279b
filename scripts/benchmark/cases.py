"""Trainings to measure, and what their meta-iterations are to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from benchmark.iterations import Iterations
from benchmark.peers import Peer
from benchmark.targets import Target

if TYPE_CHECKING:  # so that the command does not wait for PyTorch
    from metarl.config import RunConfig

Device = Literal["cpu", "cuda"]

PRESETS = Path(__file__).parents[2] / "configs"

_MAX_EXPONENT = 1.1
"""What passes for linear growth: one, and a tenth for noise."""


class Quantity(NamedTuple):
    """Something measured of a training."""

    name: str
    unit: str
    of: Callable[[Iterations], float | None]
    of_peer: Callable[[Peer], float] = lambda peer: peer.total[0]
    """A peer's best figure."""
    at_most: bool = True


TIME = Quantity("time", " s", lambda found: median(found.total))
UPDATE = Quantity("update", " s", lambda found: median(found.update), lambda peer: peer.update[0])
MEMORY = Quantity(
    "memory", " GB", lambda found: None if found.memory is None else found.memory / 1e9, lambda peer: peer.memory
)
SAMPLING_SPEED = Quantity("k steps/s sampled", "", lambda found: found.sampling_speed / 1000, at_most=False)
TIME_OF_ML10 = Quantity("20 M steps", " min", lambda found: 20e6 / found.speed / 60)


@dataclass(frozen=True)
class Bound:
    """What a quantity is to come to on one kind of device."""

    quantity: Quantity
    limit: float
    """In the quantity's unit, or as a share of the peer's best figure."""
    of_peer: bool = False
    """Whether it is a share."""
    device: Device = "cpu"
    """Where it holds."""


@dataclass(frozen=True)
class Case:
    """One training: a preset, with as few changes as it takes."""

    name: str
    """What tables call it."""
    preset: str
    """The file's name in configs/."""
    overrides: tuple[str, ...] = ()
    """As on the command line of `metarl train`."""
    peers: tuple[Peer, ...] = ()
    """Who did the same work; bounds are held against the first."""
    bounds: tuple[Bound, ...] = ()
    """What is to be reached."""
    devices: tuple[Device, ...] = ("cpu", "cuda")
    """Where it is worth measuring."""

    def config(self, device: Device) -> RunConfig:
        """The configuration to measure.

        Raises:
            UserError: If there is no such preset (an installation without the repository has none) or field.
        """
        from metarl.config import load_config

        return load_config(PRESETS / f"{self.preset}.yaml", [*self.overrides, f"--device={device}"])

    def targets(self, found: Iterations, device: Device) -> list[Target]:
        """What was measured against the bounds for a device."""
        targets = []
        for quantity, limit, of_peer in ((b.quantity, b.limit, b.of_peer) for b in self.bounds if b.device == device):
            value = quantity.of(found)
            if value is None:
                continue
            what, unit = f"{self.name}: {quantity.name}", quantity.unit
            if of_peer:
                value, what, unit = value / quantity.of_peer(self.peers[0]), f"{what} / peer", ""
            targets.append(Target(what, value, limit, at_most=quantity.at_most, unit=unit))
        return targets

    def to_dict(self, found: Iterations) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "name": self.name,
            "preset": self.preset,
            "overrides": self.overrides,
            "peers": [peer.__dict__ for peer in self.peers],
            **found.to_dict(),
        }


@dataclass(frozen=True)
class Curve:
    """The same training at several sizes of one thing."""

    axis: str
    """What is varied."""
    points: tuple[tuple[int, Case], ...]
    """Sizes, in ascending order, and the trainings of these sizes."""

    @property
    def sizes(self) -> list[int]:
        """Of the points."""
        return [size for size, _ in self.points]

    def exponent(self, found: Sequence[Iterations], quantity: Quantity) -> float | None:
        """The power of size that fits the measurements best, in logarithms; None if there are none."""
        values = [value for each in found if (value := quantity.of(each)) is not None]
        return float(np.polyfit(np.log(self.sizes), np.log(values), 1)[0]) if len(values) == len(found) else None

    def targets(self, found: Sequence[Iterations]) -> list[Target]:
        """Neither time nor memory is to grow faster than linearly."""
        exponents = {quantity.name: self.exponent(found, quantity) for quantity in (UPDATE, MEMORY)}
        return [
            Target(f"growth with {self.axis}: {name}, power", exponent, _MAX_EXPONENT, at_most=True)
            for name, exponent in exponents.items()
            if exponent is not None
        ]

    def to_dict(self, found: Sequence[Iterations]) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "axis": self.axis,
            "exponents": {quantity.name: self.exponent(found, quantity) for quantity in (UPDATE, MEMORY)},
            "points": [
                {"size": size, **case.to_dict(each)} for (size, case), each in zip(self.points, found, strict=True)
            ],
        }


class Suite(NamedTuple):
    """What is measured together."""

    cases: tuple[Case, ...]
    curves: tuple[Curve, ...]


def make_curves(preset: str, overrides: Sequence[str], sizes: dict[str, Sequence[int]], base: int) -> tuple[Curve, ...]:
    """Curves of MAML over tasks, episodes and steps.

    Args:
        preset: The preset that is varied.
        overrides: What all points change in it.
        sizes: Of each axis.
        base: Which of an axis' sizes it has while another is varied.
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
