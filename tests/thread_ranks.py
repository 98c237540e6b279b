"""Ranks as threads of one process, which sum what real ranks sum: cheap, and with nothing to start."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

from metarl.ranks import ALONE, Ranks

_Result = TypeVar("_Result")
_PATIENCE = 60.0
"""Seconds after which a rank that waits for another one fails the test."""


class ThreadRanks(Ranks):
    """One of several threads that act as ranks."""

    def __init__(self, rank: int, size: int, barrier: Barrier, table: dict[int, tuple[Tensor, ...]]) -> None:
        self.rank = rank
        self.size = size
        self._barrier = barrier
        self._table = table

    def sum(self, *values: Tensor) -> tuple[Tensor, ...]:
        self._table[self.rank] = tuple(value.detach().clone() for value in values)
        self._barrier.wait(_PATIENCE)
        # in the order of the ranks on each of them, so that all get the same bits
        sums = tuple(
            torch.stack(parts).sum(0) for parts in zip(*(self._table[i] for i in range(self.size)), strict=True)
        )
        self._barrier.wait(_PATIENCE)
        return sums

    def largest(self, value: float) -> float:
        own = torch.zeros(self.size, dtype=torch.float64)
        own[self.rank] = value
        return float(self.sum(own)[0].max())


def on_ranks(size: int, play: Callable[[Ranks], _Result]) -> list[_Result]:
    """Calls `play` on each of `size` ranks at once and returns the results by rank; one rank is `ALONE`."""
    if size == 1:
        return [play(ALONE)]
    barrier, table = Barrier(size), dict[int, tuple[Tensor, ...]]()

    def run(rank: int) -> _Result:
        try:
            return play(ThreadRanks(rank, size, barrier, table))
        except BaseException:
            barrier.abort()  # the others must not wait for this rank
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))
