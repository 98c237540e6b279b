"""A four-legged ant that runs in a direction or to a place (Rothfuss et al. 2019, Rakelly et al. 2019)."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv

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

SUCCESS_DISTANCE = 0.5
"""Largest distance from the goal, in metres, at which an episode of `AntGoal` ends in success."""

_CONTACT_COST = 5e-4
_GOAL_RANGE = 3.0
_GOAL_RADIUS = 0.2
_TORSO = 1


class _Ant(Family):
    """Observes, as Ant-v5, joint positions and speeds, and the forces on each body, clipped to [-1, 1].

    In MuJoCo 2.0, which PEARL's code asks for, these forces and their cost were zero.
    """

    horizon = 200
    arrays = ("qpos", "qvel", "xpos", "cfrc_ext")
    contact_forces = True
    normal_speeds = True
    view = View((0.0, 0.0, 0.5), distance=6.0, azimuth=90.0, elevation=-30.0, body=ROBOT)
    _hidden = 2
    """Number of leading joint positions that are not observed."""

    def _make_robot(self) -> AntEnv:
        return AntEnv(exclude_current_positions_from_observation=self._hidden > 0)

    def observe(self, simulation: Arrays) -> Array:
        xp = namespace(simulation["qpos"])
        forces = _forces(simulation)[:, 1:]  # the world feels none
        flat = xp.reshape(forces, (forces.shape[0], -1))
        return xp.concat([simulation["qpos"][:, self._hidden :], simulation["qvel"], flat], axis=1)

    def position(self, simulation: Arrays) -> Array:
        return simulation["xpos"][:, _TORSO, :2]


class AntDir(_Ant):
    """Runs in any direction; the parameter is its angle to the x-axis, uniform in 0 to 2 pi.

    Follows the code of ProMP and PEARL. MAML (Finn et al. 2017) and the settings of PEARL's experiments have two
    directions, and MAML has smaller costs and a smaller bonus. The reward is the torso's velocity in the direction
    - 0.5 |action|² - 0.0005 |forces|² + 1. The episode terminates when the torso's height leaves 0.2 to 1 m, PEARL's
    range.
    """

    name = "AntDir"

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws angles."""
        return rng.uniform(0.0, 2 * np.pi, (count, 1))

    def reward(self, motion: Motion) -> Array:
        """Rewards velocity in the task's direction and being alive, less the costs of control and contact."""
        costs = 0.5 * sum_of_squares(motion.actions) + _CONTACT_COST * sum_of_squares(_forces(motion.simulation))
        # v·d - 0.5 |action|² - 0.0005 |forces|² + 1
        return speed_along(motion.tasks[:, 0], motion.velocity) - costs + 1.0

    def terminated(self, simulation: Arrays) -> Array:
        """Returns true where the ant lies on its belly or has jumped too high."""
        height = simulation["qpos"][:, 2]
        return ~((height >= 0.2) & (height <= 1.0))

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the average speed in the task's direction is high enough."""
        return speed_along(tasks[:, 0], velocity) >= SUCCESS_SPEED

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the direction, and the velocity."""
        return arrows(place, direction(parameters[0]), velocity)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the direction, and the speed in it."""
        return describe_direction(parameters[0], velocity)


class AntGoal(_Ant):
    """Goes to a place; the parameters are its x and y, uniform in the disc of radius 3 m around the start.

    Follows the code of ProMP and PEARL; MAML's goals lie in a square. The reward is minus the distance |dx| + |dy|
    from torso to goal - 0.1 |action|² - 0.0005 |forces|². Only the horizon ends an episode. The observation begins with
    the position, without which the ant could not tell where it is.
    """

    name = "AntGoal"
    view = View((0.0, 0.0, 0.0), distance=9.0, azimuth=90.0, elevation=-40.0)
    _hidden = 0

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws goals."""
        angles, shares = rng.uniform(0.0, 2 * np.pi, count), rng.random(count)
        # r = R sqrt(u), u uniform in [0, 1], makes the density uniform over the disc
        radii = _GOAL_RANGE * np.sqrt(shares)
        return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)

    def reward(self, motion: Motion) -> Array:
        """Penalises the distance to the goal and the costs of control and contact."""
        xp = namespace(motion.position)
        distance = xp.sum(xp.abs(motion.position - motion.tasks), axis=1)
        contact = _CONTACT_COST * sum_of_squares(_forces(motion.simulation))
        # -(|dx| + |dy|) - 0.1 |action|² - 0.0005 |forces|²
        return -distance - 0.1 * sum_of_squares(motion.actions) - contact

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the episode ended near the goal."""
        return sum_of_squares(position - tasks) <= SUCCESS_DISTANCE**2

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the goal, on the floor."""
        return (Mark((float(parameters[0]), float(parameters[1]), 0.0), _GOAL_RADIUS),)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the goal, and the distance to it."""
        x, y = parameters
        return f"goal x {x:.2f}, y {y:.2f} m; distance {np.linalg.norm(position - parameters):.2f} m"


def _forces(simulation: Arrays) -> Array:
    """Contact forces and torques `(env, body, 6)`, each clipped to [-1, 1] as in Ant-v5."""
    xp = namespace(simulation["cfrc_ext"])
    return xp.clip(simulation["cfrc_ext"], -1.0, 1.0)
