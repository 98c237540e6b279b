"""Ranks of a training that torchrun has started, which sum by torch.distributed."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from metarl.errors import RankLostError
from metarl.launched import is_first, is_launched, restarts
from metarl.ranks import ALONE, Ranks
from metarl_envs.errors import UserError, one_line
from metarl_envs.parallel import end_with_parent

_MEETING_S = 120.0
"""Seconds that ranks wait for one another at the start."""
_WAITING = timedelta(hours=6)
"""Time that ranks wait for the slowest one: an iteration, an evaluation, or a checkpoint."""


class TorchRanks(Ranks):
    """One of several processes; sums on the device of what it is given, by gloo on a CPU and NCCL on a GPU.

    Args:
        store: Store that all ranks see.
        rank: Index of this process.
        size: Number of processes.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self._store = store
        if torch.cuda.is_available() and self.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(self.local_rank)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WAITING)

    def sum(self, *values: Tensor) -> tuple[Tensor, ...]:
        """See `Ranks`.

        Raises:
            RankLostError: If another rank has ended.
        """
        flat = torch.cat([value.detach().flatten() for value in values])
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise RankLostError(f"another rank has ended: {one_line(error)}") from error
        parts = torch.split(flat, [value.numel() for value in values])
        return tuple(part.view(value.shape) for part, value in zip(parts, values, strict=True))

    def largest(self, value: float) -> float:
        """See `Ranks`.

        Raises:
            RankLostError: If another rank has ended.
        """
        own = torch.zeros(self.size, dtype=torch.float64)
        own[self.rank] = value
        return float(self.sum(own)[0].max())

    def is_first(self, what: str) -> bool:
        """Returns true to the first rank that asks; false if it is not known, as the ranks' store is gone."""
        try:
            return bool(self._store.add(what, 1) == 1)
        except RuntimeError:
            return False


_joined: Ranks | None = None
"""What `join` has returned; a process joins once."""


def join() -> Ranks:
    """Meets the other ranks that torchrun has started; returns `ALONE` in a process that it has not.

    From then on the process ends soon after its launcher, however that ends.

    Raises:
        UserError: If the ranks do not find each other.
    """
    global _joined
    if not is_launched() or os.environ.get("WORLD_SIZE") == "1":
        return ALONE
    if _joined is None:
        end_with_parent(os.getppid())
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        try:
            store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(seconds=_MEETING_S))))
            # the store outlives processes that are started again, and with it where the earlier ones could be reached
            _joined = TorchRanks(PrefixStore(f"attempt {restarts()}", store), rank, size)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"the ranks did not find each other at {address} (MASTER_ADDR:MASTER_PORT): {one_line(error)}"
            ) from error
    return _joined


def speaks() -> bool:
    """Returns true in the process that reports a failure: the first of the ranks to fail, or rank 0 before they met."""
    if isinstance(_joined, TorchRanks):
        return _joined.is_first("failed")
    return is_first()
