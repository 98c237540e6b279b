"""A benchmark as tables for an 80-column terminal, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.benchmark.simulation import ORIGINALS, Outcome, engine_name, physics_name
from metarl.benchmark.targets import Target


def benchmark_tables(outcomes: Sequence[Outcome], targets: Sequence[Target]) -> RenderableType:
    """What a benchmark found, ready to print: speeds, where the time goes, and which targets are met."""
    return Group(
        _speeds(outcomes),
        Text(
            "x Meta-World: times the faster of its own two. limit: the same calls of MuJoCo on the\n"
            "same threads with nothing around them.\n"
        ),
        Text("Where one thread's time goes, in microseconds per environment step:"),
        _anatomies(outcomes),
        _targets(targets),
    )


def _speeds(outcomes: Sequence[Outcome]) -> Table:
    table = _table("", "envs", "env steps/s", "min - max", "x Meta-World", "of limit")
    for outcome in outcomes:
        table.add_row(Text(outcome.comparison.name, style="bold"))
        shares = {engine_name(threads): f"{outcome.share(threads):.2f}" for threads in outcome.threads}
        for name, found in outcome.measurements.items():
            table.add_row(
                f"  {name}",
                str(outcome.comparison.original_num_envs if name in ORIGINALS else outcome.comparison.num_envs),
                f"{found.speed:,.0f}",
                f"{min(found.steps_per_second):,.0f} - {max(found.steps_per_second):,.0f}",
                f"{outcome.ratio(name):.2f}",
                shares.get(name, ""),
            )
    return table


def _anatomies(outcomes: Sequence[Outcome]) -> Table:
    """One column per comparison."""
    table = _table("", *(outcome.comparison.name.replace(", ", "\n") for outcome in outcomes))
    for part in outcomes[0].anatomy:
        table.add_row(part, *(f"{outcome.anatomy[part]:.1f}" for outcome in outcomes))
    threads = max(outcomes[0].threads)
    if threads > 1:
        shares = [[threads * outcome.measurements[name(threads)].microseconds() for outcome in outcomes]]
    return table
