"""A half-cheetah that runs in one direction or at one speed (Finn et al. 2017, section 5.3)."""

from __future__ import annotations

import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.locomotion.family import SUCCESS_SPEED, Arrays, Family, Motion, keeps_to, squares

_CONTROL_COST = 0.05  # half of what HalfCheetah-v5 takes


class _HalfCheetah(Family):
    """Observes joint positions, but for x, and speeds. It cannot fall. Horizon 100 is that of ProMP's experiments."""

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

    The reward is the velocity in that direction minus 0.05 |action|², as in the codes of MAML, ProMP (Rothfuss et al.
    2019) and PEARL (Rakelly et al. 2019). The velocity is the displacement of the root over the step's duration, as in
    the latter two and in Gymnasium; MAML's is that of the centre of mass. There are these two tasks and no others:
    all three papers test on what they train on.
    """

    name = "HalfCheetahDir"
    held_out = False

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """The two directions."""
        return np.array([[1.0], [-1.0]])

    def reward(self, motion: Motion) -> Array:
        """Velocity in the direction asked for, less the cost of control."""
        return motion.tasks[:, 0] * motion.velocity[:, 0] - _CONTROL_COST * squares(motion.actions)

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Whether it came far enough in the right direction."""
        return tasks[:, 0] * velocity[:, 0] >= SUCCESS_SPEED


class HalfCheetahVel(_HalfCheetah):
    """Runs forwards at a certain speed; the parameter is that speed, uniform in 0 to 2 m/s.

    The range is that of MAML; ProMP and PEARL have 0 to 3. The reward is -|velocity - speed| - 0.05 |action|², as in
    all three, with the velocity of `HalfCheetahDir`.
    """

    name = "HalfCheetahVel"

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Speeds."""
        return rng.uniform(0.0, 2.0, (count, 1))

    def reward(self, motion: Motion) -> Array:
        """How far the velocity is off, and the cost of control."""
        xp = namespace(motion.velocity)
        return -xp.abs(motion.velocity[:, 0] - motion.tasks[:, 0]) - _CONTROL_COST * squares(motion.actions)

    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Whether its average speed was about right."""
        return keeps_to(tasks[:, 0], velocity[:, 0])
