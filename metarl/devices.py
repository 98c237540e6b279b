"""Where tensors live."""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from metarl_envs.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of options in glibc's malloc.h."""


def resolve_device(name: DeviceName) -> torch.device:
    """The device that a configuration asks for; "auto" is the first CUDA device, or the CPU where there is none.

    Raises:
        UserError: If "cuda" is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("device: 'cuda' was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def seconds_now(device: torch.device) -> float:
    """A clock in seconds, read once a GPU has done what it was asked to, which it would otherwise do meanwhile."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Leaves the cores to the simulator while a policy acts: PyTorch's idle threads would spin on them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def keep_freed_memory(largest: int) -> None:
    """Has glibc keep the memory of tensors that are freed, up to 2 GiB, for those to come.

    By default it returns blocks of megabytes to the system at once, and each new tensor then waits for its pages: an
    update of MAML on point navigation took 1.6 times as long. Without glibc nothing changes.

    Args:
        largest: Bytes from which on tensors still get pages of their own, 32 MiB at most. Large ones among small ones
            leave holes, unless they come in the same sizes again and again.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, largest)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
