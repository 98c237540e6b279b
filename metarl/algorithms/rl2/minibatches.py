"""Minibatches of a whole meta-batch, which all ranks draw alike and of which each takes the rows that it has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from metarl.ranks import Ranks


class Minibatch(NamedTuple):
    """A minibatch, as one rank sees it."""

    rows: Int[Tensor, "row"]
    """Indices of the rows that this rank has, among its own; possibly none."""
    steps: int
    """Number of steps in the rows of all ranks."""


class Minibatches:
    """Draws minibatches of rows, which are trials or chunks of them, in the order of the whole meta-batch's tasks.

    Args:
        lengths: Number of steps of each trial of this rank; all ranks have equally many trials.
        chunk: Steps of a row: trials are cut into rows of this length, the last of each may be shorter.
        ranks: Ranks that learn together.
    """

    def __init__(self, lengths: Int[Tensor, "task"], chunk: int, ranks: Ranks) -> None:
        self._device = lengths.device
        trials = lengths.new_zeros(len(lengths) * ranks.size)
        trials[ranks.rank :: ranks.size] = lengths  # zero for those of other ranks, which the sum fills in
        trials = ranks.sum(trials)[0].cpu()
        # A trial of n steps has ceil(n / chunk) rows; row k of it has min(chunk, n - k chunk) steps.
        rows = -(-trials // chunk)
        trial = torch.arange(len(trials)).repeat_interleave(rows)
        k = torch.arange(len(trial)) - (rows.cumsum(0) - rows)[trial]
        self._steps = (trials[trial] - k * chunk).clamp(max=chunk)
        here = trial % ranks.size == ranks.rank
        self._own = torch.where(here, here.cumsum(0) - 1, -1)
        """Index of each row of the meta-batch among this rank's own; -1 for another rank's."""

    def draw(self, number: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """Splits the rows into minibatches, in an order drawn anew.

        Args:
            number: Number of minibatches; fewer if there are fewer rows.
            generator: Random numbers that the order is drawn with, the same on all ranks.
        """
        shuffled = torch.randperm(len(self._own), generator=generator)
        for chosen in shuffled.tensor_split(min(number, len(shuffled))):
            own = self._own[chosen]
            yield Minibatch(own[own >= 0].to(self._device), int(self._steps[chosen].sum()))
