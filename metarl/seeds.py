"""Training of several seeds: a folder of runs that differ in their seeds, each trained by a process of its own."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import torch

from metarl import checkpoints
from metarl.config import RunConfig
from metarl.devices import resolve_device
from metarl.resuming import changed_config
from metarl.run_paths import seed_runs
from metarl.runs import RunDirectory, new_directory
from metarl_envs.cores import CORES, available_cores
from metarl_envs.errors import UserError

State = Literal["waiting", "running", "done", "stopped", "failed"]

_CHILD = """import sys
from metarl_envs.parallel import end_with_parent
end_with_parent(int(sys.argv[1]))
from metarl.cli import main
sys.exit(main(sys.argv[2:]))
"""
_GPUS = "CUDA_VISIBLE_DEVICES"
_CHECK_S = 0.2
"""Seconds between looks at what the trainings have logged."""
_GRACE_S = 10.0
"""Seconds that trainings have to end at once before they are killed."""
_LONGEST_LINE = 2**18
"""Size in bytes of the end of a run's metrics that surely holds their last line."""


def create_seeds(config: RunConfig, seeds: Sequence[int], folder: Path) -> None:
    """Makes a folder with the run `seed-N` of each seed N; whole, or not at all.

    Args:
        config: Configuration of the runs, whose own seed is replaced.
        seeds: Seeds, all different.
        folder: Folder to make.

    Raises:
        UserError: If the folder exists or cannot be made, or there is no such device.
        RunFailure: If a file cannot be written.
    """
    resolve_device(config.device)
    with new_directory(folder) as staging:
        for seed in seeds:
            RunDirectory.create(staging / f"seed-{seed}", config.model_copy(update={"seed": seed}))


def discard_seeds(folder: Path) -> None:
    """Deletes the runs of a folder in which nothing was logged or saved, and the folder if none is left."""
    for path in seed_runs(folder):
        RunDirectory.open(path).discard_unless_used()
    with suppress(OSError):
        folder.rmdir()


