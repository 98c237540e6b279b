"""A humanoid that walks in a direction (Rakelly et al. 2019)."""

from __future__ import annotations

import numpy as np
from array_api_compat import device
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.locomotion.family import (
    ROBOT,
    SUCCESS_SPEED,
    Arrays,
    Family,
    Motion,
    arrows,
    describe_direction,
    direction,
    speed_along,
    sum_of_squares,
)
from metarl_envs.scenes import Mark, View

_BODIES = ("cinert", "cvel")
_FREE_JOINT = 6
"""Degrees of freedom of the root, which no actuator moves."""


class HumanoidDir(Family):
    """Walks in any direction; the parameter is its angle to the x-axis, uniform in 0 to 2 pi.

    Follows the code of ProMP (Rothfuss et al. 2019) and PEARL. The reward is 1.25 times the velocity of the centre of
    mass in the direction - 0.1 |action|² - min(5e-7 |forces|², 10) + 5. The episode terminates when the root's height
    leaves 1 to 2 m. Observations are those of Humanoid-v5 with its contact forces, which were zero in MuJoCo 2.0, the
    version that PEARL's code asks for.
    """

    name = "HumanoidDir"
    horizon = 200
    arrays = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos")
    contact_forces = True
    view = View((0.0, 0.0, 1.0), distance=6.0, azimuth=90.0, elevation=-20.0, body=ROBOT)

    def __init__(self) -> None:
        super().__init__()
        self._mass_shares = self.model.body_mass / self.model.body_mass.sum()

    def _make_robot(self) -> HumanoidEnv:
        return HumanoidEnv()

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws angles."""
        return rng.uniform(0.0, 2 * np.pi, (count, 1))

    def observe(self, simulation: Arrays) -> Array:
        """Observes, as Humanoid-v5, joints, inertias and velocities of bodies, actuators and contact forces."""
        xp = namespace(simulation["qpos"])
        envs = simulation["qpos"].shape[0]
        bodies = [xp.reshape(simulation[name][:, 1:], (envs, -1)) for name in (*_BODIES, "cfrc_ext")]
        joints = simulation["qpos"][:, 2:], simulation["qvel"]
        actuators = simulation["qfrc_actuator"][:, _FREE_JOINT:]
        return xp.concat([*joints, *bodies[:2], actuators, bodies[2]], axis=1)

    def position(self, simulation: Arrays) -> Array:
        """Centre of mass `(env, 2)`, in metres."""
        places = simulation["xipos"][:, :, :2]
        xp = namespace(places)
        shares = xp.asarray(self._mass_shares, device=device(places))
        return xp.sum(shares[None, :, None] * places, axis=1)

    def reward(self, motion: Motion) -> Array:
        """Rewards velocity in the task's direction and being alive, less the costs of control and contact."""
        xp = namespace(motion.velocity)
        impact = xp.clip(5e-7 * sum_of_squares(motion.simulation["cfrc_ext"]), None, 10.0)
        speed = speed_along(motion.tasks[:, 0], motion.velocity)
        # 1.25 v·d - 0.1 |action|² - min(5e-7 |forces|², 10) + 5
        return 1.25 * speed - 0.1 * sum_of_squares(motion.actions) - impact + 5.0

    def terminated(self, simulation: Arrays) -> Array:
        """Returns true where the humanoid has fallen or jumped too high."""
        height = simulation["qpos"][:, 2]
        return ~((height >= 1.0) & (height <= 2.0))

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the average speed in the task's direction is high enough."""
        return speed_along(tasks[:, 0], velocity) >= SUCCESS_SPEED

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the direction, and the velocity."""
        return arrows(place, direction(parameters[0]), velocity)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the direction, and the speed in it."""
        return describe_direction(parameters[0], velocity)
