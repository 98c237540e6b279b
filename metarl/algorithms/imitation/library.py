"""Demonstrations as tensors, from which training draws what is shown and what is cloned."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from metarl.acting.actions import to_vectors
from metarl.algorithms.imitation.config import ImitationConfig
from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl_envs.errors import UserError

_log = logging.getLogger(__name__)


class Steps(NamedTuple):
    """Steps of demonstrations, with any leading axes."""

    observations: Float[Tensor, "*b obs"]
    """Observation before each action, in the environment's units."""
    actions: Float[Tensor, "*b action"]
    """Action, in units of the action space."""


class Lesson(NamedTuple):
    """What training shows of each task, and what it asks for."""

    shown: Steps
    """Demonstrations, with the axes `task shot look`."""
    other: Steps
    """Another demonstration, with the axes `task 1 look`."""
    cloned: Steps
    """Pieces of the other demonstration, with the axes `task piece step`."""


class Library:
    """Demonstrations of training tasks as tensors.

    Args:
        demonstrations: The demonstrations.
        config: Settings.
        space: Action space of a single environment.
        device: Where the tensors go.

    Raises:
        UserError: If fewer tasks than the meta-batch have a demonstration more than are to be shown.
    """

    def __init__(
        self, demonstrations: Demonstrations, config: ImitationConfig, space: gym.spaces.Box, device: torch.device
    ) -> None:
        self._config = config
        steps = [to_steps(each, space) for each in demonstrations]
        self.steps = Steps(
            *(pad_sequence(list(each), batch_first=True).to(device) for each in zip(*steps, strict=True))
        )
        """All steps, `(episode, time)`, with zeros after the end of an episode."""
        self.lengths = torch.tensor([len(each) for each in demonstrations])
        """Number of steps of each episode."""
        by_task: dict[object, list[int]] = {task: [] for task in demonstrations.tasks}
        for index, each in enumerate(demonstrations):
            by_task[each.task].append(index)
        needed = max(config.shots) + 1
        groups = [group for group in by_task.values() if len(group) >= needed]
        if len(groups) < config.meta_batch:
            raise UserError(
                f"algorithm.meta_batch: {needed} demonstrations are needed of each of {config.meta_batch} training"
                f" tasks, but {demonstrations.name} has so many of {len(groups)} only"
            )
        if len(groups) < len(by_task):
            _log.warning(
                "tasks that have fewer than the %d demonstrations needed, and are left out: %d of %d",
                needed,
                len(by_task) - len(groups),
                len(by_task),
            )
        self._counts = torch.tensor(list(map(len, groups)))
        self._table = pad_sequence([torch.tensor(group) for group in groups], batch_first=True, padding_value=-1)
        self.digest = _digest(demonstrations)
        """Hash of all episodes."""

    def draw(self, shots: int, window: int, generator: torch.Generator) -> tuple[Lesson, int]:
        """Draws a lesson: tasks, then demonstrations of each, all without replacement.

        Args:
            shots: Number of demonstrations that are shown.
            window: Steps of each piece that is cloned.
            generator: The source of randomness.

        Returns:
            The lesson, and the number of steps of the demonstrations drawn.
        """
        config = self._config
        tasks = torch.randperm(len(self._counts), generator=generator)[: config.meta_batch]
        counts = self._counts[tasks].unsqueeze(1)
        keys = torch.rand(len(tasks), self._table.shape[1], generator=generator)
        # the first entries of a random order are a draw without replacement; padding comes last
        order = keys.masked_fill(torch.arange(keys.shape[1]) >= counts, torch.inf).argsort(-1)[:, : shots + 1]
        episodes = self._table[tasks].gather(1, order)
        starts = config.shifted_starts * torch.rand(episodes.shape, generator=generator)
        looks = looked_at(self.lengths[episodes], config.looks, starts)
        shown, other = (
            self._take(episodes[:, part], looks[:, part]) for part in (slice(shots), slice(shots, shots + 1))
        )
        pieces = self._pieces(episodes[:, shots], window, generator)
        return Lesson(shown, other, self._take(episodes[:, shots:], pieces)), int(self.lengths[episodes].sum())

    def _pieces(
        self, episodes: Int[Tensor, "task"], window: int, generator: torch.Generator
    ) -> Int[Tensor, "task piece step"]:
        """Draws pieces of episodes; one that would begin before the start, or end after the end, is moved inside."""
        lengths = self.lengths[episodes].unsqueeze(1)
        size = min(window, int(lengths.min()))
        pieces = -(-self._config.queries // size)
        draws = torch.rand(len(episodes), pieces, generator=generator, dtype=torch.float64)
        # first step ~ U{-(w - 1), ..., n - 1}, so that each step is drawn as often as any other, then moved inside
        first = (draws * (lengths + size - 1)).long() - (size - 1)
        first = first.clamp_min(0).minimum(lengths - size)
        return first.unsqueeze(-1) + torch.arange(size)

    def _take(self, episodes: Int[Tensor, "task n"], steps: Int[Tensor, "task m step"]) -> Steps:
        which = episodes.unsqueeze(-1)
        return Steps(*(each[which, steps] for each in self.steps))


def looked_at(
    lengths: Int[Tensor, "*b"], looks: int, starts: Float[Tensor, "*b"] | None = None
) -> Int[Tensor, "*b look"]:
    """Returns the steps of demonstrations that are looked at: evenly spaced, the last one included.

    Args:
        lengths: Number of steps of each demonstration.
        looks: Number of steps to look at.
        starts: Share of each that is left out at its start; None is nothing.
    """
    last = (lengths - 1).double().unsqueeze(-1)
    first = 0.0 * last if starts is None else starts.double().unsqueeze(-1) * last
    share = torch.linspace(0, 1, looks, dtype=torch.float64)
    return (first + (last - first) * share).round().long()


def to_steps(shown: Demonstration, space: gym.spaces.Box) -> Steps:
    """Returns the steps of a demonstration; the observation after the last action is left out."""
    actions = to_vectors(shown.actions, space)
    return Steps(torch.from_numpy(np.array(shown.observations[:-1])), torch.from_numpy(actions))


def look_at(demonstrations: Sequence[Sequence[Steps]], looks: int) -> Steps:
    """Returns what an agent is shown, with the axes `task shot look`.

    Args:
        demonstrations: As many of each task, at least one.
        looks: Number of steps to look at.
    """

    def looked(steps: Tensor) -> Tensor:
        return steps[looked_at(torch.tensor(len(steps)), looks)]

    return Steps(
        *(
            torch.stack([torch.stack([looked(shown[part]) for shown in task]) for task in demonstrations])
            for part in range(len(Steps._fields))
        )
    )


def _digest(demonstrations: Demonstrations) -> int:
    digest = hashlib.sha256()
    for each in demonstrations:
        digest.update(each.task.id.encode() + each.observations.tobytes() + each.actions.tobytes())
    return int.from_bytes(digest.digest()[:7], "big")
