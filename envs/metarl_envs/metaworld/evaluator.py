"""Meta-World's own evaluation of meta-learning agents, unchanged, on the fast engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.evaluation import metalearning_evaluation

from metarl_envs.core import FloatArray, Task
from metarl_envs.metaworld.engine import MetaWorldEngine

META_BATCH = 20
"""Environments of Meta-World's own vectors for this evaluation."""


class EvaluatorResult(NamedTuple):
    """What Meta-World's evaluator reports."""

    success: float
    """Mean over names and rounds of the share of solved episodes."""
    returns: float
    """Mean return of an episode, which ends when the task is solved."""
    success_per_name: dict[str, float]
    """Share of solved episodes of each name."""
    rounds: int
    """Number of rounds, each with other tasks."""


def evaluate_as_metaworld(
    agent: Any,
    engine: MetaWorldEngine,
    tasks: Sequence[Task],
    adaptation_steps: int,
    adaptation_episodes: int,
    episodes: int,
) -> EvaluatorResult:
    """Runs `metaworld.evaluation.metalearning_evaluation` in as many rounds as it takes to play every task.

    Args:
        agent: Agent to evaluate, as `metaworld.evaluation.MetaLearningAgent` describes it.
        engine: Environments, as many as `evaluator_envs` says.
        tasks: Tasks to play.
        adaptation_steps: Number of rounds of episodes and `adapt` in an adaptation.
        adaptation_episodes: Number of episodes in each of these rounds.
        episodes: Evaluation episodes of each name in a round.
    """
    envs = _EvaluatorEnvs(engine, tasks)
    vector = cast("gym.vector.SyncVectorEnv[Any, Any]", envs)  # has all that the evaluator asks for
    success, returns, per_name = metalearning_evaluation(
        agent, vector, envs.rounds, adaptation_steps, adaptation_episodes, episodes
    )
    return EvaluatorResult(success, returns, {name: float(share) for name, share in per_name.items()}, envs.rounds)


def evaluator_envs(tasks: Sequence[Task]) -> int:
    """Returns the number of environments to evaluate in: Meta-World's 20, the same number for each name."""
    names = [task.name for task in tasks]
    classes = len(set(names))
    return classes * min(max(1, META_BATCH // classes), max(map(names.count, set(names))))


class _EvaluatorEnvs:
    """The engine with what Meta-World's evaluator asks of its own vectors of environments.

    Args:
        engine: Environments.
        tasks: Tasks to play; each call of `sample_tasks` takes the next ones of each name.
    """

    def __init__(self, engine: MetaWorldEngine, tasks: Sequence[Task]) -> None:
        groups: dict[str, list[Task]] = {}
        for task in tasks:
            groups.setdefault(task.name, []).append(task)
        self.num_envs = engine.num_envs
        self._each = engine.num_envs // len(groups)
        self.rounds = math.ceil(max(map(len, groups.values())) / self._each)
        self._names = [name for name in groups for _ in range(self._each)]
        self._ahead = [cycle(group) for group in groups.values()]
        self._engine = engine
        self._terminate_on_success = False
        self._returns = np.zeros(self.num_envs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute of each environment."""
        if name == "task_name":
            return tuple(ALL_V3_ENVIRONMENTS[each].__name__ for each in self._names)
        return ({"terminate_on_success": self._terminate_on_success}[name],) * self.num_envs

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a method of each environment."""
        if name == "toggle_terminate_on_success":
            (self._terminate_on_success,) = arguments
        elif name == "sample_tasks":
            self._engine.set_tasks([task for ahead in self._ahead for task in islice(ahead, self._each)])
        else:
            assert name == "toggle_sample_tasks_on_reset", name  # never sampled there

    def reset(self) -> tuple[FloatArray, dict[str, Any]]:
        """Begins an episode in every environment."""
        self._returns[:] = 0.0
        return self._engine.reset()

    def step(
        self, actions: npt.NDArray[Any]
    ) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]]:
        """Makes a step; where an episode ends, the observation is the next one's first, as with SAME_STEP autoreset."""
        observations, rewards, terminated, truncated, infos = self._engine.step(actions)
        self._returns += rewards
        if self._terminate_on_success:
            terminated = infos["success"] & ~truncated
            observations = self._engine.restart(terminated)
        ended = terminated | truncated
        if ended.any():
            infos["final_info"] = {"episode": {"r": self._returns.copy()}, "success": infos["success"]}
            self._returns[ended] = 0.0
        return observations, rewards, terminated, truncated, infos
