"""A tiny task family for tests whose every number tells where it comes from."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv


class CountingEnv(TaskVectorEnv):
    """Task (length, base) has episodes of `length` steps; the observation is (steps made since reset, base).

    The reward of a step is base + steps made + the first action component / 1000; even lengths end by termination.
    """

    def __init__(self, num_envs: int, horizon: int, discrete: bool = False) -> None:
        self.num_envs, self.horizon = num_envs, horizon
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.single_action_space = gym.spaces.Discrete(3) if discrete else gym.spaces.Box(-1, 1, (2,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.received: list[npt.NDArray[Any]] = []
        self.seeds: list[list[int | None]] = []

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks = self._check_count(tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        self.seeds.append(self._seed_each(seed))
        self._made = np.zeros(self.num_envs)
        self._in_episode = np.zeros(self.num_envs, int)
        return self._observe(), {}

    def _observe(self) -> npt.NDArray[np.float64]:
        return np.stack([self._made, [task.parameters[1] for task in self.tasks]], axis=-1)

    def step(
        self, actions: npt.NDArray[Any]
    ) -> tuple[
        npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
    ]:
        self.received.append(np.array(actions))
        first = actions if actions.ndim == 1 else actions[:, 0]
        rewards = self._observe()[:, 1] + self._made + first / 1000
        self._made += 1
        self._in_episode += 1
        lengths = np.array([int(task.parameters[0]) for task in self.tasks])
        ended = self._in_episode == lengths
        terminated = ended & (lengths % 2 == 0)
        infos = {"success": self._in_episode == 2}
        if ended.any():
            infos |= {"final_obs": self._observe() + 0.5, "_final_obs": ended}
        self._in_episode[ended] = 0
        return self._observe(), rewards, terminated, ended & ~terminated, infos


class Counting(TaskDistribution):
    """Training tasks (2, 10), (3, 20), (4, 30), test task (3, 40), unless others are given."""

    renderable = False

    def __init__(
        self,
        train: Sequence[Sequence[float]] = ((2, 10), (3, 20), (4, 30)),
        test: Sequence[Sequence[float]] = ((3, 40),),
        discrete: bool = False,
    ) -> None:
        env = CountingEnv(1, 4, discrete)
        self._discrete = discrete
        super().__init__(
            "counting",
            [Task("count", parameters) for parameters in train],
            [Task("count", parameters) for parameters in test],
            env.single_observation_space,
            env.single_action_space,
            env.horizon,
        )

    def make_env(self, num_envs: int, render_mode: str | None = None) -> CountingEnv:
        return CountingEnv(num_envs, self.horizon, self._discrete)
