"""Devices, clocks, threads and memory of PyTorch."""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from metarl.ranks import Ranks
from metarl_envs.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of two options of `mallopt` in glibc's malloc.h."""


def resolve_device(name: DeviceName) -> torch.device:
    """Returns the device that a configuration names; "auto" is the first CUDA device, or the CPU if there is none.

    Raises:
        UserError: If `name` is "cuda" and there is no CUDA device.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("device: 'cuda' was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def own_device(name: DeviceName, ranks: Ranks) -> torch.device:
    """Returns the device of one of several processes: on a machine with GPUs, each has its own.

    Raises:
        UserError: If the machine has fewer GPUs than processes, or see `resolve_device`.
    """
    device = resolve_device(name)
    if device.type != "cuda" or ranks.size == 1:
        return device
    if device.index is not None:
        raise UserError(f"device: '{name}' is one GPU, but each of {ranks.size} processes takes its own: use 'cuda'")
    if ranks.local_size > torch.cuda.device_count():
        raise UserError(
            f"device: {ranks.local_size} processes on this machine need a GPU each, but PyTorch finds"
            f" {torch.cuda.device_count()}; start as many processes, or use 'cpu'"
        )
    return torch.device("cuda", ranks.local_rank)


def seconds_now(device: torch.device) -> float:
    """Returns a clock's reading in seconds, after a GPU has finished its queue, which runs asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Sets PyTorch to one thread while a policy acts, since its idle threads spin on cores that the simulator needs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def keep_freed_memory(largest: int) -> None:
    """Makes glibc keep up to 2 GiB of freed tensors' memory and reuse it for new tensors.

    By default glibc returns blocks of megabytes to the system at once, and each new tensor then waits for its pages: an
    update of MAML on point navigation took 1.6 times as long. Without glibc the function does nothing.

    Args:
        largest: Size in bytes, at most 32 MiB, from which on tensors still get pages of their own. Large tensors among
            small ones leave holes, unless the same sizes recur.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, largest)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
