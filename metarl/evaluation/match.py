"""What controls are held against: an evaluation, with everything that it takes to play its tasks again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metarl.acting.agents import ActionChoice, Agent, TrainedAgent
from metarl.baselines.gail import GAIL_STEPS
from metarl.cache import relevant_versions
from metarl.config.tasks import TasksConfig
from metarl.evaluation.behaviour import behaviour
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.result import Evaluation
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv


@dataclass(frozen=True)
class Match:
    """Evaluation that controls are held against: they play the same tasks in the same way."""

    agent: TrainedAgent
    """Policy that was evaluated."""
    config: TasksConfig
    """Settings that the distribution was made of."""
    distribution: TaskDistribution
    """Family of the tasks."""
    tasks: tuple[Task, ...]
    """Tasks played."""
    adaptation_episodes: tuple[int, ...]
    """Numbers k of adaptation episodes."""
    episodes: int
    """Number of evaluation episodes per task and k."""
    seed: int
    """Seed of the evaluation."""
    num_envs: int
    """Largest number of tasks played at a time."""
    actions: ActionChoice = "likeliest"
    """Choice of the policy's actions in evaluation episodes."""
    oracle_steps: int = 1_000_000
    """Environment steps that the oracle trains for."""
    gail_steps: int = GAIL_STEPS
    """Environment steps that GAIL plays on each task for each number of demonstrations."""

    def play(self, agent: Agent, ks: Sequence[int] = (0,), **options: Any) -> Evaluation:
        """Plays an agent; `options` are those of `evaluate`, `actions` only if it is to act as the policy does."""
        return evaluate(
            agent,
            self.distribution,
            self.tasks,
            adaptation_episodes=ks,
            episodes=self.episodes,
            seed=self.seed,
            num_envs=self.num_envs,
            **options,
        )

    @cached_property
    def visible(self) -> TaskDistribution:
        """The family with its tasks visible in the observations.

        Raises:
            UserError: If they cannot be shown.
        """
        shown = self.config.model_copy(update={"goal_visible": True}).build()
        shown.workers = self.distribution.workers
        return shown

    def make_visible_env(self) -> TaskVectorEnv:
        """Makes environments with visible tasks for `play`."""
        return self.visible.make_env(min(self.num_envs, len(self.tasks)))

    def key(self) -> dict[str, Any]:
        """Returns what decides the result of an agent that owes nothing to the policy, as JSON types."""
        return {
            "distribution": self.distribution.name,
            "horizon": self.distribution.horizon,
            "behaviour": behaviour(self.distribution, self.tasks),
            "episodes": self.episodes,
            "seed": self.seed,
            "versions": relevant_versions(),
        }
