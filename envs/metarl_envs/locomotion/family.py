"""The contract of a family of locomotion tasks: one of Gymnasium's v5 robots, and what it is rewarded for."""

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
from metarl_envs.simulation import Fields, SharedModel

Arrays = Mapping[str, Array]
"""MuJoCo's arrays by name, such as `qpos` `(env, nq)`, as they are after a step; NumPy's or PyTorch's."""

SUCCESS_SPEED = 0.5
"""An episode succeeds whose average speed, in the direction that the task asks for, is at least this, in m/s."""
SUCCESS_TOLERANCE = 0.1
"""Or whose average speed misses the one asked for by at most this share of it, or by as many m/s if that is more."""


@dataclass(frozen=True)
class Motion:
    """A step of some environments; every array has the leading axis `env`."""

    simulation: Arrays
    velocity: Array
    """`(env, 1)` forwards or `(env, 2)` along x and y: the average over the step, in m/s."""
    position: Array
    """Where it led, in metres, of the same shape."""
    actions: Array
    """`(env, action)`, clipped to the action space."""
    tasks: Array
    """`(env, parameter)`."""


class Family(ABC):
    """Tasks that share a robot. What is the same for all of them is read off an environment object of Gymnasium's.

    Everything about the robot is Gymnasium's v5: model, frame skip, noise at the reset, observations and actions.
    Rewards and terminations are those of the papers that the families come from. Methods that take arrays keep to the
    array API standard.

    Attributes:
        model: A model that no task has changed, and that nobody steps with.
        observation_space: Of a single environment.
        action_space: Of a single environment.
        frame_skip: Physics steps per step.
        step_duration: In seconds.
    """

    name: ClassVar[str]
    """What the family is called, and each of its tasks."""
    horizon: ClassVar[int]
    """Steps per episode, if nobody says otherwise."""
    held_out: ClassVar[bool] = True
    """Whether there are tasks to hold out."""
    arrays: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    """Which of MuJoCo's arrays observations and rewards are made of."""
    changes: ClassVar[tuple[str, ...]] = ()
    """Which fields of the model differ between tasks."""
    contact_forces: ClassVar[bool] = False
    """Whether `cfrc_ext` is among the arrays; MuJoCo computes it on demand only."""
    normal_speeds: ClassVar[bool] = False
    """Whether joint speeds at the reset are normally distributed, not uniformly."""

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
        """Gymnasium's environment object."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Parameters of so many tasks, `(task, parameter)`; without held-out tasks, of all there are."""

    def accepts(self, parameters: FloatArray) -> bool:
        """Whether these could be the parameters of a task, drawn here or thought up elsewhere."""
        shape = self.draw(np.random.default_rng(0), 1).shape[1:]
        return parameters.shape == shape and bool(np.isfinite(parameters).all())

    def fields(self, parameters: FloatArray) -> Fields:
        """What a task changes in the model: whole fields, those named in `changes`."""
        return {}

    def copy_model(self) -> SharedModel:
        """A model for one thread to step with."""
        return SharedModel(copy.copy(self.model), self._pristine)

    def begin(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Begins an episode as Gymnasium's `reset` does: the robot at rest in its first posture, but for some noise."""
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
        """Observations `(env, observation)`."""

    @abstractmethod
    def position(self, simulation: Arrays) -> Array:
        """Where the robots are: `(env, 1)` or `(env, 2)`, in metres."""

    @abstractmethod
    def reward(self, motion: Motion) -> Array:
        """Rewards of a step, `(env,)`."""

    def terminated(self, simulation: Arrays) -> Array:
        """Whether the robots have fallen or whatever else ends an episode, `(env,)`."""
        xp = namespace(simulation["qpos"])
        return xp.zeros_like(simulation["qpos"][:, 0], dtype=xp.bool)

    @abstractmethod
    def succeeded(self, tasks: Array, velocity: Array, position: Array) -> Array:
        """Whether episodes that lasted to the horizon solved their tasks, `(env,)`.

        Args:
            tasks: `(env, parameter)`.
            velocity: The average over the episode, `(env, 1)` or `(env, 2)`.
            position: Where it ended, of the same shape.
        """

    def landmark(self, parameters: FloatArray) -> FloatArray | None:
        """A place to mark in pictures, `(3,)` in metres; None if the task has none."""
        return None


def squares(x: Array) -> Array:
    """The sum of squares of all that belongs to an environment, `(env,)`."""
    xp = namespace(x)
    return xp.sum(xp.reshape(x * x, (x.shape[0], -1)), axis=1)


def along(angle: Array, velocity: Array) -> Array:
    """The component `(env,)` of velocities `(env, 2)` in a direction, given by its angle to the x-axis `(env,)`."""
    xp = namespace(velocity)
    return xp.cos(angle) * velocity[:, 0] + xp.sin(angle) * velocity[:, 1]


def keeps_to(target: Array, speed: Array) -> Array:
    """Whether average speeds `(env,)` are near enough to those asked for; see `SUCCESS_TOLERANCE`."""
    xp = namespace(speed)
    return xp.abs(speed - target) <= SUCCESS_TOLERANCE * xp.clip(xp.abs(target), 1.0, None)
