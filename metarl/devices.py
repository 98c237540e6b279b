"""Devices, clocks, threads and memory of PyTorch."""

import ctypes
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import AfterValidator
from pydantic_core import PydanticKnownError

from metarl.ranks import Ranks
from metarl_envs.errors import UserError


def _check_name(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9]\d{0,2}))?", name):
        raise PydanticKnownError("literal_error", {"expected": "'auto', 'cpu', 'cuda' or 'cuda:N'"})
    return name


DeviceName = Annotated[str, AfterValidator(_check_name)]
"""Name of a device in a configuration: auto, cpu, cuda or cuda:N."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of two options of `mallopt` in glibc's malloc.h."""


def resolve_device(name: DeviceName) -> torch.device:
    """Returns the device that a configuration names; "auto" is the first CUDA device, or the CPU if there is none.

    Raises:
        UserError: If `name` is "cuda" or "cuda:N" and there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    if count == 0:
        raise UserError(f"device: '{name}' was asked for, but PyTorch finds no CUDA device; use 'cpu' or 'auto'")
    _, _, index = name.partition(":")
    if index and int(index) >= count:
        found = ", ".join(f"'cuda:{number}'" for number in range(count))
        raise UserError(f"device: '{name}' was asked for, but PyTorch finds {found} only; use one that is there")
    return torch.device("cuda" if name == "auto" else name)


def own_device(name: DeviceName, ranks: Ranks) -> torch.device:
    """Returns the device of one of several processes: on a machine with GPUs, each has its own.

    Raises:
        UserError: If the machine has fewer GPUs than processes, or see `resolve_device`.
    """
    device = resolve_device(name)
    if device.type != "cuda" or ranks.size == 1:
        return device
    if ":" in name:
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
