"""Table of an evaluation and its controls, and what they tell in plain sentences."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from metarl.evaluation.result import Evaluation, Summary
from metarl.evaluation.table import _decimals, _interval, _percent, _table

_MEANINGS = {
    "random": "uniform random actions",
    "shuffled": "adapted on another task's episodes",
    "state-held": "recurrent state held at its initial value",
    "expert": "Meta-World's scripted policy, which is told the goal",
    "oracle": "PPO of stable-baselines3, trained on the training tasks with the goal visible",
}


def control_table(evaluation: Evaluation, controls: Mapping[str, Evaluation]) -> RenderableType:
    """Renders the policy and its controls in one table, over all task names.

    Of those that adapt it shows the smallest and the largest number k of adaptation episodes.

    Args:
        evaluation: Evaluation of the policy.
        controls: Evaluations of the controls by name.
    """
    table = _table("policy or control", "k", "success %", "return", "gain in return over k = 0")
    everything = {"policy": evaluation} | dict(controls)
    decimals = _decimals([row.returns for each in everything.values() for row in each.overall])
    for name, each in everything.items():
        for row in _ends(each.overall):
            adapts = len(each.overall) > 1
            label = f"{name}, not adapted" if adapts and row.k == 0 else name
            gain = _interval(row.return_gain, decimals, "+") if row.return_gain else Text("")
            k = str(row.k) if adapts else ""
            table.add_row(Text(label), k, _percent(row.success), _interval(row.returns, decimals), gain)
    legend = "\n".join(f"{name}: {_MEANINGS[name]}." for name in controls)
    return Group(table, Text(legend))


def _ends(rows: list[Summary]) -> list[Summary]:
    return rows if len(rows) < 2 else [rows[0], rows[-1]]
