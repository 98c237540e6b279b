"""Progress of a training run on the terminal, and stopping it by a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metarl.evaluation.recognition import HeldOutResult, RecognitionResult
from metarl.shell import command

STOP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,  # the terminal or the connection is gone
    signal.SIGUSR1,  # warnings of schedulers (SLURM, SGE, LSF) before they kill
    signal.SIGUSR2,
    signal.SIGXCPU,  # the limit of processor time is near
)
"""Signals after which a training stops with a checkpoint."""


class StopSignal:
    """Context in which any of `STOP_SIGNALS` requests a stop after the iteration, and a second Ctrl-C interrupts.

    SIGHUP remains ignored if it was, as `nohup` has it. Outside of the main thread the context does nothing: Python
    allows signal handlers in the main thread only.

    Args:
        quiet: True to print nothing on a request.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.requested = False
        self._quiet = quiet
        self._stop: Callable[[], object] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
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
        if self._quiet:
            return
        # not print: a handler may interrupt a print, whose buffer must not be entered twice
        with suppress(OSError, ValueError):
            text = b"\nstopping after this iteration (Ctrl-C again to stop at once, without a checkpoint)\n"
            os.write(sys.stdout.fileno(), text)


class Reporter:
    """Shows a bar on a terminal, and one plain line per iteration anywhere else.

    Where nothing can be shown any more, as the terminal or the reader of a pipe is gone, it falls silent: training goes
    on.

    Args:
        run: Directory of the run.
        iterations: Number of iterations of the whole run.
        start: Number of iterations done before.
    """

    def __init__(self, run: Path, iterations: int, start: int) -> None:
        self._console = Console()
        self._run = run
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
        with quiet_without_reader():
            print(f"run directory: {self._run}", flush=True)
            if self._start:
                print(f"going on after iteration {self._start}", flush=True)
            self._bar.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        with quiet_without_reader():
            self._bar.stop()

    def show(self, iteration: int, env_steps: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished iteration.

        Args:
            iteration: Iterations done, this one included.
            env_steps: Environment steps so far.
            metrics: Metrics of this iteration.
        """
        status = describe_iteration(metrics)
        with quiet_without_reader():
            self._bar.update(self._task, completed=iteration, status=status)
            if not self._console.is_terminal:
                elapsed = time.perf_counter() - self._began
                remaining = elapsed / (iteration - self._start) * (self._iterations - iteration)
                eta = f"{remaining / 60:.1f} min"
                print(f"iteration {iteration}/{self._iterations}: {status}, {env_steps:,} steps, ETA {eta}", flush=True)

    def show_evaluation(self, evaluation: HeldOutResult) -> None:
        """Shows an evaluation on held-out tasks in a line of its own."""
        with quiet_without_reader():
            if self._console.is_terminal:
                self._console.print(describe(evaluation), markup=False, highlight=False, soft_wrap=True)
            else:
                print(describe(evaluation), flush=True)

    def finish(self, *, interrupted: bool) -> None:
        """Prints the run's directory and the next command: to evaluate, or to continue an interrupted run."""
        with quiet_without_reader():
            self._bar.stop()
            if interrupted:
                print(f"stopped; go on with: {command('train', '--resume', self._run)}", flush=True)
                return
            if self._start == self._iterations:
                print(f"all {self._iterations} iterations were done before; --iterations N trains for more", flush=True)
            print(f"done: {self._run}; next: {command('evaluate', self._run)}", flush=True)


def describe_iteration(metrics: Mapping[str, float]) -> str:
    """Returns speed, success, return and gain of an iteration in one line; accuracy and loss if nothing is played."""
    speed = f"{metrics['time/fps']:,.0f} env steps/s"
    if "rollout/success_rate" not in metrics:
        accuracy = f"train accuracy {metrics['train/accuracy']:.0%}, " if "train/accuracy" in metrics else "train "
        return f"{speed}, {accuracy}loss {metrics['train/loss']:.4f}"
    return (
        f"{speed}, train success {metrics['rollout/success_rate']:.0%},"
        f" return {metrics['rollout/ep_rew_mean']:.1f}, gain {metrics['meta/adaptation_gain']:+.1f}"
    )


def describe(evaluation: HeldOutResult) -> str:
    """Returns the success and the return for each k, and the gain of the largest k over k = 0, in one line.

    Of recognition it is the accuracy for each number of shots.
    """
    if isinstance(evaluation, RecognitionResult):
        shown = ", ".join(
            f"K={k} {each.mean:.1%}" for k, each in zip(evaluation.shots, evaluation.overall(), strict=True)
        )
        return f"held-out classes, {evaluation.ways}-way accuracy: {shown}"
    rows = evaluation.overall
    success = " -> ".join(f"k={row.k} {100 * row.success.mean:.0f} %" for row in rows)
    returns = " -> ".join(f"{row.returns.mean:.1f}" for row in rows)
    gain = rows[-1].return_gain
    paired = f", gain {gain.mean:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]" if gain else ""
    return f"held-out: {success}; return {returns}{paired}"


@contextmanager
def quiet_without_reader() -> Iterator[None]:
    """Context of what is shown; if it cannot be, the process's output goes nowhere from then on."""
    try:
        yield
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
