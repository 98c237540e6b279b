"""Processes that work at the same time, each on its share, and wait for one another in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from metarl.errors import RunFailure
from metarl_envs.parallel import end_with_parent

Work = Callable[[], dict[str, float]]
"""Does a process's share of the work once; returns seconds by name."""


class Crew:
    """Processes that do their shares of some work whenever asked to.

    Args:
        size: Number of processes.
        prepare: `prepare(rank, size, *arguments)` makes a process's work, there; must be importable.
        *arguments: Further arguments of `prepare`.

    Raises:
        RunFailure: If a process ends before its work is prepared.
    """

    def __init__(self, size: int, prepare: Callable[..., Work], *arguments: Any) -> None:
        context = get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(size):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, os.getpid(), prepare, (rank, size, *arguments)))
            process.start()
            there.close()  # so that the end of the process is the end of the pipe
            self._pipes.append(here)
            self._processes.append(process)
        self._wait()

    def work(self) -> list[dict[str, float]]:
        """Has all processes begin their work at once, and waits for the last; returns what each measured.

        Raises:
            RunFailure: If a process fails.
        """
        for pipe in self._pipes:
            pipe.send(None)
        return self._wait()

    def close(self) -> None:
        """Ends the processes."""
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.kill()
            process.join()
            pipe.close()

    def _wait(self) -> list[dict[str, float]]:
        try:
            return [pipe.recv() for pipe in self._pipes]
        except (EOFError, ConnectionError):
            self.close()
            raise RunFailure("a process that was measured ended; perhaps memory ran out") from None


def _serve(pipe: Connection, parent: int, prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    end_with_parent(parent)
    work = prepare(*arguments)
    pipe.send({})
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(work())
