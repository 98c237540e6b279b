"""Tables and plain sentences of an evaluation for an 80-column terminal, with or without colour."""

from collections import Counter

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.evaluation.result import Evaluation, Summary
from metarl.evaluation.statistics import LEVEL, Interval

_MOST_NAMES_IN_FULL = 10


def evaluation_table(evaluation: Evaluation) -> RenderableType:
    """Renders an evaluation: results by name if there are several, results over all names, and gains of adaptation.

    With more than 10 names, the table per name shows only the smallest and the largest number of adaptation episodes.
    """
    names = len(evaluation.per_name)
    parts: list[RenderableType] = [Text(_heading(evaluation))]
    if names > 1:
        parts += [_names_table(evaluation), Text("All names, each with the same weight:")]
    if evaluation.divergences:
        parts.append(Text(f"The simulation diverged in {evaluation.divergences} episodes, which ended there."))
    parts += [_gain_table(evaluation.overall), Text("\n".join(conclusions(evaluation)))]
    return Group(*parts)


def conclusions(evaluation: Evaluation) -> list[str]:
    """Returns plain sentences on the gain of the largest k over k = 0; empty if k = 0 was not played."""
    summary = evaluation.overall[-1]
    if summary.return_gain is None or summary.success_gain is None:
        return []
    if min(Counter(evaluation.task_names).values()) < 2:
        return ["With a single task of a name there is no interval to tell a gain from chance."]
    plural = "" if summary.k == 1 else "s"
    decimals = _decimals([summary.return_gain])
    success_gain = Interval(*(100 * value for value in summary.success_gain))
    return [
        f"Adapting on {summary.k} episode{plural} {effect}."
        for effect in (
            _effect("return", summary.return_gain, decimals, ""),
            _effect("success", success_gain, 1, " points"),
        )
    ]


def _effect(quantity: str, gain: Interval, decimals: int, unit: str) -> str:
    verb = "raises" if gain.mean > 0 else "changes"
    verdict = "excludes zero" if gain.excludes_zero else "does not exclude zero"
    mean, low, high = (f"{value:+z.{decimals}f}" for value in gain)
    return f"{verb} {quantity} by {mean}{unit} ({LEVEL:.0%} interval {low} to {high}): {verdict}"


def _heading(evaluation: Evaluation) -> str:
    tasks, episodes = len(evaluation.task_names), evaluation.episodes
    kind = "held-out" if evaluation.held_out else "not held-out"
    return (
        f"{evaluation.distribution}: {tasks} {kind} task{'s' * (tasks > 1)}, {episodes} episode{'s' * (episodes > 1)} "
        f"each after k adaptation episodes.\nSuccess = solved at any step. [{LEVEL:.0%} bootstrap interval over tasks]"
    )


def _names_table(evaluation: Evaluation) -> Table:
    table = _table("task", "k", "success %", "return")
    in_full = len(evaluation.per_name) <= _MOST_NAMES_IN_FULL
    decimals = _decimals([row.returns for rows in evaluation.per_name.values() for row in rows])
    for name, rows in evaluation.per_name.items():
        shown = rows if in_full or len(rows) < 2 else [rows[0], rows[-1]]
        for row in shown:
            label = name if row is shown[0] else ""
            table.add_row(Text(label), str(row.k), _percent(row.success), _interval(row.returns, decimals))
    return table


def _gain_table(rows: list[Summary]) -> Table:
    table = _table("k", "success %", "return", "gain in return over k = 0")
    decimals = _decimals([row.returns for row in rows])
    for row in rows:
        gain = _interval(row.return_gain, decimals, "+") if row.return_gain else Text("")
        table.add_row(str(row.k), _percent(row.success), _interval(row.returns, decimals), gain)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_name = column == "task"
        table.add_column(
            Text(column), justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold", max_width=40
        )
    return table


def _percent(share: Interval) -> Text:
    return _interval(Interval(*(100 * value for value in share)), 0)


def _interval(interval: Interval, decimals: int, sign: str = "") -> Text:
    mean, low, high = (f"{value:{sign}z.{decimals}f}" for value in interval)
    return Text(f"{mean} [{low}, {high}]")  # not a string, which rich would read as markup


def _decimals(intervals: list[Interval]) -> int:
    """Returns the number of decimals that shows the largest value with three significant digits, at most 2."""
    largest = max(abs(value) for interval in intervals for value in interval)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2
