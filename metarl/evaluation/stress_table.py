"""Table of stress curves for an 80-column terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.evaluation.result import Evaluation
from metarl.evaluation.statistics import LEVEL, Interval
from metarl.evaluation.stress import StressCurve
from metarl.evaluation.table import show_interval


def stress_table(curves: Sequence[StressCurve]) -> RenderableType:
    """Renders stress curves of one policy: a row for each strength, with what the largest k achieves.

    Args:
        curves: Curves that share the unperturbed evaluation; at least one.
    """
    plain = curves[0].evaluations[curves[0].strengths.index(0.0)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("perturbation", "strength", "success %", "return", "gain in return"):
        table.add_column(Text(heading), justify="left" if heading == "perturbation" else "right", no_wrap=True)
    last = [evaluation.overall[-1] for evaluation in (plain, *(evaluation for _, _, evaluation in _perturbed(curves)))]
    # A column has the same number of decimals in all its rows.
    decimals = _decimals([row.returns.mean for row in last])
    gain_decimals = _decimals([value for row in last if row.return_gain is not None for value in row.return_gain])

    def cells(evaluation: Evaluation) -> list[Text]:
        row = evaluation.overall[-1]
        success = Interval(*(100 * value for value in row.success))
        gain = Text("") if row.return_gain is None else show_interval(row.return_gain, gain_decimals, "+")
        return [show_interval(success, 0), Text(f"{row.returns.mean:z.{decimals}f}"), gain]

    table.add_row("none", "", *cells(plain))
    told = ""
    for curve, strength, evaluation in _perturbed(curves):
        table.add_row("" if curve.perturbation == told else curve.perturbation, f"{strength:g}", *cells(evaluation))
        told = curve.perturbation
    names: dict[str, list[str]] = {}
    for curve in curves:
        names.setdefault(curve.unit, []).append(curve.perturbation)
    units = [f"Strength of {', '.join(several)}: {unit}." for unit, several in names.items()]
    diverged = [
        f"The simulation diverged in {evaluation.divergences} episodes of {curve.perturbation} {strength:g}."
        for curve, strength, evaluation in _perturbed(curves)
        if evaluation.divergences
    ]
    return Group(Text(_heading(plain)), table, Text("\n".join([*units, *diverged])))


def _perturbed(curves: Sequence[StressCurve]) -> Iterator[tuple[StressCurve, float, Evaluation]]:
    for curve in curves:
        for strength, evaluation in zip(curve.strengths, curve.evaluations, strict=True):
            if strength:
                yield curve, strength, evaluation


def _heading(evaluation: Evaluation) -> str:
    tasks, episodes = len(evaluation.task_names), evaluation.episodes
    notes = "".join(f"\n{note}" for note in evaluation.notes)
    kind = "held-out" if evaluation.held_out else "not held-out"
    return (
        f"{evaluation.distribution} under stress: {tasks} {kind} task{'s' * (tasks > 1)},"
        f" {episodes} episode{'s' * (episodes > 1)} each after"
        f" {evaluation.adapts_on.number_in_full(evaluation.adaptation_episodes[-1])}.\n"
        f"Success and return are the task's; gain is over k = 0. [{LEVEL:.0%} interval over tasks]{notes}"
    )


def _decimals(values: Sequence[float]) -> int:
    return 0 if max((abs(value) for value in values if isfinite(value)), default=0) >= 10 else 1
