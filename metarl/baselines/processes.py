"""Jobs that are spread over processes, one per core."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import Any, TypeVar

from metarl.config.tasks import TasksConfig
from metarl.errors import RunFailure
from metarl_envs.core import TaskDistribution
from metarl_envs.parallel import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[int], object]
"""Is told how much was played since it was last told."""

_POLL_SECONDS = 0.5


def spread(
    work: Callable[[Job, Tell], Result], jobs: Sequence[Job], processes: int, tell: Tell
) -> Iterator[tuple[int, Result]]:
    """Does jobs, each by itself.

    Args:
        work: Function of a module that does a job and tells of it.
        jobs: The jobs.
        processes: Number of processes, each a job at a time; with 1, this process does all.
        tell: Is told what `work` tells.

    Yields:
        Index of a job and its result, in the order in which they are done.

    Raises:
        RunFailure: If a process dies.
    """
    if min(processes, len(jobs)) <= 1:
        for index, job in enumerate(jobs):
            yield index, work(job, tell)
        return
    context = get_context("spawn")  # PyTorch's threads do not survive a fork
    told, stop = context.SimpleQueue(), context.Event()
    executor = ProcessPoolExecutor(min(processes, len(jobs)), context, initializer=_begin, initargs=(told, stop))
    try:
        futures = {executor.submit(_work_and_tell, work, job): index for index, job in enumerate(jobs)}
        yield from _collect(futures, told, tell)
    except BrokenProcessPool:
        raise RunFailure("a process that learns from scratch died: was it killed, for want of memory?") from None
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _collect(futures: dict[Future[Result], int], told: Any, tell: Tell) -> Iterator[tuple[int, Result]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        while not told.empty():
            tell(told.get())
        for future in done:
            yield futures[future], future.result()


_told: Any = None
"""Queue of a process to its parent."""
_stop: Any = None
"""Event that tells a process that its parent does not want more."""


def _begin(told: Any, stop: Any) -> None:
    global _told, _stop
    _told, _stop = told, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to all; the parent sets `stop`
    end_with_parent(os.getppid())


def _work_and_tell(work: Callable[[Job, Tell], Result], job: Job) -> Result:
    return work(job, _tell_parent)


def _tell_parent(count: int) -> None:
    if _stop.is_set():
        raise RunFailure("stopped by the parent process")
    _told.put(count)


def family_of(config: TasksConfig) -> TaskDistribution:
    """Returns a family of tasks that a process makes once; its environments step in the caller's thread."""
    return _family(config.model_dump_json(), type(config))


@cache
def _family(settings: str, config_class: type[Any]) -> TaskDistribution:
    distribution: TaskDistribution = config_class.model_validate_json(settings).build()
    distribution.workers = 1
    return distribution
