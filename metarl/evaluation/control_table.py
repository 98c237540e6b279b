"""Table of an evaluation and its controls, and what they tell in plain sentences."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from metarl.evaluation.result import Evaluation
from metarl.evaluation.summary import Summary
from metarl.evaluation.table import decimals_for, first_and_last, new_table, show_gain, show_interval, show_percent

_WITHOUT_ADAPTATION = ("random", "expert", "oracle")
_MEANINGS = {
    "random": "uniform random actions",
    "shuffled": "adapted on another task's {adapts_on}",
    "state-held": "recurrent state held at its initial value",
    "cloning": "plain cloning of the same demonstrations, from scratch for each task",
    "gail": "GAIL, which learns each task from scratch by playing it, rewarded for what looks like the demonstrations",
    "expert": "Meta-World's scripted policy, which is told the goal",
    "oracle": "PPO of stable-baselines3, trained on the training tasks with the goal visible",
}


def control_table(evaluation: Evaluation, controls: Mapping[str, Evaluation]) -> RenderableType:
    """Renders the policy and its controls in one table, over all task names, and what the shuffled control tells.

    Of those that adapt it shows the smallest and the largest k.

    Args:
        evaluation: Evaluation of the policy.
        controls: Evaluations of the controls by name.
    """
    table = new_table("control", "k", "success %", "return", "gain in return")
    everything = {"policy": evaluation} | dict(controls)
    decimals = decimals_for([row.returns for each in everything.values() for row in each.overall])
    for name, each in everything.items():
        for row in first_and_last(each.overall):
            k = "" if name in _WITHOUT_ADAPTATION else str(row.k)
            table.add_row(
                Text(name), k, show_percent(row.success), show_interval(row.returns, decimals), show_gain(row, decimals)
            )
    legend = [f"policy: {note}" for note in evaluation.notes]
    legend += [
        f"{name}: {_MEANINGS[name].format(adapts_on=evaluation.adapts_on)}{_budget(each)}."
        for name, each in controls.items()
    ]
    if "shuffled" in controls and evaluation.adaptation_episodes[-1]:
        legend.append(_beyond_shuffled(evaluation, controls["shuffled"]))
    return Group(table, Text("\n".join(legend)))


def _budget(control: Evaluation) -> str:
    return f", in {control.learning_steps:,} environment steps for each k" if control.learning_steps else ""


def own_episodes_gain(evaluation: Evaluation, shuffled: Evaluation) -> Summary:
    """Compares adapting on the task's own episodes with adapting on another task's, as a gain that is paired by task.

    Args:
        evaluation: Evaluation of the policy.
        shuffled: Its shuffled control.

    Returns:
        Summary of the largest k, whose gains are over the shuffled control in place of k = 0.
    """
    pair = (shuffled, evaluation)
    compared = replace(
        evaluation,
        adaptation_episodes=(0, evaluation.adaptation_episodes[-1]),
        success=np.stack([each.success[-1] for each in pair]),
        success_last=np.stack([each.success_last[-1] for each in pair]),
        returns=np.stack([each.returns[-1] for each in pair]),
    )
    return compared.overall[-1]


def _beyond_shuffled(evaluation: Evaluation, shuffled: Evaluation) -> str:
    gain = own_episodes_gain(evaluation, shuffled).return_gain
    assert gain is not None  # k > 0
    interval = show_interval(gain, decimals_for([gain]), "+")
    return f"Beyond another task's {evaluation.adapts_on}, those of the task itself bring {interval} in return."
