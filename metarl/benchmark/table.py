"""A benchmark as tables for an 80-column terminal, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.benchmark.simulation import ORIGINALS, Outcome, engine_name
from metarl.benchmark.targets import Target

_LEGEND = """\
x Meta-World: times the faster of Meta-World's own two. Limit: the same calls of
MuJoCo on as many threads, with nothing around them."""


def benchmark_tables(outcomes: Sequence[Outcome], targets: Sequence[Target]) -> RenderableType:
    """What a benchmark found, ready to print: speeds, where the time goes, and which targets are met."""
    anatomy_title = Text("\nWhere the time goes: microseconds of a core's time per environment step")
    return Group(_speeds(outcomes), Text(_LEGEND), anatomy_title, _anatomies(outcomes), _verdicts(targets))


def _speeds(outcomes: Sequence[Outcome]) -> Table:
    table = _table("", "envs", "env steps/s", "min-max", "x Meta-World", "of limit")
    for outcome in outcomes:
        table.add_row(Text(outcome.comparison.name, style="bold"))
        shares = {engine_name(threads): f"{outcome.share(threads):.2f}" for threads in outcome.threads}
        for name, found in outcome.measurements.items():
            rounds = found.steps_per_second
            table.add_row(
                f"  {name}",
                str(outcome.comparison.original_num_envs if name in ORIGINALS else outcome.comparison.num_envs),
                f"{found.speed:,.0f}",
                f"{min(rounds):,.0f}-{max(rounds):,.0f}",
                f"{outcome.ratio(name):.2f}",
                shares.get(name, ""),
            )
    return table


def _anatomies(outcomes: Sequence[Outcome]) -> Table:
    anatomies = [outcome.anatomy for outcome in outcomes]
    table = _table("", *(outcome.comparison.name.replace(", ", "\n") for outcome in outcomes))
    for part in anatomies[0]:
        table.add_row(part, *(f"{anatomy[part]:.1f}" for anatomy in anatomies))
    return table


def _verdicts(targets: Sequence[Target]) -> Table:
    table = _table("target", "measured", "wanted", "")
    for target in targets:
        verdict = Text("met", style="green") if target.met else Text("NOT MET", style="bold red")
        table.add_row(target.what, target.shown, target.wanted, verdict)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
