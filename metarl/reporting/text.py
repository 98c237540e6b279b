"""Numbers and sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import isnan
from typing import NamedTuple

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import ActionChoice
from metarl.evaluation.result import Evaluation
from metarl.evaluation.scratch import LearningCurve, Measure, worth
from metarl.evaluation.statistics import LEVEL, Interval, verdict
from metarl.evaluation.summary import Summary
from metarl.evaluation.table import decimals_of
from metarl.reporting.figures import Quantity
from metarl.reporting.material import Policy
from metarl_envs.errors import UserError

_CONTROL_NOTES = {
    "random": "actions at random",
    "shuffled": "adapts on another task's {adapts_on}",
    "state-held": "recurrent state stays as at the start",
    "cloning": "clones the same demonstrations from scratch",
    "gail": "learns each task from scratch by GAIL, from the same demonstrations",
    "expert": "Meta-World's scripted solution, which sees the goal",
    "oracle": "one policy for all tasks, which sees the goal",
}
_ACTIONS: dict[ActionChoice, str] = {
    "likeliest": "most likely actions",
    "sampled": "actions sampled, as in training",
}


class Shown(NamedTuple):
    """Number with its interval, ready to be shown."""

    mean: str
    """The mean, with its unit."""
    span: str
    """The interval, such as "62 to 86"; empty where there are too few tasks for one."""


NOTHING = Shown("", "")


def control_note(name: str, control: Evaluation) -> str:
    """Says in a few words what a control is, and its budget if it learned each task."""
    budget = f", in {control.learning_steps:,} environment steps for each k" if control.learning_steps else ""
    return _CONTROL_NOTES.get(name, "").format(adapts_on=control.adapts_on) + budget


def quantity_of(policies: Sequence[Policy]) -> Quantity:
    """Returns what the report's answer is about: success, or return where nothing was ever solved."""
    return "success" if any(policy.success.any() for policy in policies) else "return"


def show_share(share: Interval | None, sign: str = "") -> Shown:
    """Shows a share in per cent, or a difference of shares, with a sign, in points."""
    if share is None:
        return NOTHING
    mean, *ends = (f"{100 * value:{sign}z.{1 if sign else 0}f}" for value in share)
    return Shown(f"{mean}\N{NO-BREAK SPACE}{'points' if sign else '%'}", _span(share, ends))


def show_return(value: Interval | None, sign: str = "", beside: Sequence[Interval | None] = ()) -> Shown:
    """Shows a return, or a gain in it, with three significant digits.

    Args:
        value: The return or gain.
        sign: "+" for a gain.
        beside: Those in the same column, all of which are shown with as many decimals as the largest needs.
    """
    if value is None:
        return NOTHING
    shown = [each for each in (value, *beside) if each is not None]
    decimals = decimals_of(max(abs(number) for each in shown for number in each if not isnan(number)))
    mean, *ends = (f"{number:{sign}z,.{decimals}f}" for number in value)
    return Shown(mean, _span(value, ends))


def _span(interval: Interval, ends: Sequence[str]) -> str:
    return "" if isnan(interval.low) else " to ".join(ends)


def answer(policy: Policy, quantity: Quantity) -> str:
    """Says in a sentence or two how much a policy improves on new tasks, with the interval of the gain."""
    first, last = policy.result.overall[0], policy.result.overall[-1]
    count, kind = len(policy.evaluation.task_ids), "held-out" if policy.evaluation.held_out else "not held-out"
    over = f"over {count} {kind} task{'s' * (count > 1)}"
    gain = last.success_gain if quantity == "success" else last.return_gain
    if gain is None:
        return (
            f"{_after(policy)}, {policy.label} {_level(last, quantity)} {over}. What adaptation adds was not measured."
        )
    show = show_share if quantity == "success" else show_return
    before, shown = show(first.success if quantity == "success" else first.returns).mean, show(gain, "+")
    said = f"{_after(policy, 'a new task')}, {policy.label} {_level(last, quantity)}, against {before} before"
    if quantity == "success" and first.success.mean == 1:
        return f"{said} {over}: at the ceiling, where success cannot rise."
    return f"{said}: {shown.mean}{_in_brackets(shown)} {over}.{_verdict(gain, count, quantity)}"


