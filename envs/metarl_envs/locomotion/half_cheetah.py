"""A half-cheetah that runs in a direction or at a speed (Finn et al. 2017, section 5.3)."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.locomotion.family import SUCCESS_SPEED, Arrays, Family, Motion, arrows, matches_speed, sum_of_squares
from metarl_envs.scenes import Mark

_CONTROL_COST = 0.05  # half of HalfCheetah-v5's


class _HalfCheetah(Family):
    """Observes joint positions, except x, and speeds; never terminates. The horizon is that of ProMP's experiments."""

    horizon = 100
    normal_speeds = True

    def _make_robot(self) -> HalfCheetahEnv:
        return HalfCheetahEnv()

    def observe(self, simulation: Arrays) -> Array:
        xp = namespace(simulation["qpos"])
        return xp.concat([simulation["qpos"][:, 1:], simulation["qvel"]], axis=1)

    def position(self, simulation: Arrays) -> Array:
        return simulation["qpos"][:, :1]


class HalfCheetahDir(_HalfCheetah):
    """Runs forwards or backwards; the parameter is the direction, 1 or -1.

    The reward is the velocity in that direction - 0.05 |action|², as in the code of MAML, ProMP (Rothfuss et al. 2019)
    and PEARL (Rakelly et al. 2019). The velocity is the displacement of the root over the step's duration, as in ProMP,
    PEARL and Gymnasium; MAML takes the centre of mass. These two tasks are all there are: the three papers test on the
    tasks they train on.
    """

    name = "HalfCheetahDir"
    held_out = False

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Returns the two directions."""
        return np.array([[1.0], [-1.0]])

    def reward(self, motion: Motion) -> Array:
        """Rewards velocity in the task's direction, less the cost of control."""
        # d v - 0.05 |action|²
        return motion.tasks[:, 0] * motion.velocity[:, 0] - _CONTROL_COST * sum_of_squares(motion.actions)

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the average speed in the task's direction is high enough."""
        return tasks[:, 0] * velocity[:, 0] >= SUCCESS_SPEED

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the direction, and the speed."""
        return arrows(place, parameters, velocity)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the direction, and the speed."""
        way = "forwards" if parameters[0] > 0 else "backwards"
        return f"task: run {way}; speed that way {parameters[0] * velocity[0]:.2f} m/s"


class HalfCheetahVel(_HalfCheetah):
    """Runs forwards at a speed; the parameter is the speed, uniform in 0 to 2 m/s.

    The range is MAML's; ProMP and PEARL have 0 to 3 m/s. The reward is -|velocity - speed| - 0.05 |action|², as in all
    three, with the velocity of `HalfCheetahDir`.
    """

    name = "HalfCheetahVel"

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws speeds."""
        return rng.uniform(0.0, 2.0, (count, 1))

    def reward(self, motion: Motion) -> Array:
        """Penalises the deviation from the task's speed, and the cost of control."""
        xp = namespace(motion.velocity)
        # -|v - speed| - 0.05 |action|²
        return -xp.abs(motion.velocity[:, 0] - motion.tasks[:, 0]) - _CONTROL_COST * sum_of_squares(motion.actions)

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where the average speed is near the task's."""
        return matches_speed(tasks[:, 0], velocity[:, 0])

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Shows the target speed, and the speed."""
        return arrows(place, parameters, velocity)

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes the target speed, and the speed."""
        return f"target speed {parameters[0]:.2f} m/s; speed {velocity[0]:.2f} m/s"
