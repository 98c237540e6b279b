"""Demonstrations: episodes of somebody who can do it, each of a known task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import gymnasium as gym
import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError, unknown

FRAME_SIZE = 64
"""Width and height of the frames of a demonstration, in pixels."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode, from a reset to its end."""

    task: Task
    """Task that is shown; its name is the class. Without parameters where the goal is unknown."""
    observations: Float32[np.ndarray, "steps_and_one obs"]
    """Observation before each action and after the last one, in the environment's units."""
    actions: Shaped[np.ndarray, "steps *action"]
    """Actions as they were played, in the environment's units: float32 `(step, action)`, or int64 `(step,)` where
    actions are discrete."""
    rewards: Float32[np.ndarray, "steps"] | None = None
    """Reward of each step; None where nobody knows it."""
    success: bool | None = None
    """True if the task was solved at any step; None where nobody knows."""
    frames: UInt8[np.ndarray, "steps_and_one camera 64 64 3"] | None = None
    """Picture of each observation from each camera, first row on top; None if there are none."""

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.actions)

    @property
    def total_reward(self) -> float | None:
        """Undiscounted return; None where rewards are unknown."""
        return None if self.rewards is None else float(self.rewards.sum(dtype=np.float64))


class Demonstrations(Sequence[Demonstration]):
    """Demonstrations of one family of tasks, in the order in which they were recorded.

    Args:
        episodes: The demonstrations, at least one.
        observation_space: Space of a single observation.
        action_space: Space of a single action.
        name: Name of the dataset, such as "ml45-v0".
        family: Family of the tasks, "metaworld" or "navigation"; "" if it is none that can be simulated here.
        cameras: Names of the cameras, in the order of the frames; empty without frames.

    Raises:
        UserError: If there is none.
    """

    def __init__(
        self,
        episodes: Iterable[Demonstration],
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        *,
        name: str,
        family: str = "",
        cameras: Sequence[str] = (),
    ) -> None:
        self._episodes = tuple(episodes)
        if not self._episodes:
            raise UserError(f"{name} has no demonstrations left")
        self.observation_space, self.action_space = observation_space, action_space
        self.name, self.family, self.cameras = name, family, tuple(cameras)

    def __len__(self) -> int:
        return len(self._episodes)

    @overload
    def __getitem__(self, index: int) -> Demonstration: ...
    @overload
    def __getitem__(self, index: slice) -> Demonstrations: ...
    def __getitem__(self, index: int | slice) -> Demonstration | Demonstrations:
        if isinstance(index, slice):
            return self._with(self._episodes[index])
        return self._episodes[index]

    def __iter__(self) -> Iterator[Demonstration]:
        return iter(self._episodes)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({each.task.name for each in self}))

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that are shown, each once, in the order of their first demonstrations."""
        return tuple(dict.fromkeys(each.task for each in self))

    def of_class(self, name: str) -> Demonstrations:
        """Returns the demonstrations of a class.

        Raises:
            UserError: If there is none.
        """
        return self.of_classes([name])

    def of_classes(self, names: Sequence[str]) -> Demonstrations:
        """Returns the demonstrations of some classes.

        Raises:
            UserError: If there is none of one of them.
        """
        for name in names:
            if name not in self.classes:
                raise unknown(f"class in {self.name}:", name, self.classes)
        return self.where(lambda each: each.task.name in names)

    def of_tasks(self, tasks: Iterable[Task]) -> Demonstrations:
        """Returns the demonstrations of some tasks, such as the held-out ones of a distribution.

        Raises:
            UserError: If there is none of any of them.
        """
        wanted = frozenset(tasks)
        return self.where(lambda each: each.task in wanted)

    def where(self, keep: Callable[[Demonstration], bool]) -> Demonstrations:
        """Returns the demonstrations that a function returns true for.

        Raises:
            UserError: If it returns true for none.
        """
        return self._with(each for each in self if keep(each))

    def check_counts(self, count: int) -> None:
        """Checks that there are enough demonstrations of each class.

        Args:
            count: Number of demonstrations needed of each.

        Raises:
            UserError: If a class has fewer.
        """
        for name, found in sorted(Counter(each.task.name for each in self).items()):
            if found < count:
                raise UserError(f"{self.name} has {found} demonstrations of {name}: {count} are needed of each class")

    def check_spaces(self, distribution: TaskDistribution) -> None:
        """Checks that observations and actions are those of a family of tasks, in shape and bounds.

        Args:
            distribution: The family, as it is to be learned: with its goals hidden, for example.

        Raises:
            UserError: If they are not.
        """
        pairs = {
            "observations": (self.observation_space, distribution.observation_space),
            "actions": (self.action_space, distribution.action_space),
        }
        for what, (ours, theirs) in pairs.items():
            difference = _difference(ours, theirs)
            if difference is not None:
                raise UserError(f"{self.name} has other {what} than {distribution.name}: {difference}")

    def _with(self, episodes: Iterable[Demonstration]) -> Demonstrations:
        return Demonstrations(
            episodes,
            self.observation_space,
            self.action_space,
            name=self.name,
            family=self.family,
            cameras=self.cameras,
        )


def _difference(ours: gym.Space[Any], theirs: gym.Space[Any]) -> str | None:
    """Returns the first difference between two spaces, but for their precision; None if there is none."""
    if type(ours) is not type(theirs) or ours.shape != theirs.shape:
        return f"{_brief(ours)}, not {_brief(theirs)}"
    if isinstance(ours, gym.spaces.Box) and isinstance(theirs, gym.spaces.Box):
        for bound, left, right in (("low", ours.low, theirs.low), ("high", ours.high, theirs.high)):
            differ = np.flatnonzero(~np.isclose(left.ravel(), right.ravel(), rtol=1e-5, atol=1e-6))
            if len(differ):
                index = differ[0]
                values = f"{left.ravel()[index]:z.4g}, not {right.ravel()[index]:z.4g}"
                return f"their space's {bound} bound of element {index} is {values}"
        return None
    return None if ours == theirs else f"{ours}, not {theirs}"


def _brief(space: gym.Space[Any]) -> str:
    return f"{type(space).__name__} of shape {space.shape}"
