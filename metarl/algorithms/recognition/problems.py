"""Few-shot problems: N classes, K demonstrations of each, and queries, drawn from a library of demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from metarl.algorithms.recognition.config import RecognitionConfig
from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl_envs.errors import UserError


class Problems(NamedTuple):
    """Few-shot problems, as indices of a library's episodes."""

    support: Int[Tensor, "task way shot"]
    """Examples of each class."""
    queries: Int[Tensor, "task way query"]
    """Queries of each class, which show other goals than the examples."""


class Library:
    """Demonstrations of some classes as one tensor, from which problems are drawn.

    Args:
        demonstrations: The demonstrations.
        config: What of them is looked at.
        device: Where the tensor goes.

    Raises:
        UserError: If pictures are to be looked at and a demonstration has none.
    """

    def __init__(self, demonstrations: Demonstrations, config: RecognitionConfig, device: torch.device) -> None:
        self.demonstrations = demonstrations
        self.classes = demonstrations.classes
        looked_at = [_features(each, config) for each in demonstrations]
        self.lengths = [len(each) for each in looked_at]
        """Number of steps, or of frames, of each episode that are looked at."""
        longest = max(self.lengths)
        self.episodes = torch.from_numpy(np.stack([_padded(each, longest) for each in looked_at])).to(device)
        """All episodes, `(episode, time, feature + 1)`, the last feature being 1 up to the end and 0 beyond; or frames
        `(episode, frame, channel, height, width)`."""
        self._table, self._counts = _goal_table(demonstrations)
        self.labels = torch.tensor([self.classes.index(each.task.name) for each in demonstrations])
        """Index of the class of each episode."""
        rows = [(row, goal) for row, goals in enumerate(self._table) for goal in goals if goal[0] >= 0]
        self.goal_classes = tuple(self.classes[row] for row, _ in rows)
        """Class of each goal."""
        self.goal_of = torch.empty(len(demonstrations), dtype=torch.int64)
        """Index of the goal of each episode."""
        for index, (_, goal) in enumerate(rows):
            self.goal_of[goal[goal >= 0]] = index

    def check(self, ways: int, goals: int, which: str) -> None:
        """Checks that problems can be drawn.

        Args:
            ways: Number of classes of a problem.
            goals: Number of different goals of each: examples and queries.
            which: "training" or "held-out".

        Raises:
            UserError: If there are too few classes or goals.
        """
        name = self.demonstrations.name
        if ways > len(self.classes):
            raise UserError(f"ways: {ways} classes are more than the {len(self.classes)} {which} ones of {name}")
        few = (self._counts > 0).sum(1)
        if goals > int(few.min()):
            raise UserError(
                f"shots and queries: {goals} demonstrations of different goals are needed of each {which} class, but"
                f" {name} has {int(few.min())} of {self.classes[int(few.argmin())]}"
            )

    def draw(self, tasks: int, ways: int, shots: int, queries: int, generator: torch.Generator) -> Problems:
        """Draws problems: classes, then goals of each, then one demonstration of each goal, all without replacement.

        Args:
            tasks: Number of problems.
            ways: Number of classes.
            shots: Number of examples of each.
            queries: Number of queries of each.
            generator: The source of randomness.
        """
        # The first entries of a random order are a draw without replacement.
        classes = torch.rand(tasks, len(self.classes), generator=generator).argsort(-1)[:, :ways]
        counts = self._counts[classes]
        order = torch.rand(counts.shape, generator=generator).masked_fill(counts == 0, torch.inf).argsort(-1)
        goals = order[..., : shots + queries]
        counts = counts.gather(-1, goals)
        episode = (torch.rand(goals.shape, generator=generator, dtype=torch.float64) * counts).long()
        drawn = self._table[classes.unsqueeze(-1), goals, episode]
        return Problems(drawn[..., :shots], drawn[..., shots:])


def _features(episode: Demonstration, config: RecognitionConfig) -> npt.NDArray[Any]:
    """Returns what is looked at of one episode: steps of states and actions, or frames."""
    steps = min(len(episode), config.steps or len(episode))
    if config.frames is not None:
        if episode.frames is None:
            raise UserError("algorithm.frames: the demonstrations have no frames; collect them with frames")
        at = np.linspace(0, steps, config.frames.count).round().astype(int)
        # (frame, camera, height, width, 3) -> (frame, camera 3, height, width)
        moved = np.moveaxis(episode.frames[at], -1, 2)
        return _shrunk(moved.reshape(len(at), -1, *moved.shape[-2:]), config.frames.size)
    at = np.arange(0, steps, config.every)
    actions = episode.actions[at].reshape(len(at), -1)
    seen = [episode.observations[at], actions, np.ones((len(at), 1))]
    return np.concatenate(seen, axis=1, dtype=np.float32)


def _shrunk(pictures: UInt8[np.ndarray, "*n 64 64"], size: int) -> UInt8[np.ndarray, "*n size size"]:
    """Averages pictures down to a smaller side."""
    block = pictures.shape[-1] // size
    blocks = pictures.reshape(*pictures.shape[:-2], size, block, size, block)
    shrunk: npt.NDArray[np.uint8] = blocks.mean((-3, -1)).round().astype(np.uint8)
    return shrunk


def _padded(features: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    return np.concatenate([features, np.zeros((length - len(features), *features.shape[1:]), features.dtype)])


def _goal_table(
    demonstrations: Demonstrations,
) -> tuple[Int[Tensor, "class goal episode"], Int[Tensor, "class goal"]]:
    """Returns the indices of the episodes of each goal of each class, padded with -1, and how many they are.

    Where goals are unknown, each episode counts as one of its own.
    """
    by_class: dict[str, dict[object, list[int]]] = {name: {} for name in demonstrations.classes}
    for index, each in enumerate(demonstrations):
        goal = each.task.id if each.task.parameters.size else index
        by_class[each.task.name].setdefault(goal, []).append(index)
    groups: Sequence[list[list[int]]] = [list(goals.values()) for goals in by_class.values()]
    most = max(map(len, groups)), max(len(goal) for goals in groups for goal in goals)
    table = torch.full((len(groups), *most), -1)
    for row, goals in enumerate(groups):
        for column, episodes in enumerate(goals):
            table[row, column, : len(episodes)] = torch.tensor(episodes)
    return table, (table >= 0).sum(-1)
