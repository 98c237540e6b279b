"""Robots that walk or hop in a plane: at a speed (ProMP), or with random physics (ProMP and PEARL)."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.locomotion.family import SUCCESS_SPEED, Arrays, Family, Motion, arrows, matches_speed, sum_of_squares
from metarl_envs.scenes import Mark
from metarl_envs.simulation import Fields

_CONTROL_COST = 1e-3


class _Planar(Family):
    """Observes joint positions, except x, and speeds clipped to [-10, 10]."""

    horizon = 200

    def observe(self, simulation: Arrays) -> Array:
        xp = namespace(simulation["qpos"])
        return xp.concat([simulation["qpos"][:, 1:], xp.clip(simulation["qvel"], -10.0, 10.0)], axis=1)

    def position(self, simulation: Arrays) -> Array:
        return simulation["qpos"][:, :1]


class _Walker2d(_Planar):
    """Terminates, as Walker2d-v5, when the torso's height leaves 0.8 to 2 m or the torso leans by 1 rad."""

    def _make_robot(self) -> Walker2dEnv:
        return Walker2dEnv()

    def terminated(self, simulation: Arrays) -> Array:
        xp = namespace(simulation["qpos"])
        height, lean = simulation["qpos"][:, 1], simulation["qpos"][:, 2]
        return ~((height > 0.8) & (height < 2.0) & (xp.abs(lean) < 1.0))


class _Hopper(_Planar):
    """Terminates, as Hopper-v5, when the torso is below 0.7 m or leans by 0.2 rad, or a state variable reaches 100."""

    def _make_robot(self) -> HopperEnv:
        return HopperEnv()

    def terminated(self, simulation: Arrays) -> Array:
        xp = namespace(simulation["qpos"])
        height, lean = simulation["qpos"][:, 1], simulation["qpos"][:, 2]
        numbers = xp.concat([simulation["qpos"][:, 2:], simulation["qvel"]], axis=1)
        return ~((height > 0.7) & (xp.abs(lean) < 0.2) & xp.all(xp.abs(numbers) < 100.0, axis=1))


class Walker2dVel(_Walker2d):
    """Walks forwards at a speed; the parameter is the speed, uniform in 0 to 10 m/s.

    Follows the code of ProMP (Rothfuss et al. 2019), except for its frame skip of 8; Walker2d-v5 has 4. The reward is
    -|velocity - speed| - 0.001 |action|² + 15, with a bonus for staying upright.
    """

    name = "Walker2dVel"

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws speeds."""
        return rng.uniform(0.0, 10.0, (count, 1))

    def reward(self, motion: Motion) -> Array:
        """Rewards being alive, less the deviation from the task's speed and the cost of control."""
        xp = namespace(motion.velocity)
        # -|v - speed| - 0.001 |action|² + 15
        missed = xp.abs(motion.velocity[:, 0] - motion.tasks[:, 0])
        return -missed - _CONTROL_COST * sum_of_squares(motion.actions) + 15.0

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the average speed is near the task's."""
        return matches_speed(tasks[:, 0], velocity[:, 0])

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the target speed, and the speed."""
        return arrows(place, parameters, velocity, metres_per_speed=0.2)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the target speed, and the speed."""
        return f"target speed {parameters[0]:.2f} m/s; speed {velocity[0]:.2f} m/s"


_BASES = {"body_mass": 1.5, "body_inertia": 1.5, "dof_damping": 1.3, "geom_friction": 1.5}
_SHORT = {"body_mass": "mass", "body_inertia": "inertia", "dof_damping": "damping", "geom_friction": "friction"}
_LARGEST_EXPONENT = 3.0


class _RandomPhysics(_Planar):
    """Goes forwards with random physics; the parameters are factors for four fields of the model.

    Every mass, moment of inertia, joint damping and coefficient of friction has its own factor: 1.5 (for damping 1.3)
    to a power that is uniform in -3 to 3. The factors are in the order of `changes`, and within a field in MuJoCo's
    order. This follows `rand_param_envs`, the package that ProMP and PEARL share; like that package it keeps the
    constants that MuJoCo derived from the original masses. The reward is the velocity - 0.001 |action|² + 1.
    """

    changes = tuple(_BASES)

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        # factor = base^u, u uniform in [-3, 3]
        exponents = (rng.uniform(-_LARGEST_EXPONENT, _LARGEST_EXPONENT, (count, n)) for n in self._sizes())
        return np.concatenate([base**powers for base, powers in zip(_BASES.values(), exponents, strict=True)], axis=1)

    def accepts(self, parameters: FloatArray) -> bool:
        return super().accepts(parameters) and bool((parameters > 0).all())

    def fields(self, parameters: FloatArray) -> Fields:
        factors = np.split(parameters, np.cumsum(self._sizes())[:-1])
        return {
            field: values * scale.reshape(values.shape)
            for (field, values), scale in zip(self._pristine.items(), factors, strict=True)
        }

    def _sizes(self) -> list[int]:
        return [values.size for values in self._pristine.values()]

    def reward(self, motion: Motion) -> Array:
        return motion.velocity[:, 0] - _CONTROL_COST * sum_of_squares(motion.actions) + 1.0

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        return velocity[:, 0] >= SUCCESS_SPEED

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the mean factor of each field of the model, and the speed."""
        parts = np.split(parameters, np.cumsum(self._sizes())[:-1])
        means = [float(np.exp(np.log(part).mean())) for part in parts]
        factors = ", ".join(f"{_SHORT[name]} x{mean:.2g}" for name, mean in zip(self.changes, means, strict=True))
        return f"{factors}; speed {velocity[0]:.2f} m/s"


class HopperRandParams(_RandomPhysics, _Hopper):
    """Hops forwards with random physics."""

    name = "HopperRandParams"


class Walker2dRandParams(_RandomPhysics, _Walker2d):
    """Walks forwards with random physics."""

    name = "Walker2dRandParams"
