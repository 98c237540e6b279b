"""Results of the scaling suite as tables, for the terminal and as markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from benchmark.scaling import ONE, Scaled, Scaling
from benchmark.scaling_work import OUTSIDE
from benchmark.table import bold, plain_table, verdicts

_LEGEND = """\
Processes x threads of each. Steps are the median over rounds. Efficiency: speed per core in multiples of one core's.
Serial: share of one core's time that more cores do not shorten (Karp-Flatt): Python's lock, waiting, and sums."""
_PREDICTED = ((1, 1), (1, 2), (2, 1), (1, 16), (16, 1), (64, 1), (8, 2), (8, 8))
_TASKS = (64, 192)
"""Meta-batches that all of these can share evenly."""


class Rows(NamedTuple):
    """A table: title, heads of its columns, and rows of text."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def scaling_rows(found: Scaling, cores: int) -> Iterator[Rows]:
    """Tables of each work, of the sums, and of the model's predictions."""
    for each in found.works:
        yield _measured(each, cores)
    if found.model is not None:
        yield _sampling_model(found)
        yield _predictions(found)
    sums = [(f"{size:,}", f"{1e6 * seconds:,.0f}") for size, seconds in found.sums.items()]
    yield Rows("Sums over 2 processes", ("bytes", "microseconds"), sums)


def scaling_tables(found: Scaling, cores: int) -> RenderableType:
    """The tables for a terminal."""
    parts: list[RenderableType] = []
    for title, heads, rows in scaling_rows(found, cores):
        table = plain_table(*heads)
        for row in rows:
            table.add_row(*row)
        parts += [bold(title), table]
    return Group(*parts, Text(_LEGEND), verdicts(found.targets))


def scaling_markdown(found: Scaling, cores: int) -> str:
    """The tables as markdown."""
    blocks = []
    for title, heads, rows in scaling_rows(found, cores):
        lines = [heads, ("---",) * len(heads), *rows]
        blocks.append("\n".join([f"**{title}**\n", *("| " + " | ".join(line) + " |" for line in lines)]))
    return "\n\n".join([*blocks, _LEGEND]) + "\n"


def _measured(each: Scaled, cores: int) -> Rows:
    sampling = each.work.sampling
    part = OUTSIDE if sampling else "update"
    rows = []
    for layout, found in each.measurements.items():
        spread = f"{min(found.steps_per_second):,.0f}-{max(found.steps_per_second):,.0f}"
        serial = each.serial(layout)
        rows.append(
            (
                layout.name,
                f"{found.speed:,.0f}",
                spread,
                f"{each.speed_up(layout):.2f}",
                f"{each.efficiency(layout):.2f}",
                "" if serial is None else f"{serial:.2f}",
                f"{found.microseconds(part) / found.microseconds():.2f}",
            )
        )
    heads = ("", "steps/s", "min-max", "x 1 core", "efficiency", "serial", "outside sim." if sampling else "in update")
    return Rows(f"{each.work.name[0].upper()}{each.work.name[1:]} ({cores} cores)", heads, rows)


def _sampling_model(found: Scaling) -> Rows:
    assert found.model is not None
    rows = [
        (
            str(each.work.tasks),
            f"{1e3 * found.model.seconds(each.work.tasks):.2f}",
            f"{1e3 * each.work.tasks / each.measurements[ONE].speed:.2f}",
            f"{found.model.locked(each.work.tasks):.2f}",
        )
        for each in found.works
        if each.work.sampling
    ]
    model = found.model
    inputs = f"{1e6 * model.simulated:.0f} m / c + {1e6 * model.python:.0f} m + {1e6 * model.fixed:.0f} µs"
    return Rows(
        f"One process's step of m tasks on c threads: {inputs}", ("tasks", "model ms", "measured ms", "locked"), rows
    )


def _predictions(found: Scaling) -> Rows:
    model = found.model
    assert model is not None
    rows = [
        (
            f"{ranks} x {threads}",
            *(
                text
                for tasks in _TASKS
                for text in (
                    f"{model.speed(tasks, ranks, threads):,.0f}",
                    f"{model.speed(tasks, ranks, threads) / model.speed(tasks, 1):.1f}",
                )
            ),
        )
        for ranks, threads in _PREDICTED
    ]
    heads = ("", *(head for tasks in _TASKS for head in (f"steps/s, {tasks} tasks", "x 1 core")))
    return Rows("Predicted sampling, on as many cores of this kind", heads, rows)
