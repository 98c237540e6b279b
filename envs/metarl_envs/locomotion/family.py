"""The contract of a family of locomotion tasks: one of Gymnasium's v5 robots, its tasks and its rewards."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from metarl_envs.arrays import Array, namespace
from metarl_envs.core import FloatArray
from metarl_envs.scenes import ACTUAL, GOAL, Colour, Mark, View
from metarl_envs.simulation import Fields, SharedModel, dynamics_fields

Arrays = Mapping[str, Array]
"""MuJoCo's arrays by name after a step, such as `qpos` `(env, nq)`; NumPy arrays or PyTorch tensors."""

ROBOT = 1
"""Index of the robot's first body."""
_ARROW_RADIUS = 0.03
_LEAST_SPEED_SHOWN = 0.02  # m/s; an arrow without a length has no direction

SUCCESS_SPEED = 0.5
"""Smallest average speed, in m/s in the task's direction, of a successful episode."""
SUCCESS_TOLERANCE = 0.1
"""Largest deviation of a successful episode's average speed: this share of the task's speed, or as many m/s if more."""


@dataclass(frozen=True)
class Motion:
    """A step of a batch of environments; every array has the leading axis `env`."""

    simulation: Arrays
    velocity: Array
    """Average over the step, in m/s: `(env, 1)` forwards or `(env, 2)` along x and y."""
    position: Array
    """Position after the step, in metres, of the same shape."""
    actions: Array
    """`(env, action)`, clipped to the action space."""
    tasks: Array
    """Parameters of the tasks, `(env, parameter)`."""


