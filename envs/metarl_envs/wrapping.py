"""Vectors of environments around other vectors, and families whose observations show their tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import Expert, FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.dynamics import Dynamics
from metarl_envs.errors import UserError


class TaskVectorWrapper(TaskVectorEnv):
    """Base of vectors around another vector: hands everything on; subclasses change what they are there for.

    Attributes that only the wrapped environment has, such as `simulation`, are found on the wrapper too.

    Args:
        env: Vector to wrap.

    Attributes:
        env: The wrapped vector.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        self.env = env
        self.num_envs, self.horizon, self.tasks = env.num_envs, env.horizon, env.tasks
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self.has_dynamics = env.has_dynamics
        self.single_observation_space, self.single_action_space = env.single_observation_space, env.single_action_space
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not set yet, as in a copy that is being made
            raise AttributeError(name)
        return getattr(self.env, name)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """See `TaskVectorEnv`."""
        try:
            self.env.set_tasks(tasks)
        finally:
            self.tasks = self.env.tasks

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """See `TaskVectorEnv`."""
        result = self.env.reset(seed=seed, options=options)
        self.tasks = self.env.tasks
        return result

    def set_dynamics(self, dynamics: Sequence[Dynamics]) -> None:
        """See `TaskVectorEnv`."""
        self.env.set_dynamics(dynamics)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """See `TaskVectorEnv`."""
        self.send(actions)
        return self.receive()

    def send(self, actions: npt.NDArray[Any]) -> None:
        """See `TaskVectorEnv`."""
        self.env.send(actions)

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        result = self.env.receive()
        self.tasks = self.env.tasks
        return result

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """See `TaskVectorEnv`."""
        return self.env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the wrapped vector."""
        self.env.close()


class TaskObservation(TaskVectorWrapper):
    """Appends numbers that describe its task to each environment's observations.

    Args:
        env: Vector to wrap.
        describe: Returns the numbers `(number,)` that describe a task; the same for all tasks that an environment plays
            between two calls of `reset`.
        low: Lower bounds of the numbers, `(number,)`.
        high: Upper bounds.
    """

    def __init__(
        self, env: TaskVectorEnv, describe: Callable[[Task], FloatArray], low: FloatArray, high: FloatArray
    ) -> None:
        super().__init__(env)
        self._describe = describe
        self.single_observation_space = append(env.single_observation_space, low, high)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """See `TaskVectorEnv`."""
        observations, infos = super().reset(seed=seed, options=options)
        self._descriptions = np.stack([self._describe(task) for task in self.tasks])
        return self._append(observations), infos

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        observations, rewards, terminated, truncated, infos = super().receive()
        if "final_obs" in infos:
            infos["final_obs"] = self._append(infos["final_obs"])
        return self._append(observations), rewards, terminated, truncated, infos

    def _append(self, observations: FloatArray) -> FloatArray:
        return np.concatenate([observations, self._descriptions], axis=1)


class VisibleTasks(TaskDistribution):
    """Family whose observations end in the parameters of the task: what an oracle or a multi-task policy learns from.

    Args:
        family: Family whose tasks to show; all of them must have the same number of parameters.

    Raises:
        UserError: If the numbers of parameters differ, or the family shows its tasks already.
    """

    task_visible = True

    def __init__(self, family: TaskDistribution) -> None:
        counts = sorted({task.parameters.size for task in (*family.train_tasks, *family.test_tasks)})
        if len(counts) > 1:
            raise UserError(
                f"{family.name}: goal_visible appends the parameters of a task to its observations, so all tasks must"
                f" have equally many; they have {counts[0]} to {counts[-1]}"
            )
        if family.shown:
            raise UserError(f"{family.name}: its observations show the {family.shown} already")
        self.family = family
        self._high = np.full(counts[0], np.inf)
        self.renderable, self.positions, self.shown = family.renderable, family.positions, "task parameters"
        super().__init__(
            name=f"{family.name}-goal-visible",
            train_tasks=family.train_tasks,
            test_tasks=family.test_tasks,
            observation_space=append(family.observation_space, -self._high, self._high),
            action_space=family.action_space,
            horizon=family.horizon,
            held_out=family.held_out,
        )

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """See `TaskDistribution`."""
        self.family.workers = self.workers
        env = self.family.make_env(num_envs, render_mode)
        return TaskObservation(env, lambda task: task.parameters.ravel(), -self._high, self._high)

    def expert(self) -> Expert | None:
        """See `TaskDistribution`."""
        expert, size = self.family.expert(), self.family.observation_space.shape[0]
        return None if expert is None else lambda tasks, observations: expert(tasks, observations[:, :size])

    def sample(self, count: int, rng: np.random.Generator) -> list[Task]:
        """See `TaskDistribution`."""
        return self.family.sample(count, rng)


def append(space: gym.spaces.Box, low: FloatArray, high: FloatArray) -> gym.spaces.Box:
    """Makes the space of flat observations with further numbers appended."""
    return gym.spaces.Box(np.concatenate([space.low, low]), np.concatenate([space.high, high]), dtype=np.float64)
