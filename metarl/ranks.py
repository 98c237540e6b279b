"""Processes that train one policy together, each on its share of every meta-batch (data parallelism).

A quantity over the whole meta-batch is a sum of the ranks' own sums, so N ranks take the step that one process takes:
what differs is the order of the additions. Every rank must ask for the same sums in the same order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from metarl_envs.cores import available_cores

_Row = TypeVar("_Row")


class Ranks:
    """Ranks of a training, as one of them sees them; this class itself is a training by one process alone."""

    rank: int = 0
    """Index of this process, from 0."""
    size: int = 1
    """Number of processes."""
    local_rank: int = 0
    """Index of this process among those of its machine."""
    local_size: int = 1
    """Number of processes on this machine."""

    @property
    def cores(self) -> int:
        """Number of cores that are this process's share of its machine's, at least 1."""
        return max(1, available_cores() // self.local_size)

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


def gather(ranks: Ranks, data: bytes) -> list[bytes]:
    """Returns the bytes that each rank gives, by rank."""
    lengths = torch.zeros(ranks.size, dtype=torch.int64)
    lengths[ranks.rank] = len(data)
    (lengths,) = ranks.sum(lengths)
    # each rank fills its own row, and all others add zeros to it
    rows = torch.zeros(ranks.size, int(lengths.max()), dtype=torch.int64)
    rows[ranks.rank, : len(data)] = torch.tensor(list(data), dtype=torch.int64)
    (rows,) = ranks.sum(rows)
    return [bytes(row[:length].tolist()) for row, length in zip(rows, lengths.tolist(), strict=True)]


def from_leader(ranks: Ranks, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the leading rank's tensors; those of the others tell names, shapes, dtypes and devices."""
    shared = {}
    for name, value in state.items():
        # whole numbers and truth values go round as int64
        sent = value if value.is_floating_point() else value.long()
        (received,) = ranks.sum(sent if ranks.leads else torch.zeros_like(sent))
        shared[name] = received.to(value.dtype)
    return shared


def difference(ranks: Ranks, facts: Mapping[str, str]) -> str | None:
    """Returns the name of a fact that is not the same on all ranks; None if there is none."""

    def digests(texts: Sequence[str]) -> Tensor:
        # 32 bits of a hash of each: a sum over up to 2^21 ranks is exact in float64
        numbers = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in texts]
        return torch.tensor(numbers, dtype=torch.float64)

    def differ(texts: Sequence[str]) -> list[bool]:
        own = digests(texts)
        (total,) = ranks.sum(own)
        # all equal: sum = N own on every rank; else at least one rank finds another sum
        (found,) = ranks.sum((total != ranks.size * own).double())
        return (found > 0).tolist()

    names = list(facts)
    if differ(["\n".join(names)])[0]:
        return "fields"
    return next((name for name, other in zip(names, differ(list(facts.values())), strict=True) if other), None)
