"""Comparisons as tables for an 80-column terminal."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.evaluation.statistics import LEVEL, Interval
from metarl.strategies.comparison import Comparison

_MAX_COLUMNS = 3
"""Lengths of trials that fit beside each other in 80 columns."""


def comparison_tables(comparisons: Sequence[Comparison]) -> RenderableType:
    """Makes a table per distribution and up to three lengths of trials: rows of players, then of upper bounds."""
    parts: list[RenderableType] = []
    for group in table_groups(comparisons):
        tasks = len(group[0].task_ids)
        heading = f"{group[0].distribution}: rewards of a trial, {tasks} held-out task{'s' * (tasks > 1)}"
        parts += [Text(f"{heading} [{LEVEL:.0%} interval over tasks]"), _table(group)]
        parts += [Text(_conclusion(comparison, name)) for comparison in group for name in comparison.margins]
    return Group(*parts)


def table_groups(comparisons: Sequence[Comparison]) -> Iterator[list[Comparison]]:
    """Splits comparisons into those of one table: of one distribution, and no more than fit on a terminal."""
    group: list[Comparison] = []
    for comparison in comparisons:
        if group and (len(group) == _MAX_COLUMNS or group[0].distribution != comparison.distribution):
            yield group
            group = []
        group.append(comparison)
    yield group


def _conclusion(comparison: Comparison, name: str) -> str:
    best, margin = comparison.margins[name]
    low, high = (f"{limit:+z.2f}" for limit in margin[1:])
    against = f"against {best}, the best strategy over {comparison.episodes} episodes"
    return f"{name}: {margin.mean:+z.2f} [{low}, {high}] {against}, paired by task."


def _table(group: list[Comparison]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("player", overflow="fold")
    for comparison in group:
        plural = "" if comparison.episodes == 1 else "s"
        table.add_column(f"{comparison.episodes} episode{plural}", justify="right", no_wrap=True)
    players = dict.fromkeys(name for comparison in group for name in comparison.intervals)
    bounds = dict.fromkeys(name for comparison in group for name in comparison.bounds)
    for name in players:
        table.add_row(Text(name), *(_cell(comparison.intervals.get(name)) for comparison in group))
    table.add_section()
    for name in bounds:
        table.add_row(Text(name), *(_cell(comparison.bounds.get(name)) for comparison in group))
    return table


def _cell(value: Interval | float | None) -> Text:
    if value is None:
        return Text("")
    mean, *limits = value if isinstance(value, Interval) else (value,)
    decimals = 2 if abs(mean) < 10 else 1 if abs(mean) < 100 else 0
    interval = f" [{', '.join(f'{limit:z.{decimals}f}' for limit in limits)}]" if limits else ""
    return Text(f"{mean:z.{decimals}f}{interval}")
