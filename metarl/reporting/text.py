"""Numbers and sentences of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from metarl.evaluation.result import Summary
from metarl.evaluation.scratch import LearningCurve, Measure, worth
from metarl.evaluation.statistics import LEVEL, Interval
from metarl.reporting.figures import Quantity
from metarl.reporting.material import Policy
from metarl_envs.errors import UserError

CONTROL_NOTES = {
    "random": "actions at random",
    "shuffled": "adapts on another task's episodes",
    "state-held": "recurrent state stays as at the start",
    "expert": "Meta-World's scripted solution, which sees the goal",
    "oracle": "one policy for all tasks, which sees the goal",
}
"""What each control is, in a few words."""


class Shown(NamedTuple):
    """Number with its interval, ready to be shown."""

    mean: str
    """The mean, with its unit."""
    span: str
    """The interval, such as "62 to 86"; empty if there is none."""


NOTHING = Shown("", "")


def quantity_of(policies: Sequence[Policy]) -> Quantity:
    """Returns what the report's answer is about: success, or return where nothing was ever solved."""
    return "success" if any(policy.success.any() for policy in policies) else "return"


def show_share(share: Interval | None, sign: str = "") -> Shown:
    """Shows a share in per cent, or a difference of shares, with a sign, in points."""
    if share is None:
        return NOTHING
    mean, low, high = (f"{100 * value:{sign}z.0f}" for value in share)
    return Shown(f"{mean} {'points' if sign else '%'}", f"{low} to {high}")


def show_return(value: Interval | None, sign: str = "") -> Shown:
    """Shows a return, or a gain in it, with three significant digits at least."""
    if value is None:
        return NOTHING
    decimals = decimals_of(max(map(abs, value)))
    mean, low, high = (f"{number:{sign}z,.{decimals}f}" for number in value)
    return Shown(mean, f"{low} to {high}")


def decimals_of(largest: float) -> int:
    """Returns the number of decimals that shows a number with three significant digits, at most 2."""
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def answer(policy: Policy, quantity: Quantity) -> str:
    """Says in one sentence how much a policy improves on new tasks, with the interval of the gain."""
    first, last = policy.result.overall[0], policy.result.overall[-1]
    tasks = f"{len(policy.evaluation.task_ids)} {'held-out' if policy.evaluation.held_out else 'training'} tasks"
    gain = last.success_gain if quantity == "success" else last.return_gain
    if gain is None:
        level = _level(first, quantity)
        return f"{policy.label} {level} on {tasks} {_after(first.k)}; no gain was measured: k = 0 or a larger k is missing."
    show = show_share if quantity == "success" else show_return
    shown = show(gain, "+")
    change = f"{shown.mean} ({LEVEL:.0%} interval {shown.span})"
    if min(Counter(policy.evaluation.task_names).values()) < 2:
        change, verdict = shown.mean, "; with a single task of a name there is no interval to tell it from chance"
    else:
        verdict = "" if gain.excludes_zero else ", which may be chance"
    now, before = _level(last, quantity), show(first.success if quantity == "success" else first.returns).mean
    return f"{_after(last.k).capitalize()} on a new task, {policy.label} {now}, {before} before: {change}, over {tasks}{verdict}."


def _level(summary: Summary, quantity: Quantity) -> str:
    if quantity == "success":
        return f"succeeds in {show_share(summary.success).mean} of its attempts"
    return f"reaches a return of {show_return(summary.returns).mean}"


def _after(k: int) -> str:
    return "before adaptation" if k == 0 else f"after {k} episode{'s' * (k > 1)}"


def protocol(policy: Policy) -> str:
    """Describes in full how a policy was evaluated."""
    evaluation, seeds = policy.evaluation, len(policy.runs)
    spread = "tasks" if seeds == 1 else f"tasks and {seeds} training seeds"
    kind = "held-out tasks, none of which was trained on" if evaluation.held_out else "tasks that may be trained on"
    ks = ", ".join(map(str, evaluation.adaptation_episodes))
    return (
        f"{evaluation.distribution}: {len(evaluation.task_ids)} {kind}. For each number k of adaptation episodes ({ks})"
        f" the policy starts anew, plays k episodes on the task, adapts, and then plays {evaluation.episodes} evaluation"
        f" episode{'s' * (evaluation.episodes > 1)} of {evaluation.horizon} steps to their end. Success: solved at any"
        f" step. Return: undiscounted sum of rewards. Gains are paired by task. Intervals ({LEVEL:.0%}) tell of the spread"
        f" over {spread}. Evaluation seed {evaluation.seed}."
    )


def worth_sentences(policies: Sequence[Policy], curves: Sequence[LearningCurve], measure: Measure) -> list[str]:
    """Says for each policy and each learner from scratch how many of its episodes adaptation is worth.

    Curves of other tasks or other episodes than the policy's are left out.
    """
    sentences = []
    for policy in policies:
        for curve in curves:
            with suppress(UserError):
                value = worth(policy.evaluation, curve, policy.evaluation.adaptation_episodes[-1], measure)
                sentences.append(f"{policy.label}: {value.sentence()}" if len(policies) > 1 else value.sentence())
    return sentences
