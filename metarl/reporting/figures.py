"""Figures of evaluations: success and return against adaptation, gains of tasks and names, learning curves, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from metarl.evaluation.scratch import LearningCurve
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stress import StressCurve
from metarl.evaluation.summary import Summary
from metarl.reporting.style import DASHES, FAINT, INK, RULE, SERIES, colour, label_curves, new_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Quantity = Literal["success", "return"]
"""What a figure shows: share of episodes solved at any step, or undiscounted return."""


class AdaptationCurve(NamedTuple):
    """Performance of a policy or control against adaptation."""

    label: str
    """Name beside the curve."""
    summaries: Sequence[Summary]
    """Summary of each k."""
    control: bool = False
    """True for a control, which is drawn in grey and dashed."""
    note: str = ""
    """What it is, in a few words; empty if there is nothing to say."""


class LearningPoints(NamedTuple):
    """One metric of a run in training."""

    label: str
    """Name beside the curve."""
    env_steps: npt.NDArray[np.int64]
    """Environment steps at each point."""
    values: npt.NDArray[np.float64]
    """Value at each point, success as a share of 1."""
    style: Literal["after", "before", "held-out"]
    """What it was measured on: training tasks after or before adaptation, or held-out tasks."""
    run: int = 0
    """Place of the run, which gives the colour."""


class Scattered(NamedTuple):
    """Tasks in two dimensions."""

    places: Float[np.ndarray, "task 2"]
    """Place of each task."""
    explained: tuple[float, float]
    """Shares of the variance along each axis."""
    names: Sequence[str]
    """Name of each task."""
    shade: Float[np.ndarray, "task"] | None
    """Number that colours each task; None colours by name."""
    shade_label: str = ""
    """What the number is."""


def adaptation_figure(curves: Sequence[AdaptationCurve], quantity: Quantity, counted: str) -> Figure:
    """Draws success or return against k, with bands of the intervals.

    A control measured at a single k is a level line.

    Args:
        curves: Policies and controls.
        quantity: What to draw.
        counted: What k counts, such as "adaptation episodes".
    """
    figure, axes = new_axes(counted, _axis_name(quantity))
    most = max(max(summary.k for summary in curve.summaries) for curve in curves)
    labels = []
    controls = runs = 0
    for curve in curves:
        ink = FAINT if curve.control else colour(runs)
        dashes = DASHES[controls % len(DASHES)] if curve.control else "solid"
        controls, runs = controls + curve.control, runs + (not curve.control)
        intervals = [_interval(summary, quantity) for summary in curve.summaries]
        ks = [summary.k for summary in curve.summaries]
        if len(ks) == 1:
            ks, intervals = [0, most], intervals * 2
        means, low, high = (np.array(values) for values in zip(*intervals, strict=True))
        axes.fill_between(ks, low, high, color=ink, alpha=0.08 if curve.control else 0.18, linewidth=0)
        marker, width = ("", 1.3) if curve.control else ("o", 2)
        axes.plot(ks, means, color=ink, linestyle=dashes, linewidth=width, marker=marker, markersize=5)
        labels.append((float(ks[-1]), float(means[-1]), curve.label, ink))
    axes.set_xticks(sorted({summary.k for curve in curves for summary in curve.summaries} | {0}))
    axes.set_xlim(-0.02 * most, most * 1.02 if most else 1)
    _finish(axes, quantity)
    label_curves(axes, labels)
    return figure


def task_gains_figure(gains: Mapping[str, Float[np.ndarray, "task"]], quantity: Quantity) -> Figure:
    """Draws the gain of every task, tasks in order of their gain.

    Args:
        gains: Gains of the tasks by run.
        quantity: What the gains are of.
    """
    figure, axes = new_axes("held-out tasks, in order of gain", _gain_name(quantity), height=2.8)
    axes.axhline(0, color=FAINT, linewidth=1)
    labels = []
    for index, (label, values) in enumerate(gains.items()):
        ordered = np.sort(values)
        ranks = np.arange(1, len(ordered) + 1)
        ink = colour(index)
        axes.vlines(ranks, 0, ordered, color=ink, linewidth=1, alpha=0.35 if len(gains) == 1 else 0)
        axes.plot(ranks, ordered, color=ink, linestyle="none", marker="o", markersize=4)
        labels.append((float(ranks[-1]), float(ordered[-1]), label, ink))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if quantity == "success":
        axes.yaxis.set_major_formatter(_signed_percent())
    if len(gains) > 1:
        label_curves(axes, labels)
    return figure


def before_and_after_figure(
    returns: Mapping[str, tuple[Float[np.ndarray, "task"], Float[np.ndarray, "task"]]],
) -> Figure:
    """Draws every task's return after adaptation against that before; tasks above the diagonal gained.

    Args:
        returns: Returns of the tasks before and after adaptation by run.
    """
    figure, axes = new_axes("return before adaptation", "return after adaptation", height=2.8)
    values = np.concatenate([each for pair in returns.values() for each in pair])
    margin = 0.03 * (values.max() - values.min() or 1)
    limits = values.min() - margin, values.max() + margin
    axes.plot(limits, limits, color=FAINT, linewidth=1)
    labels = []
    for index, (label, (before, after)) in enumerate(returns.items()):
        ink = colour(index)
        axes.plot(before, after, color=ink, linestyle="none", marker="o", markersize=4, alpha=0.7)
        labels.append((float(before.mean()), float(after.mean()), label, ink))
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if len(returns) > 1:
        label_curves(axes, labels)
    return figure


def name_gains_figure(gains: Mapping[str, Mapping[str, Interval]], quantity: Quantity) -> Figure:
    """Draws the mean gain of each name's tasks with its interval, names in the order of the first run's gain.

    Args:
        gains: Intervals by run, then by name.
        quantity: What the gains are of.
    """
    first = next(iter(gains.values()))
    names = sorted(first, key=lambda name: first[name].mean)
    height = 1.0 + 0.24 * len(names)
    figure, axes = new_axes("", _gain_name(quantity), height=height)
    axes.axvline(0, color=FAINT, linewidth=1)
    for index, by_name in enumerate(gains.values()):
        shift = 0.28 * ((index + 0.5) / len(gains) - 0.5)
        rows = np.arange(len(names)) - shift
        means, low, high = np.array([by_name[name] for name in names]).T
        axes.hlines(rows, low, high, color=colour(index), linewidth=2, alpha=0.45)
        axes.plot(means, rows, color=colour(index), linestyle="none", marker="o", markersize=5)
    axes.set_yticks(range(len(names)), [shorten(name, 26) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    if quantity == "success":
        axes.xaxis.set_major_formatter(_signed_percent())
    return figure


def learning_figure(series: Sequence[LearningPoints], quantity: Quantity, steps: str) -> Figure:
    """Draws what training tasks and held-out tasks showed in the course of training.

    Args:
        series: Curves.
        quantity: What to draw.
        steps: What training's steps are.
    """
    figure, axes = new_axes(f"{steps} in training", _axis_name(quantity))
    labels = []
    for points in series:
        ink = FAINT if points.style == "before" else colour(points.run)
        if points.style == "held-out":
            (line,) = axes.plot(points.env_steps, points.values, color=ink, linestyle=DASHES[1], linewidth=1.3)
            line.set(marker="D", markersize=5, markerfacecolor="none")
        else:
            axes.plot(points.env_steps, points.values, color=ink, linewidth=1.2)
        labels.append((float(points.env_steps[-1]), float(points.values[-1]), points.label, ink))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: _count(steps)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(0, max(points.env_steps[-1] for points in series) * 1.02)
    _finish(axes, quantity)
    label_curves(axes, labels)
    return figure


def scratch_figure(curves: Sequence[LearningCurve], adapted: Sequence[AdaptationCurve], quantity: Quantity) -> Figure:
    """Draws learning from scratch, median and quartiles over tasks, beside what adaptation reaches.

    Args:
        curves: Learning curves from scratch.
        adapted: Policies, drawn at their largest number of adaptation episodes, with a rule to the right.
        quantity: What to draw.
    """
    figure, axes = new_axes("training episodes on the task, from scratch", _axis_name(quantity))
    axes.set_xscale("symlog", linthresh=10)
    labels = []
    most = max(curve.budget for curve in curves)
    for index, curve in enumerate(curves):
        values = curve.success if quantity == "success" else curve.returns
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(curve.episodes, low, high, color=FAINT, alpha=0.12, linewidth=0)
        axes.plot(curve.episodes, median, color=FAINT, linestyle=DASHES[index % len(DASHES)], linewidth=1.5)
        labels.append((float(curve.budget), float(median[-1]), curve.learner.upper(), FAINT))
    for index, policy in enumerate(adapted):
        last = policy.summaries[-1]
        level = _interval(last, quantity).mean
        axes.plot([last.k, most], [level, level], color=colour(index), linewidth=1.2, alpha=0.6)
        axes.plot([last.k], [level], color=colour(index), marker="o", markersize=6)
        labels.append((float(most), level, f"{policy.label}, k = {last.k}", colour(index)))
    axes.set_xlim(0, most * 1.05)
    ticks = [0] + [number * 10**power for power in range(1, 8) for number in (1, 3) if number * 10**power <= most]
    axes.set_xticks(ticks, [_count(float(episodes)) for episodes in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _finish(axes, quantity)
    label_curves(axes, labels)
    return figure


def stress_figure(curves: Mapping[str, StressCurve], quantity: Quantity) -> Figure:
    """Draws performance after the most adaptation episodes, and before any, against the strength of one perturbation.

    Args:
        curves: Curves of the same perturbation by run.
        quantity: What to draw.
    """
    first = next(iter(curves.values()))
    figure, axes = new_axes(fill(f"{spoken(first.perturbation)} ({first.unit})", 45), _axis_name(quantity))
    labels = []
    for index, (label, curve) in enumerate(curves.items()):
        for row, ink in ((-1, colour(index)), (0, FAINT)):
            summaries = [evaluation.overall[row] for evaluation in curve.evaluations]
            means, low, high = np.array([_interval(summary, quantity) for summary in summaries]).T
            axes.fill_between(curve.strengths, low, high, color=ink, alpha=0.15, linewidth=0)
            axes.plot(curve.strengths, means, color=ink, marker="o", markersize=4, linewidth=1.6)
            name = f"k = {summaries[0].k}" if len(curves) == 1 else f"{label}, k = {summaries[0].k}"
            labels.append((float(curve.strengths[-1]), float(means[-1]), name, ink))
            if len(curve.evaluations[0].adaptation_episodes) == 1:
                break
    axes.set_xticks(first.strengths, [f"{strength:g}" for strength in first.strengths])
    _finish(axes, quantity)
    label_curves(axes, labels)
    return figure


def spoken(perturbation: str) -> str:
    """Returns the name of a perturbation as words."""
    return perturbation.replace("-", " ")


def projection_figure(tasks: Scattered) -> Figure:
    """Draws tasks as points in a plane, coloured by name or by a number."""
    first, second = (f"{share:.0%} of the variance" for share in tasks.explained)
    figure, axes = new_axes(f"first component ({first})", f"second component ({second})", height=3.6)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["left"].set_visible(True)
    axes.spines["left"].set_color(FAINT)
    if tasks.shade is not None:
        points = axes.scatter(
            tasks.places[:, 0], tasks.places[:, 1], c=tasks.shade, cmap="viridis", s=42, edgecolors=INK, linewidths=0.4
        )
        bar = figure.colorbar(points, ax=axes, shrink=0.8, aspect=30)
        bar.set_label(tasks.shade_label, color=INK)
        bar.ax.tick_params(colors=INK, length=0)
        bar.outline.set_visible(False)
        return figure
    markers = "osD^vP*X"
    for index, name in enumerate(dict.fromkeys(tasks.names)):
        own = tasks.places[[each == name for each in tasks.names]]
        marker = markers[index // len(SERIES) % len(markers)]
        axes.plot(*own.T, color=colour(index), marker=marker, markersize=5, linestyle="none", label=shorten(name, 26))
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.2)
    return figure


def _interval(summary: Summary, quantity: Quantity) -> Interval:
    return summary.success if quantity == "success" else summary.returns


def _axis_name(quantity: Quantity) -> str:
    return "success" if quantity == "success" else "return (sum of rewards)"


def _gain_name(quantity: Quantity) -> str:
    return "gain in success (percentage points)" if quantity == "success" else "gain in return (sum of rewards)"


def _finish(axes: Axes, quantity: Quantity) -> None:
    """Sets the limits and ticks of the vertical axis: shares from 0 to 100 %."""
    if quantity == "success":
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks(np.linspace(0, 1, 6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))


def _signed_percent() -> FuncFormatter:
    return FuncFormatter(lambda share, _: f"{100 * share:+z.0f}")


def _count(number: float) -> str:
    """Writes a number of steps as 0, 500 k or 2.5 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"