class Family(ABC):
    """Tasks that share a robot, which is read once from an environment object of Gymnasium's.

    The robot is Gymnasium's v5: model, frame skip, noise at the reset, observations and actions. Rewards and
    terminations are those of the papers that the families come from. Methods that take arrays keep to the array API
    standard.

    Attributes:
        model: Model as no task has changed it; never stepped with.
        observation_space: Space of a single environment.
        action_space: Space of a single environment.
        frame_skip: Physics steps per step.
        step_duration: Duration of a step, in seconds.
    """

    name: ClassVar[str]
    """Name of the family and of each of its tasks."""
    horizon: ClassVar[int]
    """Default number of steps per episode."""
    held_out: ClassVar[bool] = True
    """False for a family with a fixed few tasks, all of them trained on."""
    arrays: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    """MuJoCo's arrays that observations and rewards read."""
    changes: ClassVar[tuple[str, ...]] = ()
    """Fields of the model that differ between tasks."""
    contact_forces: ClassVar[bool] = False
    """True if `cfrc_ext` is among the arrays; MuJoCo computes it on demand only."""
    view: ClassVar[View] = View((0.0, 0.0, 0.7), distance=4.5, azimuth=90.0, elevation=-12.0, body=ROBOT)
    """View of pictures: by default from the side, moving along."""
    normal_speeds: ClassVar[bool] = False
    """True if joint speeds at the reset are normally distributed, else they are uniform."""

    def __init__(self) -> None:
        robot: Any = self._make_robot()
        self.model: mujoco.MjModel = robot.model
        self.observation_space: gym.spaces.Box = robot.observation_space
        self.action_space: gym.spaces.Box = robot.action_space
        self.frame_skip: int = robot.frame_skip
        self.step_duration = float(robot.dt)
        self._initial: tuple[FloatArray, FloatArray] = robot.init_qpos, robot.init_qvel
        self._noise: float = robot._reset_noise_scale
        self._pristine = {field: np.array(getattr(self.model, field)) for field in self.changes}
        robot.close()

    @abstractmethod
    def _make_robot(self) -> MujocoEnv:
        """Makes Gymnasium's environment object."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draws the parameters of `count` tasks, `(task, parameter)`; a family with a fixed few returns them all."""

    def accepts(self, parameters: FloatArray) -> bool:
        """Returns true if the parameters `(parameter,)` are valid for a task of this family."""
        shape = self.draw(np.random.default_rng(0), 1).shape[1:]
        return parameters.shape == shape and bool(np.isfinite(parameters).all())

    def fields(self, parameters: FloatArray) -> Fields:
        """Computes the fields of a task's model that are named in `changes`, as whole fields."""
        return {}

    def copy_model(self) -> SharedModel:
        """Copies the model for one thread to step with."""
        return SharedModel(copy.copy(self.model), {**dynamics_fields(self.model), **self._pristine})

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Begins an episode as Gymnasium's `reset` does: the robot at rest in its initial posture, plus noise."""
        (position, speed), noise = self._initial, self._noise
        mujoco.mj_resetData(model, data)
        data.qpos[:] = position + rng.uniform(-noise, noise, model.nq)
        if self.normal_speeds:
            data.qvel[:] = speed + noise * rng.standard_normal(model.nv)
        else:
            data.qvel[:] = speed + rng.uniform(-noise, noise, model.nv)
        mujoco.mj_forward(model, data)

    @abstractmethod
    def observe(self, simulation: Arrays) -> Array:
        """Computes the observations `(env, observation)`."""

    @abstractmethod
    def position(self, simulation: Arrays) -> Array:
        """Positions of the robots: `(env, 1)` or `(env, 2)`, in metres."""

    @abstractmethod
    def reward(self, motion: Motion) -> Array:
        """Computes the rewards of a step, `(env,)`."""

    def terminated(self, simulation: Arrays) -> Array:
        """Returns true where an episode terminates, because the robot has fallen for example, `(env,)`."""
        xp = namespace(simulation["qpos"])
        return xp.zeros_like(simulation["qpos"][:, 0], dtype=xp.bool)

    @abstractmethod
    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Returns true where an episode that lasted to the horizon solved its task, `(env,)`.

        Args:
            tasks: Parameters of the tasks, `(env, parameter)`.
            velocity: Average over the episode, in m/s, `(env, 1)` or `(env, 2)`.
            position: Position at the episode's end, in metres, of the same shape.
        """

    def marks(self, parameters: FloatArray, place: FloatArray, velocity: FloatArray) -> tuple[Mark, ...]:
        """Marks that show in pictures what the task asks for, and what the robot does about it.

        Args:
            parameters: Parameters of the task, `(parameter,)`.
            place: Place of the robot, `(3,)` in metres.
            velocity: Average over the last step, `(1,)` or `(2,)` in m/s.
        """
        return ()

    def describe(self, parameters: FloatArray, velocity: FloatArray, position: FloatArray) -> str:
        """Describes in a line what the task asks for, and what the robot does about it; "" for the parameters alone."""
        return ""


def arrows(place: FloatArray, asked: FloatArray, actual: FloatArray, metres_per_speed: float = 1.0) -> tuple[Mark, ...]:
    """Arrows above a robot: the velocity that is asked for in green, the robot's in blue.

    Args:
        place: Place of the robot, `(3,)` in metres.
        asked: Velocity that is asked for along x, or along x and y, in m/s.
        actual: Velocity of the robot, of the same shape.
        metres_per_speed: Length of an arrow, in metres, for each m/s.
    """

    def arrow(velocity: FloatArray, height: float, colour: Colour) -> Mark:
        x, y, z = (float(number) for number in place)
        along, across = (*map(float, metres_per_speed * velocity), 0.0)[:2]
        return Mark((x, y, z + height), _ARROW_RADIUS, colour, tip=(x + along, y + across, z + height))

    return tuple(
        arrow(velocity, height, colour)
        for velocity, height, colour in ((asked, 0.8, GOAL), (actual, 0.65, ACTUAL))
        if np.linalg.norm(velocity) > _LEAST_SPEED_SHOWN
    )


def direction(angle: float) -> FloatArray:
    """Unit vector `(2,)` with an angle to the x-axis."""
    return np.array([np.cos(angle), np.sin(angle)])


def describe_direction(angle: float, velocity: FloatArray) -> str:
    """Describes in a line the direction that a task asks for, and a velocity's `(2,)` component in it."""
    # v·d
    return f"task: run towards {np.degrees(angle):.0f}°; speed that way {velocity @ direction(angle):.2f} m/s"


def sum_of_squares(x: Array) -> Array:
    """Sum of squares over all axes but the first, `(env,)`."""
    xp = namespace(x)
    return xp.sum(xp.reshape(x * x, (x.shape[0], -1)), axis=1)


def speed_along(angle: Array, velocity: Array) -> Array:
    """Component `(env,)` of velocities `(env, 2)` in the directions with angles `(env,)` to the x-axis."""
    xp = namespace(velocity)
    # v·d = cos(angle) v_x + sin(angle) v_y
    return xp.cos(angle) * velocity[:, 0] + xp.sin(angle) * velocity[:, 1]


def matches_speed(target: Array, speed: Array) -> Array:
    """Returns true where average speeds `(env,)` are near the tasks' speeds `(env,)`; see `SUCCESS_TOLERANCE`."""
    xp = namespace(speed)
    # |speed - target| <= 0.1 max(|target|, 1 m/s)
    return xp.abs(speed - target) <= SUCCESS_TOLERANCE * xp.clip(xp.abs(target), 1.0, None)
