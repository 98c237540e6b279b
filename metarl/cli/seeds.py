"""Training of several seeds on the terminal: one table of all of them, or plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from metarl.errors import RunFailure
from metarl.progress import StopSignal, describe_iteration, quiet_without_reader
from metarl.shell import command
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.seeds import SeedTraining, SeedTrainings


def train_seeds(folder: Path, overrides: Sequence[str] = (), *, new: bool = False) -> None:
    """Trains the runs of a folder that are not done, with their progress on the terminal, until all end.

    Args:
        folder: Folder with the run of each seed.
        overrides: What changes as the runs go on, as on the command line.
        new: True if the runs have just been made; they are discarded if none could begin, by a mistake in the settings.

    Raises:
        UserError: If none could begin or go on.
        RunFailure: If a training failed; the others have gone on to their ends.
    """
    from metarl.seeds import SeedTrainings, discard_seeds

    with StopSignal() as stop, SeedTrainings(folder, overrides) as trainings:
        stop.calls(trainings.stop)
        with _Display(trainings) as display:
            for training, warnings in trainings.train():
                display.show(training, warnings)
    failed = [training for training in trainings.all if training.state == "failed"]
    if failed and all(training.exit_code == 2 for training in trainings.all):
        if new:
            discard_seeds(folder)
        raise UserError(failed[0].reason)
    go_on = command("train", "--resume", folder)
    if failed:
        reasons = "; ".join(f"seed {training.seed}: {training.reason}" for training in failed)
        raise RunFailure(f"{len(failed)} of {len(trainings.all)} seeds: {reasons}; to go on with them: {go_on}")
    with quiet_without_reader():
        if any(training.state == "stopped" for training in trainings.all):
            print(f"stopped; go on with: {go_on}", flush=True)
        else:
            print(f"done: {folder}; next: {command('evaluate', folder)}", flush=True)


class _Display:
    """Shows a table that changes on a terminal, and a line for each change anywhere else."""

    def __init__(self, trainings: SeedTrainings) -> None:
        self._trainings = trainings
        self._console = Console()
        self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2)

    def __enter__(self) -> _Display:
        with quiet_without_reader():
            print(f"run directories: {self._trainings.folder}/seed-*", flush=True)
            for training in self._trainings.all:
                if training.state == "done":
                    iterations = training.iterations
                    print(f"seed {training.seed}: all {iterations} iterations were done before", flush=True)
            if self._console.is_terminal:
                self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with quiet_without_reader():
            self._live.stop()

    def show(self, training: SeedTraining, warnings: Sequence[str]) -> None:
        """Shows the warnings of a training, or else how far it is."""
        with quiet_without_reader():
            for line in warnings:
                print(f"seed {training.seed}: {line}", file=sys.stderr, flush=True)
            if not warnings and not self._console.is_terminal:
                print(f"seed {training.seed}: {_describe(training)}", flush=True)

    def _table(self) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("seed", justify="right")
        for name in ("iteration", "env steps/s", "train success", "return", "gain", "ETA"):
            table.add_column(name, justify="right", no_wrap=True)
        for training in self._trainings.all:
            table.add_row(str(training.seed), f"{training.iteration}/{training.iterations}", *_cells(training))
        return table


def _cells(training: SeedTraining) -> list[str]:
    metrics = training.metrics
    eta = _eta(training)
    if not metrics:
        return ["", "", "", "", eta]
    return [
        f"{metrics['time/fps']:,.0f}",
        *_played(metrics),
        eta,
    ]


def _played(metrics: Mapping[str, float]) -> list[str]:
    """Returns success, return and gain; nothing where nothing is played, as of demonstrations."""
    if "rollout/success_rate" not in metrics:
        return ["", "", ""]
    return [
        f"{metrics['rollout/success_rate']:.0%}",
        f"{metrics['rollout/ep_rew_mean']:.1f}",
        f"{metrics['meta/adaptation_gain']:+.1f}",
    ]


def _describe(training: SeedTraining) -> str:
    progress = f"iteration {training.iteration}/{training.iterations}"
    if training.remaining_seconds is None:
        return f"{_eta(training)} at {progress}"
    return f"{progress}: {describe_iteration(training.metrics)}, ETA {_eta(training)}"


def _eta(training: SeedTraining) -> str:
    """Returns the time that is left, or the state of a training that has none."""
    seconds = training.remaining_seconds
    if seconds is None:
        return "starting" if training.state == "running" else training.state
    return f"{seconds / 60:.1f} min"
