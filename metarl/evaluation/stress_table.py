"""Table of stress curves for an 80-column terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.evaluation.result import Evaluation, Summary
from metarl.evaluation.statistics import LEVEL, Interval
from metarl.evaluation.stress import StressCurve


def stress_table(curves: Sequence[StressCurve]) -> RenderableType:
    """Renders stress curves: a row for each strength, with the largest k's success and its gains over k = 0."""
    first = curves[0].evaluations[0]
    ks = first.adaptation_episodes
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    headings = ["perturbation", "strength", f"success %, k = {ks[-1]}", "return"]
    for heading in [*headings, "gain in return"] if len(ks) > 1 and ks[0] == 0 else headings:
        table.add_column(Text(heading), justify="left" if heading == "perturbation" else "right", no_wrap=True)
    for curve in curves:
        for strength, evaluation in zip(curve.strengths, curve.evaluations, strict=True):
            label = curve.perturbation if strength == curve.strengths[0] else ""
            table.add_row(label, f"{strength:g}", *_cells(evaluation.overall[-1]))
    units = "\n".join(f"{curve.perturbation}: in {curve.unit}" for curve in curves)
    return Group(Text(_heading(first)), table, Text(units), *map(Text, _divergences(curves)))


def _heading(evaluation: Evaluation) -> str:
    tasks = len(evaluation.task_names)
    kind = "held-out" if evaluation.held_out else "not held-out"
    return (
        f"{evaluation.distribution} under stress: {tasks} {kind} task{'s' * (tasks > 1)}, evaluation episodes each:"
        f" {evaluation.episodes}.\n[{LEVEL:.0%} interval] Success and return are those of the task."
    )


def _divergences(curves: Sequence[StressCurve]) -> list[str]:
    return [
        f"The simulation diverged in {evaluation.divergences} episodes of {curve.perturbation} {strength:g}."
        for curve in curves
        for strength, evaluation in zip(curve.strengths, curve.evaluations, strict=True)
        if evaluation.divergences
    ]


def _cells(summary: Summary) -> list[Text]:
    success = Interval(*(100 * value for value in summary.success))
    cells = [_cell(success), _cell(summary.returns)]
    return cells if summary.return_gain is None else [*cells, _cell(summary.return_gain, "+")]


def _cell(interval: Interval, sign: str = "") -> Text:
    decimals = 0 if max(map(abs, interval)) >= 10 else 1
    mean, low, high = (f"{value:{sign}z.{decimals}f}" for value in interval)
    return Text(f"{mean} [{low}, {high}]")
