"""Tables and plain sentences of an evaluation for an 80-column terminal, with or without colour."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.evaluation.experiment import Experiment
from metarl.evaluation.result import Evaluation
from metarl.evaluation.statistics import LEVEL, Interval, verdict
from metarl.evaluation.summary import Summary

_MOST_NAMES_IN_FULL = 10
_MOST_LABELS = 3
"""Number of what a name's tasks are played as that the table shows, the most frequent."""


def evaluation_table(result: Evaluation | Experiment) -> RenderableType:
    """Renders an evaluation, or one of several runs: results by name if there are several, overall, and conclusions.

    With more than 10 names, the table per name shows only the smallest and the largest k.

    Args:
        result: What to show.
    """
    parts: list[RenderableType] = [Text(_heading(result))]
    if len(result.per_name) > 1:
        parts += [_names_table(result), Text("All names, each with the same weight:")]
    divergences = sum(evaluation.divergences for evaluation in _evaluations(result))
    if divergences:
        parts.append(Text(f"The simulation diverged in {divergences} episodes, which ended there."))
    parts.append(_gain_table(result))
    if isinstance(result, Experiment) and len(result.evaluations) > 1:
        parts += [Text("Each run by itself, mean over tasks:"), _runs_table(result)]
    if isinstance(result, Evaluation) and result.acted_as is not None:
        parts += [Text(f"Played as, after {result.adaptation_episodes[-1]} episodes:"), _acted_as_table(result)]
    return Group(*parts, Text("\n".join(conclusions(result))))


def conclusions(result: Evaluation | Experiment) -> list[str]:
    """Returns plain sentences on the gain of the largest k over k = 0; empty if k = 0 was not played."""
    summary = result.overall[-1]
    if summary.return_gain is None or summary.success_gain is None:
        return []
    if min(Counter(result.task_names).values()) < 2:
        return ["With a single task of a name there is no interval to tell a gain from chance."]
    tasks, adapted_on = len(result.task_names), _evaluations(result)[0].adapts_on.number(summary.k)
    sentences = [_effect(adapted_on, "return", summary.return_gain, decimals_for([summary.return_gain]), "", tasks)]
    if result.overall[0].success.mean == 1:
        return [*sentences, "At the ceiling: every episode is solved without adapting, so success cannot rise."]
    success_gain = _times_100(summary.success_gain)
    return [*sentences, _effect(adapted_on, "success", success_gain, 1, " points", tasks)]


def _effect(adapted_on: str, quantity: str, gain: Interval, decimals: int, unit: str, tasks: int) -> str:
    found = verdict(gain, tasks)
    verb = "changes" if found != "excludes zero" else "raises" if gain.mean > 0 else "lowers"
    mean, low, high = (f"{value:+z.{decimals}f}" for value in gain)
    return (
        f"Adapting on {adapted_on} {verb} {quantity} by {mean}{unit} ({LEVEL:.0%} interval {low} to {high}): {found}."
    )


def _evaluations(result: Evaluation | Experiment) -> Sequence[Evaluation]:
    return result.evaluations if isinstance(result, Experiment) else (result,)


def _heading(result: Evaluation | Experiment) -> str:
    first, runs = _evaluations(result)[0], len(_evaluations(result))
    tasks, episodes = len(first.task_names), first.episodes
    kind = "held-out" if first.held_out else "not held-out"
    of_runs, over = (f"{runs} runs, ", "runs, tasks") if runs > 1 else ("", "tasks")
    notes = "".join(f"\n{note}" for note in first.notes)
    return (
        f"{first.distribution}: {of_runs}{tasks} {kind} task{'s' * (tasks > 1)}, {episodes} "
        f"episode{'s' * (episodes > 1)} each after k {first.adapts_on.in_full}.\n"
        f"Success = solved at any step. IQM = middle half. [{LEVEL:.0%} interval over {over}]{notes}"
    )


def _names_table(result: Evaluation | Experiment) -> Table:
    table = new_table("task", "k", "success %", "return")
    in_full = len(result.per_name) <= _MOST_NAMES_IN_FULL
    decimals = decimals_for([row.returns for rows in result.per_name.values() for row in rows])
    for name, rows in result.per_name.items():
        shown = rows if in_full else first_and_last(rows)
        for row in shown:
            label = name if row is shown[0] else ""
            table.add_row(Text(label), str(row.k), show_percent(row.success), show_interval(row.returns, decimals))
    return table


def _gain_table(result: Evaluation | Experiment) -> Table:
    table = new_table("k", "success %", "return", "its IQM", "gain in return over k = 0")
    decimals = decimals_for([row.returns for row in result.overall])
    for row, iqm in zip(result.overall, result.iqm, strict=True):
        table.add_row(
            str(row.k),
            show_percent(row.success),
            show_interval(row.returns, decimals),
            f"{iqm.mean:z.{decimals}f}",
            show_gain(row, decimals),
        )
    return table


def _runs_table(experiment: Experiment) -> Table:
    table = new_table("run", "k", "success %", "return")
    decimals = decimals_for([row.returns for row in experiment.overall])
    for evaluation, origin in zip(experiment.evaluations, experiment.origins, strict=True):
        shown = first_and_last(evaluation.overall)
        for row in shown:
            label = f"{origin.run} (seed {origin.training_seed})" if row is shown[0] else ""
            mean = f"{row.returns.mean:z.{decimals}f}"
            table.add_row(Text(label), str(row.k), f"{100 * row.success.mean:.0f}", mean)
    return table


def _acted_as_table(evaluation: Evaluation) -> Table:
    table = new_table("task", "played as", "tasks", "solved")
    for name, found in evaluation.solved_as().items():
        for label, (tasks, solved) in list(found.items())[:_MOST_LABELS]:
            first = label == next(iter(found))
            table.add_row(Text(name if first else ""), Text(label), str(tasks), str(solved))
    return table


def first_and_last(rows: list[Summary]) -> list[Summary]:
    """Returns the summaries of the smallest and the largest k."""
    return rows if len(rows) < 2 else [rows[0], rows[-1]]


def new_table(*columns: str) -> Table:
    """Makes an empty table whose numbers are flush right, and whose names fold rather than widen it."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_name = column in ("task", "run", "control", "played as")
        table.add_column(
            Text(column), justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold", max_width=40
        )
    return table


def show_percent(share: Interval) -> Text:
    """Shows a share in per cent, with its interval."""
    return show_interval(_times_100(share), 0)


def _times_100(share: Interval) -> Interval:
    return Interval(*(100 * value for value in share))


def show_gain(row: Summary, decimals: int) -> Text:
    """Shows the gain in return, with its interval; nothing where there is none."""
    return show_interval(row.return_gain, decimals, "+") if row.return_gain else Text("")


def show_interval(interval: Interval, decimals: int, sign: str = "") -> Text:
    """Shows a mean with its interval, or alone where there are too few tasks for one."""
    mean, low, high = (f"{value:{sign}z.{decimals}f}" for value in interval)
    # not a string, which rich would read as markup
    return Text(mean if np.isnan(interval.low) else f"{mean} [{low}, {high}]")


def decimals_for(intervals: list[Interval]) -> int:
    """Returns the number of decimals that shows the largest value with three significant digits, at most 2."""
    return decimals_of(float(np.nanmax(np.abs(intervals))))


def decimals_of(largest: float) -> int:
    """Returns the number of decimals that shows a number with three significant digits, at most 2."""
    return 0 if largest >= 100 else 1 if largest >= 10 else 2
