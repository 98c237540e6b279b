"""How much memory the engine takes, in a process that does nothing else."""

from __future__ import annotations

import re
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from envs.metaworld.contestants import EngineContestant
from envs.parallel import available_cores
from metarl.benchmark.simulation import Comparison


def engine_memory(comparison: Comparison) -> int | None:
    """Peak memory in bytes, the interpreter included, of a process in which the engine plays an episode on all cores.

    None where the system does not say (it is Linux that does).
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_play, comparison).result()


def _play(comparison: Comparison) -> int | None:
    contestant = EngineContestant(comparison.tasks, comparison.actions, available_cores())
    try:
        contestant.play()
    finally:
        contestant.close()
    return _peak()


def _peak() -> int | None:
    """Of this process. `resource.getrusage` would also count the process that this one was forked from."""
    status = ""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return found and 1024 * int(found[1])
