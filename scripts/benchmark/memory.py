"""How much memory the engine takes, in a process that does nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from metarl_envs.core import Task
from benchmark.contestants import Actions, EngineContestant


def engine_memory(tasks: Sequence[Task], actions: Actions, threads: int) -> int | None:
    """Peak memory in bytes, the interpreter included, of a process in which the engine plays an episode.

    None where the system does not say; Linux does.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_play, tasks, actions, threads).result()


def _play(tasks: Sequence[Task], actions: Actions, threads: int) -> int | None:
    contestant = EngineContestant(tasks, actions, threads)
    try:
        contestant.play()
    finally:
        contestant.close()
    return peak_memory()


def peak_memory() -> int | None:
    """Most bytes that this process has taken; `resource.getrusage` would also count the one that it was forked from."""
    status = ""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return None if found is None else 1024 * int(found[1])
