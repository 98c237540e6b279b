"""`metarl benchmark`: measures, prints tables, and writes everything measured to a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from envs.errors import unknown
from envs.parallel import available_cores
from metarl.benchmark.simulation import Comparison, Outcome
from metarl.benchmark.table import benchmark_tables
from metarl.errors import RunFailure
from metarl.files import make_room_for, write_atomically
from metarl.versions import versions

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
    "quick": (_FEW,),
}
"""What can be measured."""


def run_benchmark(
    suite: str = "meta-world", *, seconds: float = 3.0, rounds: int = 5, output: Path | None = None
) -> Path:
    """Measures a suite, prints what was found and writes it as JSON.

    Args:
        suite: One of `SUITES`.
        seconds: How long a contestant plays in each round, at least; it finishes the episode.
        rounds: How often each contestant has its turn.
        output: The file; by default one in runs/ that is named after the time.

    Returns:
        The file.

    Raises:
        UserError: If there is no such suite, or no such file can be.
        RunFailure: If the file cannot be written in the end.
    """
    if suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    path = output or Path("runs", f"benchmark-{datetime.now():%Y%m%d-%H%M%S}.json")
    make_room_for(path)
    cores = available_cores()
    outcomes = _measure(SUITES[suite], sorted({1, cores}), rounds, seconds)
    targets = [target for outcome in outcomes for target in outcome.targets]
    console = Console()
    console.print(benchmark_tables(outcomes, targets))
    found = {
        "suite": suite,
        "seconds": seconds,
        "rounds": rounds,
        "cores": cores,
        "versions": versions(),
        "comparisons": [outcome.to_dict() for outcome in outcomes],
        "targets": [target.to_dict() for target in targets],
    }
    try:
        write_atomically(path, (json.dumps(found, indent=2) + "\n").encode())
    except OSError as error:
        raise RunFailure(f"cannot write {path}: {error.strerror}") from error
    console.print(f"Benchmark: {path}", soft_wrap=True, markup=False, highlight=False)
    return path


def _measure(comparisons: Sequence[Comparison], threads: Sequence[int], rounds: int, seconds: float) -> list[Outcome]:
    messages = Console(stderr=True)
    outcomes = []
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        bar = progress.add_task("", total=sum(comparison.turns(threads, rounds) for comparison in comparisons))
        for comparison in comparisons:
            progress.update(bar, description=comparison.name)
            if not messages.is_terminal:
                messages.print(f"measuring {comparison.name}", highlight=False)
            outcomes.append(comparison.run(threads, rounds, seconds, lambda: progress.advance(bar)))
    return outcomes
