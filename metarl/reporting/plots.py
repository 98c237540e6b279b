"""Which figures there are for some policies, each with a title and a caption that tells what one sees."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from metarl.acting.adapts_on import AdaptsOn
from metarl.evaluation.statistics import LEVEL
from metarl.reporting import figures
from metarl.reporting.figures import AdaptationCurve, LearningPoints, Quantity, Scattered
from metarl.reporting.learning import Curve, read_metrics, thin
from metarl.reporting.material import Policy, combine, curves_of, independent_of
from metarl.reporting.text import control_note, counted, quantity_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUANTITIES: tuple[Quantity, ...] = ("success", "return")
_TITLES: dict[Quantity, str] = {"success": "Success", "return": "Return"}
_STYLES = {
    "after": "Solid: training tasks after adaptation, with sampled actions.",
    "held-out": "Diamonds: held-out tasks, evaluated in between.",
    "before": "Grey: training tasks before adaptation.",
}
"""What curves of each style show."""
_HELD_OUT = re.compile(r"eval/(success_rate|return)/test/(\d+)_episodes")


class Plot(NamedTuple):
    """Figure with what is written around it."""

    name: str
    """Name of its file."""
    title: str
    """Title above it."""
    caption: str
    """What one sees."""
    figure: Figure
    """The figure."""


def make_plots(policies: Sequence[Policy]) -> list[Plot]:
    """Makes the figures that evaluations and metrics of policies allow; none of success where nothing is solved."""
    makers = (_adaptation, _gains, _scratch, _learning, _stress)
    return [plot for make in makers for plot in make(policies)]


def adaptation_curves(policies: Sequence[Policy]) -> list[AdaptationCurve]:
    """Returns curves of the policies, then those of their controls; a control that all share only once."""
    curves = [AdaptationCurve(policy.label, policy.result.overall, note=policy.told_in_training) for policy in policies]
    for policy in policies:
        for name, stored in policy.controls.items():
            shared = independent_of(stored[0])
            if shared and policy is not policies[0]:
                continue
            label = name if shared or len(policies) == 1 else f"{name}, {policy.label}"
            note = control_note(name, stored[0].evaluation)
            curves.append(AdaptationCurve(label, combine(stored).overall, control=True, note=note))
    return curves


def _shown(policies: Sequence[Policy]) -> tuple[Quantity, ...]:
    return _QUANTITIES if quantity_of(policies) == "success" else ("return",)


def _adaptation(policies: Sequence[Policy]) -> Iterator[Plot]:
    curves = adaptation_curves(policies)
    spread = "tasks" if all(len(policy.runs) == 1 for policy in policies) else "tasks and training seeds"
    controls = " Grey: controls." if any(curve.control for curve in curves) else ""
    axis = " or ".join(dict.fromkeys(f"{policy.evaluation.adapts_on.in_full}" for policy in policies))
    says: dict[Quantity, str] = {
        "success": f"Share of episodes in which the task was solved, after so many {counted(policies)} to adapt on.",
        "return": f"Sum of an episode's rewards, after so many {counted(policies)} to adapt on.",
    }
    for quantity in _shown(policies):
        caption = f"{says[quantity]} Bands: {LEVEL:.0%} intervals over {spread}.{controls}"
        figure = figures.adaptation_figure(curves, quantity, axis)
        yield Plot(f"adaptation-{quantity}", _TITLES[quantity], caption, figure)


def _gains(policies: Sequence[Policy]) -> Iterator[Plot]:
    if policies[0].result.overall[-1].return_gain is None:
        return
    ks = policies[0].evaluation.adaptation_episodes
    counts = Counter(policies[0].evaluation.task_names)
    against = f"after {_counted(ks[-1], policies)} over that before any"
    if len(counts) > 1:
        for quantity in _shown(policies)[:1]:
            rows = {
                policy.label: {
                    name: summaries[-1].success_gain if quantity == "success" else summaries[-1].return_gain
                    for name, summaries in policy.result.per_name.items()
                }
                for policy in policies
            }
            kept = {label: {n: gain for n, gain in each.items() if gain is not None} for label, each in rows.items()}
            caption = (
                f"Gain {against}, mean of the tasks of each name, with its {LEVEL:.0%} interval.{_legend(policies)}"
            )
            figure = figures.name_gains_figure(kept, quantity)
            yield Plot("gain-by-name", f"Gain in {quantity} by task name", caption, figure)
    gains = {policy.label: policy.returns[-1] - policy.returns[0] for policy in policies}
    yield from _before_and_after(policies)
    counts_of = {label: f"{int((each > 0).sum())} of {len(each)} tasks gain" for label, each in gains.items()}
    said = "; ".join(f"{label}: {count}" if len(gains) > 1 else count for label, count in counts_of.items())
    caption = f"A point is a task: its return {against}. {said}."
    yield Plot("gain-by-task", "Gain in return by task", caption, figures.task_gains_figure(gains, "return"))


def _before_and_after(policies: Sequence[Policy]) -> Iterator[Plot]:
    ends = {policy.label: (policy.returns[0], policy.returns[-1]) for policy in policies}
    k = policies[0].evaluation.adaptation_episodes[-1]
    caption = f"A point is a task: its return before, and after {_counted(k, policies)}. Above the line it gained."
    yield Plot("before-and-after", "Return before and after", caption, figures.before_and_after_figure(ends))


def _counted(k: int, policies: Sequence[Policy]) -> str:
    return " or ".join(dict.fromkeys(policy.evaluation.adapts_on.number(k) for policy in policies))


def _legend(policies: Sequence[Policy]) -> str:
    if len(policies) == 1:
        return ""
    return f" Per name from the top: {', '.join(policy.label for policy in policies)}."


def _scratch(policies: Sequence[Policy]) -> Iterator[Plot]:
    curves = curves_of(policies)
    if not curves:
        return
    tasks = len(curves[0].task_ids)
    # demonstrations cannot be counted in episodes
    played = [policy for policy in policies if policy.evaluation.adapts_on is AdaptsOn.EPISODES]
    adapted = [AdaptationCurve(policy.label, policy.result.overall) for policy in played]
    caption = (
        f"Grey: learning each of {tasks} held-out tasks from nothing, median and quartiles over tasks. A point: what"
        " the trained policy reaches after its few episodes, over all held-out tasks; the rule carries it to the right."
    )
    for quantity in _shown(policies):
        figure = figures.scratch_figure(curves, adapted, quantity)
        yield Plot(f"scratch-{quantity}", f"{_TITLES[quantity]} from scratch", caption, figure)


def _learning(policies: Sequence[Policy]) -> Iterator[Plot]:
    steps = " or ".join(dict.fromkeys(policy.evaluation.adapts_on.steps for policy in policies))
    metrics = [(index, policy, read_metrics(run)) for index, policy in enumerate(policies) for run in policy.runs]
    for quantity in _QUANTITIES:
        series: list[LearningPoints] = []
        for index, policy, each in metrics:
            first = not any(points.run == index for points in series)
            label = policy.label if first else ""
            series += _learning_points(each, quantity, index, label, alone=len(metrics) == 1)
        if series and (quantity == "return" or any(points.values.any() for points in series)):
            figure = figures.learning_figure(series, quantity, steps)
            said = (sentence for style, sentence in _STYLES.items() if any(each.style == style for each in series))
            yield Plot(f"learning-{quantity}", f"{_TITLES[quantity]} in training", " ".join(said), figure)


def _learning_points(
    metrics: Mapping[str, Curve], quantity: Quantity, run: int, label: str, *, alone: bool
) -> Iterator[LearningPoints]:
    """Yields the curves of one run; those before adaptation, and words for each, only where it stands alone."""
    after, before, held_out = {
        "success": ("rollout/success_rate", "meta/pre_adapt_success_rate", "success_rate"),
        "return": ("rollout/ep_rew_mean", "meta/pre_adapt_return", "return"),
    }[quantity]
    style: Literal["after", "before"]
    for name, style, words in ((before, "before", "before"), (after, "after", "after")):
        if name in metrics and (alone or style == "after"):
            yield LearningPoints(words if alone else label, *thin(metrics[name]), style, run)
    ks = sorted(int(match[2]) for match in map(_HELD_OUT.fullmatch, metrics) if match and match[1] == held_out)
    if ks:
        curve = metrics[f"eval/{held_out}/test/{ks[-1]}_episodes"]
        yield LearningPoints(f"held-out, k = {ks[-1]}" if alone else "", *curve, "held-out", run)


def _stress(policies: Sequence[Policy]) -> Iterator[Plot]:
    names = dict.fromkeys(curve.perturbation for policy in policies for curve in policy.stress)
    for name in names:
        curves = {policy.label: curve for policy in policies for curve in policy.stress if curve.perturbation == name}
        tasks = len(next(iter(curves.values())).evaluations[0].task_ids)
        words, file = figures.spoken(name), re.sub("[^a-z0-9]+", "-", name.lower())
        caption = f"{tasks} tasks under a perturbation of growing strength, {words}. Grey: before adaptation."
        for quantity in _shown(policies):
            figure = figures.stress_figure(curves, quantity)
            yield Plot(f"stress-{file}-{quantity}", f"{_TITLES[quantity]}, {words}", caption, figure)


def inside_plot(policy: Policy, number: int, what: str, tasks: Scattered) -> Plot:
    """Makes the figure of what adaptation left in a policy.

    Args:
        policy: The policy.
        number: Place of the policy in the report.
        what: What was left, such as "recurrent state".
        tasks: Its projection.
    """
    k = policy.evaluation.adaptation_episodes[-1]
    coloured = "name" if tasks.shade is None else tasks.shade_label
    after = policy.evaluation.adapts_on.number_of(k, "it")
    caption = (
        f"A point is a held-out task: the {what} after {after}, projected to the two directions in which tasks differ"
        f" most. Colour: {coloured}. Where like colours lie together, the policy tells these tasks apart."
    )
    title = f"{what.capitalize()} of {policy.label}"
    return Plot(f"inside-{number}", title, caption, figures.projection_figure(tasks))
