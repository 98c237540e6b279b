"""Who demonstrates: Meta-World's scripted experts, and in point navigation whoever goes straight to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import gymnasium as gym
import numpy as np

from metarl_envs import registry
from metarl_envs.core import Expert, FloatArray, Task, TaskDistribution
from metarl_envs.errors import UserError, unknown

SPLITS = ("train", "test", "both")
"""Splits of a distribution whose tasks can be shown."""

BENCHMARKS = ("ML10", "ML25", "ML45")
"""Names that stand for several classes of Meta-World."""
NAVIGATION = "navigation"


@dataclass(frozen=True)
class Show:
    """What is to be demonstrated, by whom."""

    family: str
    """Family of the tasks, see `Demonstrations`."""
    tasks: tuple[Task, ...]
    """Tasks to show, those of a class one after the other."""
    hidden: TaskDistribution
    """Distribution whose observations are recorded: they hide the goals."""
    watched: TaskDistribution
    """Distribution whose observations the expert sees."""
    act: Expert
    """The expert."""

    @property
    def observation_space(self) -> gym.spaces.Box:
        """Space of what is recorded."""
        return self.hidden.observation_space

    @property
    def action_space(self) -> gym.spaces.Box:
        """Space of the actions."""
        assert isinstance(self.hidden.action_space, gym.spaces.Box)
        return self.hidden.action_space


def choose_show(names: Sequence[str], goals: int, split: str, horizon: int | None, goal_seed: int) -> Show:
    """Chooses tasks and their expert.

    Args:
        names: Classes of Meta-World, such as "reach-v3", or benchmarks of several; or "navigation" alone.
        goals: Number of goals of each class, of each split: the first ones, or all if there are fewer.
        split: One of `SPLITS`, whose goals are shown; of a class of Meta-World they are those of ML1.
        horizon: Length of an episode in steps; None is the family's usual one.
        goal_seed: Seed that the goals are drawn from, as in the tasks of a configuration.

    Raises:
        UserError: If a name is unknown or has no expert, or the families are mixed.
    """
    options: dict[str, Any] = {"seed": goal_seed} | ({} if horizon is None else {"horizon": horizon})
    if not names:
        raise UserError("name at least one class or benchmark to show, such as reach-v3 or ML10")
    if NAVIGATION in names:
        if set(names) != {NAVIGATION}:
            raise UserError("navigation and Meta-World have other spaces: give each a dataset of its own")
        distribution = registry.make(NAVIGATION, **options)
        return Show(NAVIGATION, _first([distribution], goals, split), distribution, distribution, _go_straight)
    from metarl_envs.metaworld.expert import Experts  # takes seconds to import

    hidden = [_metaworld(name, options) for name in dict.fromkeys(names)]
    watched = _metaworld(names[0], options | {"goal_visible": True})
    return Show("metaworld", _first(hidden, goals, split), hidden[0], watched, Experts().act)


def _metaworld(name: str, options: dict[str, Any]) -> TaskDistribution:
    from metarl_envs.metaworld import TASK_NAMES

    if name in BENCHMARKS:
        return registry.make(name, **options)
    if name in TASK_NAMES:
        return registry.make("ML1", task=name, **options)
    if name in registry.registered():
        able = ", ".join((*BENCHMARKS, NAVIGATION))
        raise UserError(f"nobody can demonstrate {name}: there are experts for {able} and the classes of Meta-World")
    raise unknown("class or benchmark", name, [*TASK_NAMES, *BENCHMARKS, NAVIGATION])


def _first(distributions: Sequence[TaskDistribution], goals: int, split: str) -> tuple[Task, ...]:
    """Takes the first tasks of each class and split, class by class."""
    taken: dict[str, dict[Task, None]] = {}
    for distribution in distributions:
        splits = {"train": distribution.train_tasks, "test": distribution.test_tasks}
        for tasks in splits.values() if split == "both" else [splits[split]]:
            for name in dict.fromkeys(task.name for task in tasks):
                first = islice((task for task in tasks if task.name == name), goals)
                taken.setdefault(name, {}).update(dict.fromkeys(first))
    return tuple(task for tasks in taken.values() for task in tasks)


def _go_straight(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
    """Moves points towards their goals, as far along each axis as a step allows."""
    # a = goal - x, which the environment clips to [-0.1, 0.1]: the optimal return, see `optimal_return`. Not clipped
    # here, as the family's own expert does: far from the goal noise then leaves an action at its bound.
    return np.stack([task.parameters for task in tasks]) - observations
