"""Results of a benchmark of simulation as tables for an 80-column terminal, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.simulation import Outcome, engine_name
from benchmark.targets import Target

_LEGEND = """\
Steps are the median over rounds. x Meta-World: times the faster of its own two.
Limit: the same calls of MuJoCo on as many threads, with nothing around them."""


def benchmark_tables(outcomes: Sequence[Outcome], targets: Sequence[Target]) -> RenderableType:
    """Tables of speeds, of the parts of the time, and of the targets met."""
    parts: list[RenderableType] = []
    for outcome in outcomes:
        parts += [
            bold(f"{outcome.comparison.name} (Meta-World: {outcome.comparison.original_num_envs})"),
            _speeds(outcome),
        ]
    parts += [Text(_LEGEND), bold("\nWhere the time goes: microseconds per environment step")]
    return Group(*parts, _anatomies(outcomes), verdicts(targets))


def bold(text: str) -> Text:
    """Bold text for titles."""
    return Text(text, style="bold")


def _speeds(outcome: Outcome) -> Table:
    table = plain_table("", "env steps/s", "min-max", "x Meta-World", "of limit")
    shares = {engine_name(threads): f"{outcome.share(threads):.2f}" for threads in outcome.threads}
    for name, found in outcome.measurements.items():
        rounds = found.steps_per_second
        spread = f"{min(rounds):,.0f}-{max(rounds):,.0f}"
        table.add_row(name, f"{found.speed:,.0f}", spread, f"{outcome.ratio(name):.2f}", shares.get(name, ""))
    return table


def _anatomies(outcomes: Sequence[Outcome]) -> Table:
    table = plain_table(
        "", *(outcome.comparison.name.replace("ML1 ", "ML1\n").replace(", ", "\n") for outcome in outcomes)
    )
    for threads in outcomes[0].threads:
        anatomies = [outcome.anatomy(threads) for outcome in outcomes]
        table.add_row(bold(engine_name(threads)), *(f"{sum(anatomy.values()):.1f}" for anatomy in anatomies))
        for part in anatomies[0]:
            table.add_row(f"  {part}", *(f"{anatomy[part]:.1f}" for anatomy in anatomies))
    return table


def verdicts(targets: Sequence[Target]) -> Table:
    """Table of targets and verdicts."""
    table = plain_table("target", "measured", "wanted", "")
    for target in targets:
        verdict = Text("met", style="green") if target.met else Text("NOT MET", style="bold red")
        table.add_row(target.what, target.shown, target.wanted, verdict)
    return table


def plain_table(first: str, *columns: str) -> Table:
    """Table without rows: names on the left, numbers to the right of them."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
