"""A four-legged ant that runs in one direction or to one place (Rothfuss et al. 2019, Rakelly et al. 2019)."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.locomotion.family import SUCCESS_SPEED, Arrays, Family, Motion, along, squares

SUCCESS_DISTANCE = 0.5
"""An episode of `AntGoal` succeeds if it ends this near to the goal, in metres."""

_CONTACT_COST = 5e-4
_GOAL_RANGE = 3.0
_TORSO = 1


class _Ant(Family):
    """Observes what Ant-v5 does: joint positions and speeds, and the forces on each body, clipped to -1 to 1.

    In MuJoCo 2.0, which PEARL's code asks for, those forces were zero, and so was their cost.
    """

    horizon = 200
    arrays = ("qpos", "qvel", "xpos", "cfrc_ext")
    contact_forces = True
    normal_speeds = True
    _hidden = 2
    """Positions that are not observed."""

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

    As in the codes of ProMP and PEARL. What MAML (Finn et al. 2017) and the settings of PEARL's experiments have is two
    directions, with smaller costs and bonus in MAML. The reward is the torso's velocity in that direction - 0.5
    |action|² - 0.0005 |forces|² + 1, and the episode terminates when the torso leaves the heights of 0.2 to 1 m,
    which are PEARL's.
    """

    name = "AntDir"

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Angles."""
        return rng.uniform(0.0, 2 * np.pi, (count, 1))

    def reward(self, motion: Motion) -> Array:
        """Velocity in the direction asked for, less the costs, and a bonus for being alive."""
        costs = 0.5 * squares(motion.actions) + _CONTACT_COST * squares(_forces(motion.simulation))
        return along(motion.tasks[:, 0], motion.velocity) - costs + 1.0

    def terminated(self, simulation: Arrays) -> Array:
        """Whether it lies on its belly or has jumped too high."""
        height = simulation["qpos"][:, 2]
        return ~((height >= 0.2) & (height <= 1.0))

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Whether it came far enough in the right direction."""
        return along(tasks[:, 0], velocity) >= SUCCESS_SPEED


class AntGoal(_Ant):
    """Goes to a place; the parameters are its x and y, uniform in the disc of radius 3 m around the start.

    As in the codes of ProMP and PEARL; MAML's has a square. The reward is minus the distance
    from torso to goal, |dx| + |dy|, - 0.1 |action|² - 0.0005 |forces|², and nothing but the horizon ends an episode.
    The position is observed, first of all, as otherwise the ant could not tell where it is.
    """

    name = "AntGoal"
    _hidden = 0

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Goals."""
        angles, shares = rng.uniform(0.0, 2 * np.pi, count), rng.random(count)
        radii = _GOAL_RANGE * np.sqrt(shares)
        return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)

    def reward(self, motion: Motion) -> Array:
        """How far the goal is, and the costs."""
        xp = namespace(motion.position)
        distance = xp.sum(xp.abs(motion.position - motion.tasks), axis=1)
        return -distance - 0.1 * squares(motion.actions) - _CONTACT_COST * squares(_forces(motion.simulation))

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Whether it ended near the goal."""
        return squares(position - tasks) <= SUCCESS_DISTANCE**2

    def landmark(self, parameters: FloatArray) -> FloatArray:
        """The goal, on the floor."""
        return np.append(parameters, 0.0)


def _forces(simulation: Arrays) -> Array:
    """Contact forces and torques `(env, body, 6)`, each clipped to -1 to 1 as everywhere in the field."""
    xp = namespace(simulation["cfrc_ext"])
    return xp.clip(simulation["cfrc_ext"], -1.0, 1.0)
