"""A family in which the class of a task tells where to push, which nothing but the reward shows."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs import Task, WrappedDistribution

TARGETS = {"left": -0.6, "right": 0.6}


class Push(gym.Env[npt.NDArray[np.float64], npt.NDArray[np.float64]]):
    """The reward of a step is scale times (1 - |action - target|), and a step within 0.3 of the target solves it."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
    target = 0.0
    scale = 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(
        self, action: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        error = abs(float(action[0]) - self.target)
        return np.zeros(1), self.scale * (1 - error), False, False, {"success": error < 0.3}


def set_task(env: Any, task: Task) -> None:
    env.unwrapped.target, env.unwrapped.scale = task.parameters


def _tasks(names: Sequence[str], targets: Sequence[float]) -> list[Task]:
    """Ten tasks of each name, whose rewards are the larger the more the class is to the right."""
    return [
        Task(name, [target + 0.01 * number, 100.0 if target > 0 else 1.0])
        for name, target in zip(names, targets, strict=True)
        for number in range(10)
    ]


def family() -> WrappedDistribution:
    """Trains on "left" and "right"; holds out "east" and "west", at nearly the same targets."""
    train = _tasks(list(TARGETS), list(TARGETS.values()))
    test = _tasks(["west", "east"], [-0.55, 0.55])
    return WrappedDistribution("push", train, test, lambda mode: Push(), set_task, 8)
