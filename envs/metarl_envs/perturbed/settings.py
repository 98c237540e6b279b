"""Settings of the perturbations: immutable, each with one strength, of which 0 changes nothing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym

from metarl_envs.core import FloatArray, TaskVectorEnv
from metarl_envs.dynamics import Dynamics
from metarl_envs.errors import UserError
from metarl_envs.perturbed.effects import ActuatorNoise, Effect, LateActions, LateRewards, LostRewards, Noise

_MOST_STEPS = 1000.0


@dataclass(frozen=True)
class Perturbation(ABC):
    """Perturbation of one strength.

    Args:
        strength: Strength in the unit of the class; 0 changes nothing.

    Raises:
        UserError: If the strength is out of its range.
    """

    strength: float | int

    name: ClassVar[str]
    """Name in commands and results."""
    unit: ClassVar[str]
    """Unit of the strength, in words."""
    strengths: ClassVar[tuple[float, ...]]
    """Strengths to try by default, ascending."""
    least: ClassVar[float] = 0.0
    """Smallest strength."""
    most: ClassVar[float] = math.inf
    """Largest strength."""
    whole: ClassVar[bool] = False
    """True if strengths are whole numbers."""

    def __post_init__(self) -> None:
        check_strength(self.name, self.strength, self.least, self.most, self.whole)

    @classmethod
    def obstacle(cls, env: TaskVectorEnv) -> str | None:
        """Says why environments cannot be perturbed so; None if they can."""
        return None

    @classmethod
    @abstractmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """Makes the effect on a vector of environments.

        Args:
            strengths: Strength in each environment, `(env,)`.
            env: The environments.
            scale: Standard deviation of each element of an observation, `(obs,)`.
        """

    def dynamics(self, dynamics: Dynamics) -> Dynamics:
        """Returns dynamics changed by the perturbation."""
        return dynamics


def check_strength(name: str, strength: float | int, least: float, most: float, whole: bool = False) -> None:
    """Checks the strength of a perturbation.

    Args:
        name: Name of the perturbation.
        strength: Its strength.
        least: Smallest possible one.
        most: Largest possible one; infinity is none.
        whole: True if it must be a whole number.

    Raises:
        UserError: If it is out of its range.
    """
    if math.isfinite(strength) and least <= strength <= most and (not whole or float(strength).is_integer()):
        return
    kind = "a whole number" if whole else "a number"
    bounds = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
    raise UserError(f"strength of {name} must be {kind} {bounds}: got {strength:g}")


class SensorNoise(Perturbation):
    """Normal noise on every element of an observation, in each step anew."""

    name = "sensor-noise"
    unit = "standard deviations of each observation under random actions"
    strengths = (0.0, 0.1, 0.3, 1.0)

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`."""
        return Noise(strengths[:, None] * scale)


class ActionNoise(Perturbation):
    """Normal noise on every element of an action, in each step anew; actions stay within their bounds."""

    name = "action-noise"
    unit = "half widths of the action space"
    strengths = (0.0, 0.3, 1.0)

    @classmethod
    def obstacle(cls, env: TaskVectorEnv) -> str | None:
        """See `Perturbation`."""
        if isinstance(env.single_action_space, gym.spaces.Box):
            return None
        return f"{cls.name} needs continuous actions, but those of these tasks are discrete"

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`."""
        assert isinstance(env.single_action_space, gym.spaces.Box)
        return ActuatorNoise(strengths, env.single_action_space)


class ActionDelay(Perturbation):
    """Actions executed some steps late; until the first is due, the action is zero, or the first discrete one."""

    name = "action-delay"
    unit = "steps"
    strengths = (0.0, 1.0, 3.0)
    most = _MOST_STEPS
    whole = True

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`."""
        return LateActions(strengths, env.single_action_space)


class RewardDrop(Perturbation):
    """Each reward, as the agent is told it, is zero with a probability."""

    name = "reward-drop"
    unit = "share of the rewards"
    strengths = (0.0, 0.5, 1.0)
    most = 1.0

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`."""
        return LostRewards(strengths)


class RewardDelay(Perturbation):
    """Rewards told some steps late; an episode's last step tells all that are outstanding, so sums stay."""

    name = "reward-delay"
    unit = "steps"
    strengths = (0.0, 5.0, 20.0)
    most = _MOST_STEPS
    whole = True

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`."""
        return LateRewards(strengths)


class DynamicsChange(Perturbation):
    """Relative change of a quantity of the simulator: its factor is 1 + strength."""

    unit = "relative change"
    strengths = (-0.5, 0.0, 1.0)
    least, most = -0.99, 99.0

    @classmethod
    def obstacle(cls, env: TaskVectorEnv) -> str | None:
        """See `Perturbation`."""
        if env.has_dynamics:
            return None
        return f"{cls.name} needs Meta-World's native engine or locomotion; these tasks have neither"

    @classmethod
    def effect(cls, strengths: FloatArray, env: TaskVectorEnv, scale: FloatArray) -> Effect:
        """See `Perturbation`; all happens in the simulator."""
        return Effect()


class MassChange(DynamicsChange):
    """Change of all masses and moments of inertia, the robot's and the objects'."""

    name = "mass"

    def dynamics(self, dynamics: Dynamics) -> Dynamics:
        """See `Perturbation`."""
        return Dynamics(dynamics.mass * (1 + self.strength), dynamics.friction, dynamics.damping)


class FrictionChange(DynamicsChange):
    """Change of all coefficients of contact friction."""

    name = "friction"

    def dynamics(self, dynamics: Dynamics) -> Dynamics:
        """See `Perturbation`."""
        return Dynamics(dynamics.mass, dynamics.friction * (1 + self.strength), dynamics.damping)


class DampingChange(DynamicsChange):
    """Change of the damping of all joints."""

    name = "damping"

    def dynamics(self, dynamics: Dynamics) -> Dynamics:
        """See `Perturbation`."""
        return Dynamics(dynamics.mass, dynamics.friction, dynamics.damping * (1 + self.strength))


PERTURBATIONS: dict[str, type[Perturbation]] = {
    kind.name: kind
    for kind in (
        SensorNoise,
        ActionNoise,
        ActionDelay,
        RewardDrop,
        RewardDelay,
        MassChange,
        FrictionChange,
        DampingChange,
    )
}
"""Kinds of perturbations by name, in the order in which they are applied; their random numbers depend on it."""
