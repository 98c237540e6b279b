"""A single task as a plain Gymnasium environment, for tools that know no vector environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.core import Task, TaskDistribution


class SingleTaskEnv(gym.Env[Any, Any]):
    """One task of a distribution; an episode ends at the horizon, by truncation, and waits for `reset`.

    Success of a step is `info["success"]`.

    Args:
        distribution: Distribution that the task belongs to.
        task: Task to play.
        render_mode: None or "rgb_array".
    """

    def __init__(self, distribution: TaskDistribution, task: Task, render_mode: str | None = None) -> None:
        self.task = task
        """Task that is played."""
        self.metadata = {"render_modes": ["rgb_array"] if distribution.renderable else []}
        self.render_mode = render_mode
        self.observation_space, self.action_space = distribution.observation_space, distribution.action_space
        self._vector = distribution.make_env(1, render_mode)
        self._vector.set_tasks([task])
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Begins a new episode."""
        super().reset(seed=seed)
        observations, _ = self._vector.reset(seed=None if seed is None else [seed], options=options)
        self._over = False
        return observations[0], {}

    def step(self, action: Any) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """Makes a step.

        Raises:
            gymnasium.error.ResetNeeded: If the episode is over or none has begun.
        """
        if self._over:
            raise gym.error.ResetNeeded("call reset before step: the episode is over, or none has begun")
        observations, rewards, terminated, truncated, infos = self._vector.step(np.asarray(action)[None])
        self._over = bool(terminated[0] or truncated[0])
        # the vector has begun the next episode by itself
        observation = infos["final_obs"][0] if self._over else observations[0]
        info = {"success": bool(infos["success"][0])}
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> npt.NDArray[np.uint8]:
        """Draws a frame `(height, width, 3)`."""
        return np.asarray(self._vector.render()[0])

    def close(self) -> None:
        """Closes the environment."""
        self._vector.close()
