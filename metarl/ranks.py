"""Processes that train one policy together, each on its share of every meta-batch (data parallelism).

A quantity over the whole meta-batch is a sum of the ranks' own sums, so N ranks take the step that one process takes:
what differs is the order of the additions. Every rank must ask for the same sums in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

_Row = TypeVar("_Row")


class Ranks:
    """Ranks of a training, as one of them sees them; this class itself is a training by one process alone."""

    rank: int = 0
    """Index of this process, from 0."""
    size: int = 1
    """Number of processes."""

    @property
    def leads(self) -> bool:
        """True for the rank that writes the run's directory and the terminal."""
        return self.rank == 0

    def share(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Returns this rank's part of what all of them divide: every `size`-th row, from row `rank` on."""
        return rows[self.rank :: self.size]

    def sum(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Sums over ranks, without a gradient; all ranks get the same numbers, bit for bit.

        Args:
            *values: Tensors of one dtype, whose shapes are the same on all ranks; they go round in one message.
        """
        return values

    def largest(self, value: float) -> float:
        """Largest of the ranks' values: 1.0 where any rank gave 1.0, for example."""
        return value


ALONE = Ranks()
"""The only rank of a training by one process."""