def divide_machine(config: RunConfig, count: int) -> list[dict[str, str]]:
    """Divides the machine into as many places as runs can train in side by side.

    Each place has an equal share of the cores. A GPU is one place, and each GPU of the machine is used, unless the
    configuration names one.

    Args:
        config: Configuration of the runs.
        count: Number of runs, more than which there are no places.

    Returns:
        Environment variables of a process in each place.

    Raises:
        UserError: If there is no such device.
    """
    device, cores, named = resolve_device(config.device), available_cores(), ":" in config.device
    most = cores // max(config.threads or 1, config.workers or 1)
    gpus: list[str] = []
    if device.type == "cuda":
        visible = os.environ.get(_GPUS, "")
        gpus = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
        most = min(most, 1 if named else len(gpus))
    places = max(1, min(count, most))
    share = {CORES: str(max(1, cores // places))}
    if not gpus or named:
        return [share] * places
    return [share | {_GPUS: gpu} for gpu in gpus[:places]]


class SeedTraining:
    """Training of one run in a process of its own, seen from outside by what it logs.

    Args:
        path: Directory of the run.
        overrides: What changes as the run goes on, as on the command line.

    Raises:
        UserError: If the run is damaged, or something would change that may not.
    """

    def __init__(self, path: Path, overrides: Sequence[str]) -> None:
        run = RunDirectory.open(path)
        self.path, self._overrides = path, overrides
        self.config = changed_config(run.config, None, overrides)
        self.seed, self.iterations = self.config.seed, self.config.iterations
        self.state: State = "done" if _is_done(run, self.iterations) else "waiting"
        self.metrics: dict[str, float] = {}
        """Metrics of the last iteration; empty before the first."""
        self.iteration, self.exit_code = 0, 0
        self.reason = ""
        """Reason of a failure; before, the last line that the process wrote to stderr."""
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = TemporaryFile()  # noqa: SIM115  (`wait` closes it)
        self._told = 0
        self._first = time.monotonic(), 0
        self._look()

    @property
    def remaining_seconds(self) -> float | None:
        """Estimate of the seconds to the last iteration; None unless it trains and has trained for an iteration."""
        began, first = self._first
        if self.state != "running" or self.iteration <= first:
            return None
        return (time.monotonic() - began) / (self.iteration - first) * (self.iterations - self.iteration)

    def start(self, place: dict[str, str]) -> None:
        """Starts the process with the environment variables of a place."""
        command = [sys.executable, "-P", "-c", _CHILD, str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, "train", f"--resume={self.path}", *self._overrides],
            env=os.environ | place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            process_group=0,  # the terminal's Ctrl-C comes to this process alone, which passes it on
        )
        self.state = "running"
        self._first = time.monotonic(), self.iteration

    def check(self) -> tuple[bool, list[str]]:
        """Looks what has come about; returns true if it has got further, and the warnings since the last look."""
        assert self._process is not None
        before = self.iteration, self.state
        code = self._process.poll()
        self._look()
        lines = self._new_errors(whole=code is not None)
        if lines:
            self.reason = lines[-1]
        if code is not None:
            self._conclude(code)
        warnings = [line for line in lines if not line.startswith("metarl: ")]
        return (self.iteration, self.state) != before, warnings

    def ask_to_stop(self) -> None:
        """Asks for an end after the iteration, with a checkpoint; a training that is waiting does not begin."""
        if self._process is None:
            self.state = "stopped" if self.state == "waiting" else self.state
        else:
            self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Asks for an end at once, without a checkpoint."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGINT)  # the second signal: see `StopSignal`

    def wait(self, seconds: float) -> None:
        """Waits for the process's end, and kills it if that takes too long."""
        if self._process is not None:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()

    def _look(self) -> None:
        line = _last_line(self.path / "metrics.jsonl")
        iteration = int(line.get("iteration", -1)) + 1
        if iteration < self._first[1]:  # what came after the last checkpoint is trained again
            self._first = time.monotonic(), iteration
        self.iteration, self.metrics = iteration, line if iteration else {}

    def _new_errors(self, *, whole: bool) -> list[str]:
        """Returns the lines written to stderr since; a last one without its end only if `whole`."""
        text = os.pread(self._errors.fileno(), 2**24, self._told)
        if not whole:
            text = text[: text.rfind(b"\n") + 1]
        self._told += len(text)
        return [line for line in text.decode(errors="replace").splitlines() if line.strip()]

    def _conclude(self, code: int) -> None:
        self._process, self.exit_code = None, code
        if code == 0:
            self.state = "done" if self.iteration >= self.iterations else "stopped"
        elif code in (130, -signal.SIGTERM, -signal.SIGINT):
            self.state = "stopped"
        else:
            self.state = "failed"
            told = re.sub(r"^metarl: (error|failed): ", "", self.reason) or f"its process ended with exit code {code}"
            self.reason = _killed_by(-code) if code < 0 else told


class SeedTrainings:
    """Trainings of all runs of a folder that are not done, side by side in the places that the machine has.

    Args:
        folder: Folder made by `create_seeds`, or any with runs called `seed-N`.
        overrides: What changes as the runs go on, as on the command line.

    Raises:
        UserError: If a run is damaged, something would change that may not, or there is no such device.
    """

    def __init__(self, folder: Path, overrides: Sequence[str] = ()) -> None:
        self.folder = folder
        self.all = [SeedTraining(path, overrides) for path in seed_runs(folder)]
        self._free = divide_machine(self.all[0].config, sum(each.state == "waiting" for each in self.all))
        self._stopping = self._told_to_stop = False

    def __enter__(self) -> SeedTrainings:
        return self

    def __exit__(self, *_: object) -> None:
        for training in self.all:
            training.interrupt()
        for training in self.all:
            training.wait(_GRACE_S)

    def stop(self) -> None:
        """Ends the trainings after their iterations, with checkpoints; a signal handler may call it."""
        self._stopping = True

    def train(self) -> Iterator[tuple[SeedTraining, list[str]]]:
        """Trains, and yields each training that has got further, or with what it has warned of."""
        running: dict[SeedTraining, dict[str, str]] = {}
        while True:
            if self._stopping and not self._told_to_stop:
                self._told_to_stop = True
                for training in self.all:
                    training.ask_to_stop()
            waiting = [training for training in self.all if training.state == "waiting"]
            for training in waiting[: len(self._free)]:
                running[training] = self._free.pop(0)
                training.start(running[training])
                yield training, []
            if not running:
                return
            time.sleep(_CHECK_S)
            for training in list(running):
                changed, warnings = training.check()
                if warnings:
                    yield training, warnings
                if changed:
                    yield training, []
                if training.state != "running":
                    self._free.append(running.pop(training))


def _is_done(run: RunDirectory, iterations: int) -> bool:
    """Returns true if a run's last checkpoint is that of the last iteration."""
    with suppress(UserError):
        return checkpoints.load(run.checkpoint("last"))[1].iteration >= iterations
    return False


def _last_line(path: Path) -> dict[str, float]:
    """Returns the last whole line of a run's metrics; empty if there is none."""
    with suppress(OSError, ValueError), open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
        whole, _, _ = file.read().rpartition(b"\n")
        line: dict[str, Any] = json.loads(whole.rpartition(b"\n")[2])
        line.pop("nonfinite", None)
        return {name: math.nan if value is None else float(value) for name, value in line.items()}
    return {}


def _killed_by(number: int) -> str:
    reason = " (as when memory runs out)" if number == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(number).name}{reason}; the last checkpoint is as it was"
