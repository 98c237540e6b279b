"""One task as a plain `gymnasium.Env`, for libraries that take single environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.core import FloatArray, Task, TaskDistribution
from metarl_envs.errors import UserError

_RENDER_FPS = 30
"""Frames per second of families that do not tell theirs."""


class SingleTaskEnv(gym.Env[Any, Any]):
    """Environment of one task, played in a vector of one.

    An episode ends as the vector's does, by truncation at the horizon at the latest. `info["success"]` is true if the
    step just made solved the task.

    Args:
        distribution: Family of the task, which makes the vector.
        task: Task to play.
        render_mode: None or "rgb_array".

    Attributes:
        task: Task that is played.
    """

    def __init__(self, distribution: TaskDistribution, task: Task, render_mode: str | None = None) -> None:
        self.task = task
        self.render_mode = render_mode
        self._vector = distribution.make_env(1, render_mode)
        self.metadata = {
            "render_modes": ["rgb_array"] if distribution.renderable else [],
            "render_fps": self._vector.metadata.get("render_fps", _RENDER_FPS),
        }
        self._vector.set_tasks([task])
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins an episode; `seed` makes everything after it reproducible."""
        super().reset(seed=seed)
        observations, _ = self._vector.reset(seed=None if seed is None else [seed], options=options)
        self._over = False
        return observations[0], {}

    def step(self, action: Any) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """Makes a step; where it ends the episode, the observation is the episode's last.

        Raises:
            gymnasium.error.ResetNeeded: If the episode is over, or none has begun.
        """
        if self._over:
            raise gym.error.ResetNeeded("call reset before step: the episode is over, or none has begun")
        observations, rewards, terminated, truncated, infos = self._vector.step(np.asarray(action)[None])
        self._over = bool(terminated[0] or truncated[0])
        observation = infos["final_obs"][0] if self._over else observations[0]
        info = {"success": bool(infos["success"][0])}
        if "diverged" in infos:
            info["diverged"] = bool(infos["diverged"][0])
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> npt.NDArray[np.uint8]:
        """Draws a frame `(height, width, 3)`."""
        return self._vector.render()[0]

    def close(self) -> None:
        """Closes the vector."""
        self._vector.close()


class RandomTaskEnv(SingleTaskEnv):
    """Environment that draws one of several tasks at each reset, as Meta-World's multi-task benchmarks do.

    Args:
        distribution: Family of the tasks.
        tasks: Tasks to draw from.
        seed: Seed of the drawing, until a `reset` with a seed.
        render_mode: None or "rgb_array".
    """

    def __init__(
        self, distribution: TaskDistribution, tasks: Sequence[Task], seed: int, render_mode: str | None = None
    ) -> None:
        super().__init__(distribution, tasks[0], render_mode)
        self._tasks = tuple(tasks)
        self._np_random = np.random.default_rng(seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins an episode of a drawn task; `seed` makes everything after it reproducible."""
        gym.Env.reset(self, seed=seed)
        self.task = self._tasks[self.np_random.choice(len(self._tasks))]
        self._vector.set_tasks([self.task])
        return super().reset(seed=None, options=options)


def pick_task(tasks: tuple[Task, ...], task: int) -> Task:
    """Returns one of a split's tasks.

    Args:
        tasks: The tasks.
        task: Index of the wanted one.

    Raises:
        UserError: If there is no such task.
    """
    if not isinstance(task, int | np.integer) or isinstance(task, bool):
        raise UserError(f"task must be the index of a task, from 0 to {len(tasks) - 1}: got {task!r}")
    if not 0 <= task < len(tasks):
        raise UserError(f"task must be from 0 to {len(tasks) - 1}, as there are {len(tasks)} tasks: got {task}")
    return tasks[task]
