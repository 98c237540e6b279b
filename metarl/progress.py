"""Progress of a training run on the terminal, and stopping it by a signal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metarl.shell import command


class StopSignal:
    """Context in which Ctrl-C or SIGTERM requests a stop after the iteration, and a second Ctrl-C interrupts.

    Outside of the main thread it does nothing: Python allows signal handlers in the main thread only.
    """

    def __init__(self) -> None:
        self.requested = False
        self._stop: Callable[[], object] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def calls(self, stop: Callable[[], object]) -> None:
        """Sets what a request calls; called at once if there has been one."""
        self._stop = stop
        if self.requested:
            stop()

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._stop is not None:
            self._stop()
        print("\nstopping after this iteration (Ctrl-C again to stop at once, without a checkpoint)", flush=True)


class Reporter:
    """Shows a bar on a terminal, and one plain line per iteration anywhere else.

    Args:
        iterations: Number of iterations of the whole run.
        start: Number of iterations done before.
    """

    def __init__(self, iterations: int, start: int) -> None:
        self._console = Console()
        self._iterations = iterations
        self._start = start
        self._began = time.perf_counter()
        columns = (
            TextColumn("iteration"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=iterations, completed=start, status="starting")

    def __enter__(self) -> Reporter:
        self._bar.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, iteration: int, env_steps: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished iteration.

        Args:
            iteration: Iterations done, this one included.
            env_steps: Environment steps so far.
            metrics: Metrics of this iteration.
        """
        status = (
            f"{metrics['time/fps']:,.0f} env steps/s, train success {metrics['rollout/success_rate']:.0%},"
            f" return {metrics['rollout/ep_rew_mean']:.1f}, gain {metrics['meta/adaptation_gain']:+.1f}"
        )
        self._bar.update(self._task, completed=iteration, status=status)
        if not self._console.is_terminal:
            elapsed = time.perf_counter() - self._began
            remaining = elapsed / (iteration - self._start) * (self._iterations - iteration)
            eta = f"{remaining / 60:.1f} min"
            print(f"iteration {iteration}/{self._iterations}: {status}, {env_steps:,} steps, ETA {eta}", flush=True)

    def finish(self, run: Path, *, interrupted: bool) -> None:
        """Prints the run's directory and the next command: to evaluate, or to continue an interrupted run."""
        self._bar.stop()
        if interrupted:
            print(f"stopped; go on with: {command('train', '--resume', run)}")
        else:
            print(f"done: {run}; next: {command('evaluate', run)}")