def _verdict(gain: Interval, tasks: int, quantity: Quantity) -> str:
    found = verdict(gain, tasks)
    if found == "too few tasks to tell":
        return " These are too few tasks to tell it from chance."
    return "" if found == "excludes zero" else f" The interval includes zero: no gain in {quantity} is shown."


def _in_brackets(shown: Shown) -> str:
    return f" ({LEVEL:.0%} interval {shown.span})" if shown.span else ""


def aside(policy: Policy) -> str:
    """Says what the return gained, for below an answer about success."""
    first, last = policy.result.overall[0], policy.result.overall[-1]
    if last.return_gain is None:
        return f"The return of {policy.label} is {show_return(last.returns).mean}."
    gain = show_return(last.return_gain, "+")
    return (
        f"The return of {policy.label} goes from {show_return(first.returns).mean} to {show_return(last.returns).mean}:"
        f" {gain.mean}{_in_brackets(gain)}."
    )


def _level(summary: Summary, quantity: Quantity) -> str:
    if quantity == "success":
        return f"succeeds in {show_share(summary.success).mean} of its attempts"
    return f"reaches a return of {show_return(summary.returns).mean}"


def _after(policy: Policy, task: str = "") -> str:
    evaluation = policy.evaluation
    k, adapts_on = evaluation.adaptation_episodes[-1], evaluation.adapts_on
    if k == 0:
        return "Before adaptation"
    return f"After {adapts_on.number_of(k, task) if task else adapts_on.number(k)}"


def counted(policies: Sequence[Policy]) -> str:
    """Returns what k counts, such as "episodes", or "episodes or demonstrations" where policies differ."""
    return " or ".join(dict.fromkeys(policy.evaluation.adapts_on for policy in policies))


def protocols(policies: Sequence[Policy]) -> list[str]:
    """Describes in full how policies were evaluated, once for each kind of adaptation."""
    kinds = {policy.evaluation.adapts_on: policy for policy in reversed(policies)}
    return [protocol(policy) for policy in policies if policy in kinds.values()]


_ADAPTS = {
    AdaptsOn.EPISODES: "plays k episodes on the task, adapts, and then",
    AdaptsOn.DEMONSTRATIONS: "is shown the first k demonstrations of the task, and then",
}


def protocol(policy: Policy) -> str:
    """Describes in full how a policy was evaluated."""
    evaluation, seeds = policy.evaluation, len(policy.runs)
    spread = "tasks" if seeds == 1 else f"tasks and {seeds} training seeds"
    kind = "held-out tasks, none of which was trained on" if evaluation.held_out else "tasks that may be trained on"
    ks = ", ".join(map(str, evaluation.adaptation_episodes))
    plays = f"{evaluation.episodes} evaluation episode{'s' * (evaluation.episodes > 1)} of {evaluation.horizon} steps"
    return (
        f"{evaluation.distribution}: {len(evaluation.task_ids)} {kind}. For each number k of"
        f" {evaluation.adapts_on.in_full} ({ks}) the policy starts anew, {_ADAPTS[evaluation.adapts_on]} plays {plays}"
        f" to their end, with its {_ACTIONS[evaluation.actions]}. Success: solved at any step. Return: undiscounted sum"
        f" of rewards. Gains are paired by task. Intervals ({LEVEL:.0%}) tell of the spread over {spread}."
        f" Evaluation seed {evaluation.seed}."
    )


def worth_sentences(policies: Sequence[Policy], curves: Sequence[LearningCurve], measure: Measure) -> list[str]:
    """Says for each policy and each learner from scratch how many of its episodes adaptation is worth.

    Left out are curves of other tasks or other episodes than the policy's, and policies that adapt on demonstrations.
    """
    sentences = []
    for policy in policies:
        for curve in curves:
            with suppress(UserError):
                value = worth(policy.evaluation, curve, policy.evaluation.adaptation_episodes[-1], measure)
                sentences.append(f"{policy.label}: {value.sentence()}" if len(policies) > 1 else value.sentence())
    return sentences
