"""Runs a suite: measures, prints tables, and writes the measurements to a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress

from benchmark.algorithm_table import algorithm_tables
from benchmark.algorithms import ALGORITHM_SUITES, measure_suite
from benchmark.cases import Device, Suite
from benchmark.scaling import SCALING_SUITES, Work, measure_scaling
from benchmark.scaling_table import scaling_markdown, scaling_tables
from benchmark.simulation import Comparison
from benchmark.table import benchmark_tables
from metarl.errors import RunFailure
from metarl.files import make_room_for, write_atomically
from metarl.versions import versions
from metarl_envs.cores import available_cores
from metarl_envs.errors import UserError, unknown

_FEW = Comparison("ML10", num_envs=20, original_num_envs=20, min_ratio=3.0)

SUITES = {
    "meta-world": (
        Comparison(
            "ML10",
            num_envs=200,
            original_num_envs=20,
            min_ratio=5.0,
            min_share=0.8,
            min_scaling=10.0,
            max_memory_gb=3.0,
        ),
        _FEW,
        Comparison("push-v3", num_envs=200, original_num_envs=10, min_ratio=6.0),
        Comparison("pick-place-v3", num_envs=200, original_num_envs=10, min_ratio=6.0),
    ),
    "multi-task": (Comparison("MT10", num_envs=200, original_num_envs=10, min_ratio=5.0),),
    "quick": (_FEW,),
}
"""Suites of simulation by name."""


def run_benchmark(
    suite: str = "meta-world",
    *,
    seconds: float = 3.0,
    rounds: int = 5,
    output: Path | None = None,
    device: Device = "cpu",
    ranks: Sequence[int] = (),
    threads: int = 1,
) -> Path:
    """Measures a suite, prints tables and writes the measurements as JSON.

    Args:
        suite: Name in `SUITES` (simulation), `ALGORITHM_SUITES` or `SCALING_SUITES`.
        seconds: Least duration of a turn of simulation; the episode is finished.
        rounds: Turns of each implementation, or measured meta-iterations of each training.
        output: File to write; by default one in runs/ that is named after the time.
        device: Device on which algorithms learn.
        ranks: Numbers of processes whose scaling is measured; by default, powers of two up to the number of cores.
        threads: Threads of each of these.

    Returns:
        Path of the file; tables of scaling are beside it, as markdown.

    Raises:
        UserError: If there is no such suite or device, or the file cannot be made.
        RunFailure: If a training fails, or the file cannot be written in the end.
    """
    suites = (*SUITES, *ALGORITHM_SUITES, *SCALING_SUITES)
    if suite not in suites:
        raise unknown("suite", suite, suites)
    if device == "cuda":
        _check_cuda(suite)
    path = output or Path("runs", f"benchmark-{datetime.now():%Y%m%d-%H%M%S}.json")
    make_room_for(path)
    markdown = None
    if suite in SUITES:
        tables, found = _simulation(SUITES[suite], rounds, seconds)
    elif suite in ALGORITHM_SUITES:
        tables, found = _algorithms(ALGORITHM_SUITES[suite], rounds, device)
    else:
        tables, markdown, found = _scaling(SCALING_SUITES[suite], ranks, threads, rounds, seconds)
    console = Console()
    console.print(tables)
    found = {"suite": suite, "rounds": rounds, "cores": available_cores(), "versions": versions(), **found}
    try:
        write_atomically(path, (json.dumps(found, indent=2) + "\n").encode())
        if markdown is not None:
            write_atomically(path.with_suffix(".md"), markdown.encode())
    except OSError as error:
        raise RunFailure(f"cannot write {path}: {error.strerror}") from error
    console.print(f"Benchmark: {path}", soft_wrap=True, markup=False, highlight=False)
    return path


def _check_cuda(suite: str) -> None:
    if suite not in ALGORITHM_SUITES:
        raise UserError(f"--device cuda: suite '{suite}' simulates, which is done on the CPU; use --suite algorithms")
    from metarl.devices import resolve_device

    resolve_device("cuda")


def _simulation(
    comparisons: Sequence[Comparison], rounds: int, seconds: float
) -> tuple[RenderableType, dict[str, Any]]:
    threads = sorted({1, available_cores()})
    total = sum(comparison.turns(threads, rounds) for comparison in comparisons)
    outcomes = []
    with _Turns() as turns:
        for comparison in comparisons:
            turns.begin(comparison.name, total)
            outcomes.append(comparison.run(threads, rounds, seconds, turns.advance))
    targets = [target for outcome in outcomes for target in outcome.targets]
    return benchmark_tables(outcomes, targets), {
        "seconds": seconds,
        "comparisons": [outcome.to_dict() for outcome in outcomes],
        "targets": [target.to_dict() for target in targets],
    }


def _algorithms(suite: Suite, rounds: int, device: Device) -> tuple[RenderableType, dict[str, Any]]:
    with _Turns() as turns:
        measured = measure_suite(suite, device, rounds, turns.begin, turns.advance)
    return algorithm_tables(measured, available_cores()), measured.to_dict()


def _scaling(
    works: Sequence[Work], ranks: Sequence[int], threads: int, rounds: int, seconds: float
) -> tuple[RenderableType, str, dict[str, Any]]:
    with _Turns() as turns:
        found = measure_scaling(works, ranks, threads, rounds, seconds, turns.begin, turns.advance)
    cores = available_cores()
    return scaling_tables(found, cores), scaling_markdown(found, cores), {"seconds": seconds, **found.to_dict()}


class _Turns:
    """Progress display: a bar on a terminal, one plain line per measurement elsewhere."""

    def __init__(self) -> None:
        self._messages = Console(stderr=True)
        self._progress = Progress(console=self._messages, transient=True, disable=not self._messages.is_terminal)
        self._bar = self._progress.add_task("", total=None)

    def __enter__(self) -> _Turns:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str, total: int) -> None:
        """Shows the name of the next measurement and sets the number of turns in all."""
        self._progress.update(self._bar, description=name, total=total)
        if not self._messages.is_terminal:
            self._messages.print(f"measuring {name}", highlight=False)

    def advance(self) -> None:
        """Counts a turn."""
        self._progress.advance(self._bar)
