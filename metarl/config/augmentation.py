"""Settings of augmentation: what goes wrong in training episodes, so that policies learn to do without."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from metarl.strict import NonNegative, StrictModel
from metarl_envs.perturbed import (
    ActionDelay,
    ActionNoise,
    DampingChange,
    FrictionChange,
    MassChange,
    Perturbation,
    SensorNoise,
)

Range = tuple[Annotated[float, Field(ge=-0.99, le=99)], Annotated[float, Field(ge=-0.99, le=99)]]
"""Smallest and largest relative change of a quantity."""


class AugmentationConfig(StrictModel):
    """Augmentation of training episodes: strengths are drawn for each task in each iteration; evaluation has none."""

    sensor_noise: NonNegative = 0.0
    """Largest noise on observations, in standard deviations of each under random actions; uniform from 0."""
    action_noise: NonNegative = 0.0
    """Largest noise on actions, in half widths of the action space; uniform from 0."""
    action_delay: Annotated[int, Field(ge=0, le=1000)] = 0
    """Largest delay of actions in steps; uniform from 0."""
    mass: Range = (0.0, 0.0)
    """Relative change of all masses, as in [-0.5, 1.0] for half to double; the factor's logarithm is uniform."""
    friction: Range = (0.0, 0.0)
    """Relative change of contact friction, likewise."""
    damping: Range = (0.0, 0.0)
    """Relative change of the joints' damping, likewise."""

    @field_validator("mass", "friction", "damping")
    @classmethod
    def _check_order(cls, changes: Range) -> Range:
        if changes[0] > changes[1]:
            raise ValueError(f"the smallest change comes first: got {list(changes)}")
        return changes

    @property
    def active(self) -> bool:
        """True if anything is augmented."""
        return self != AugmentationConfig()

    def draw(self, rng: np.random.Generator) -> list[Perturbation]:
        """Draws the perturbations of one task; none depends on the settings of another."""
        u = rng.random(6)
        delay = float(np.floor(u[2] * (self.action_delay + 1)))
        drawn: list[Perturbation] = [
            SensorNoise(u[0].item() * self.sensor_noise),
            ActionNoise(u[1].item() * self.action_noise),
            ActionDelay(delay),
            MassChange(_change(u[3].item(), self.mass)),
            FrictionChange(_change(u[4].item(), self.friction)),
            DampingChange(_change(u[5].item(), self.damping)),
        ]
        return [each for each in drawn if each.strength != 0]


def _change(u: float, changes: Range) -> float:
    """Relative change at the quantile u of a log-uniform factor."""
    low, high = (1 + change for change in changes)
    # f = f_low^(1 - u) f_high^u
    return float(low ** (1 - u) * high**u - 1)
