"""`metarl benchmark`: measures, prints tables, and writes everything measured to a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from envs.errors import UserError, unknown
from envs.parallel import available_cores
from metarl.benchmark.memory import engine_memory
from metarl.benchmark.simulation import Comparison, Outcome, engine_name
from metarl.benchmark.table import benchmark_tables
from metarl.benchmark.targets import Target
from metarl.errors import RunFailure
from metarl.files import write_atomically
from metarl.versions import versions

_MANY = Comparison("ML10", num_envs=200, original_num_envs=20, min_ratio=5, min_share=0.8)
_FEW = Comparison("ML10", num_envs=20, original_num_envs=20, min_ratio=3)
_PUSH = Comparison("push-v3", num_envs=200, original_num_envs=10, min_ratio=6)
_PICK_PLACE = Comparison("pick-place-v3", num_envs=200, original_num_envs=10, min_ratio=6)

SUITES = {"meta-world": (_MANY, _FEW, _PUSH, _PICK_PLACE), "quick": (_FEW,)}
"""What can be measured; the first comparison of the first one is also held against the memory it may take."""

_MAX_MEMORY_GB = 3.0
_MANY_CORES, _MIN_SCALING = 16, 10.0


def run_benchmark(
    suite: str = "meta-world", *, seconds: float = 3.0, rounds: int = 5, output: Path | None = None
) -> Path:
    """Measures a suite, prints what was found and writes it as JSON.

    Args:
        suite: One of `SUITES`.
        seconds: How long a contestant plays in each round, at least; it always finishes the episode.
        rounds: How often each contestant has its turn.
        output: The file; by default one in runs/ that is named after the time.

    Returns:
        The file.

    Raises:
        UserError: If there is no such suite, or the file's directory cannot be made.
        RunFailure: If the file cannot be written.
    """
    if suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    path = _prepare(output or Path("runs", f"benchmark-{datetime.now():%Y%m%d-%H%M%S}.json"))
    cores = available_cores()
    outcomes = _measure(SUITES[suite], sorted({1, cores}), rounds, seconds)
    targets = [target for outcome in outcomes for target in outcome.targets]
    for outcome in outcomes:
        if outcome.comparison is _MANY:
            targets += _targets_of_many(outcome, cores)
    Console().print(benchmark_tables(outcomes, targets))
    settings = {"suite": suite, "seconds": seconds, "rounds": rounds, "cores": cores, "versions": versions()}
    comparisons = [outcome.to_dict() for outcome in outcomes]
    found = {**settings, "comparisons": comparisons, "targets": [target.to_dict() for target in targets]}
    try:
        write_atomically(path, (json.dumps(found, indent=2) + "\n").encode())
    except OSError as error:
        raise RunFailure(f"cannot write {path}: {error.strerror}") from error
    return path


def _prepare(path: Path) -> Path:
    """Makes the file's directory, so that a mistake is not found out after minutes of work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make directory {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory")
    return path


def _measure(
    comparisons: Sequence[Comparison], threads: Sequence[int], rounds: int, seconds: float
) -> list[Outcome]:
    messages = Console(stderr=True)
    outcomes = []
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        for comparison in comparisons:
            if not messages.is_terminal:
                messages.print(f"measuring {comparison.name}", highlight=False)
            bar = progress.add_task(comparison.name, total=comparison.turns(threads, rounds))
            outcomes.append(comparison.run(threads, rounds, seconds, lambda bar=bar: progress.advance(bar)))
    return outcomes


def _targets_of_many(outcome: Outcome, cores: int) -> list[Target]:
    """Memory and, on large machines, how the engine gains from cores."""
    name, targets = outcome.comparison.name, []
    memory = engine_memory(outcome.comparison)
    if memory is not None:
        targets.append(Target(f"{name}: peak memory", memory / 1e9, _MAX_MEMORY_GB, at_most=True, unit=" GB"))
    if cores >= _MANY_CORES:
        engine = {threads: outcome.measurements[engine_name(threads)].speed for threads in (1, cores)}
        what = f"{name}: {cores} threads times one"
        targets.append(Target(what, engine[cores] / engine[1], _MIN_SCALING))
    return targets
