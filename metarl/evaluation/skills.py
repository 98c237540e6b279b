"""Matrix of skills by tasks: the outcome of every skill on every task, and of the ways to choose among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from metarl.algorithms.skills.agent import SkillAgent
from metarl.evaluation.protocol import evaluate
from metarl_envs.core import Task, TaskDistribution


@dataclass(frozen=True, eq=False)
class SkillMatrix:
    """Outcome of one episode of each skill on each task."""

    skills: tuple[str, ...]
    """Name of each skill, a training class."""
    task_names: tuple[str, ...]
    """Name of each task."""
    success: Float[np.ndarray, "skill task"]
    """1 where the task was solved at any step, else 0."""
    returns: Float[np.ndarray, "skill task"]
    """Undiscounted return."""

    @cached_property
    def names(self) -> list[str]:
        """Names of the tasks, each once."""
        return sorted(set(self.task_names))

    def by_name(self) -> Float[np.ndarray, "skill name"]:
        """Success of each skill on the tasks of each name."""
        return np.stack([self.success[:, self._of(name)].mean(1) for name in self.names], axis=1)

    def choices(self) -> dict[str, Float[np.ndarray, "name"]]:
        """Success on the tasks of each name by each way to choose a skill for a task.

        "random" is the mean over skills, "return" takes the skill with the highest return on the task, "single" the
        one skill that solves most tasks of the name, "oracle" any that solves the task.
        """
        chosen = self.success[self.returns.argmax(0), np.arange(len(self.task_names))]
        per_task = {"random": self.success.mean(0), "return": chosen, "oracle": self.success.max(0)}
        result = {
            way: np.array([success[self._of(name)].mean() for name in self.names]) for way, success in per_task.items()
        }
        return result | {"single": self.by_name().max(0)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the matrix as JSON types."""
        return {
            "skills": list(self.skills),
            "names": self.names,
            "success": self.by_name().round(4).tolist(),
            "choices": {way: success.round(4).tolist() for way, success in self.choices().items()},
            "solved_as": self.solved_as(),
        }

    def solved_as(self) -> dict[str, dict[str, int]]:
        """For each name, in how many of its tasks each skill had the highest return."""
        best = self.returns.argmax(0)
        return {
            name: {
                self.skills[skill]: int(count)
                for skill, count in enumerate(np.bincount(best[self._of(name)], minlength=len(self.skills)))
                if count
            }
            for name in self.names
        }

    def _of(self, name: str) -> Bool[np.ndarray, "task"]:
        return np.array([each == name for each in self.task_names])


def skill_matrix(
    agent: SkillAgent, distribution: TaskDistribution, tasks: Sequence[Task], seed: int, num_envs: int = 50
) -> SkillMatrix:
    """Plays an episode of each skill on each task.

    Args:
        agent: Agent whose skills to play.
        distribution: Family of the tasks.
        tasks: Tasks to play.
        seed: Seed of the environments.
        num_envs: Largest number of tasks played at a time.
    """
    outcomes = [
        evaluate(
            agent.with_skill(skill),
            distribution,
            tasks,
            adaptation_episodes=(0,),
            episodes=1,
            seed=seed,
            num_envs=num_envs,
        )
        for skill in agent.skills
    ]
    return SkillMatrix(
        agent.skills,
        tuple(task.name for task in tasks),
        np.stack([each.success[0, :, 0] for each in outcomes]).astype(float),
        np.stack([each.returns[0, :, 0] for each in outcomes]),
    )
