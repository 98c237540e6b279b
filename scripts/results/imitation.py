"""Section of the page of results about imitation: ways from demonstrations to a policy, beside the controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metarl.evaluation.experiment import Experiment
from metarl.evaluation.summary import Outcomes, Summary
from results.commands import evaluation_command
from results.experiments import ExperimentSummary
from results.tables import class_table, experiments, interval, percent, return_decimals, table, what_was_played
from results.training import methods_table, versions_of_methods

_HEAD = """\
## Imitation of demonstrations

*Can a policy do it too, after k demonstrations?* [Imitation](algorithms/imitation.md) tells what the ways are, and
[Controls](controls.md) what they are held against. Success: solved at any step of an episode. Brackets: 95 % intervals
over tasks, and over seeds where there are several. Gains are paired by task: those of a way over k = 0, and those over
a control on the tasks that it played."""


class _Way(NamedTuple):
    """A way as it was evaluated once, and the controls that were played beside it."""

    title: str
    played: Experiment
    controls: list[Experiment]
    env_steps: int
    """Environment steps of training."""

    @staticmethod
    def all_of(summary: ExperimentSummary) -> list[_Way]:
        """Returns the evaluations of an experiment; more than one where checkpoints, tasks or numbers k differ."""
        found = experiments(stored for run in summary.runs for stored in run.evaluations)
        ways = [each for each in found if each.origins[0].control is None]
        controls = [each for each in found if each.origins[0].control is not None]
        steps = summary.runs[0].facts.env_steps
        return [
            _Way(_of_split(summary.about.title, way), way, [each for each in controls if _beside(way, each)], steps)
            for way in ways
        ]

    @property
    def command(self) -> str:
        """Command that evaluates it."""
        names = [each.origins[0].control or "" for each in self.controls]
        against = f" --controls {' '.join(dict.fromkeys(names))}" if names else ""
        return evaluation_command(self.played, self.env_steps) + against


def _of_split(title: str, way: Experiment) -> str:
    return title if way.evaluations[0].held_out else f"{title}, training tasks"


def _beside(way: Experiment, control: Experiment) -> bool:
    (mine, theirs) = (each.origins[0] for each in (way, control))
    return (mine.split, mine.iteration) == (theirs.split, theirs.iteration)


def imitation_section(summaries: Sequence[ExperimentSummary]) -> str | None:
    """Returns the section, in Markdown; None if there is no experiment.

    Args:
        summaries: Experiments whose runs imitate.

    Raises:
        UserError: If runs of an experiment differ in more than their seeds.
    """
    by_tasks: dict[str, list[ExperimentSummary]] = {}
    for each in summaries:
        by_tasks.setdefault(each.runs[0].config.tasks.model_dump_json(), []).append(each)
    parts = [_part(group) for group in by_tasks.values()]
    return "\n\n".join([_HEAD, *parts]) + "\n" if parts else None


def _part(group: Sequence[ExperimentSummary]) -> str:
    ways = [way for each in group for way in _Way.all_of(each)]
    datasets = dict.fromkeys(run.facts.dataset.describe() for each in group for run in each.runs if run.facts.dataset)
    parts = [f"### {ways[0].played.evaluations[0].distribution}", *datasets, _success_and_return(ways), _controls(ways)]
    for way in ways:
        parts += [f"**{way.title}, {what_was_played(way.played)}**: `{way.command}`", class_table(way.played)]
    notes = [f"- {each.about.title}: {each.about.text.strip()}" for each in group if each.about.text]
    parts += [methods_table(group), versions_of_methods(group), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _success_and_return(ways: Sequence[_Way]) -> str:
    """Returns the table of success and return after k demonstrations, for each way."""
    decimals = return_decimals([row for way in ways for row in way.played.overall])
    return table(
        ["way", "k", "success, %", "gain, points", "return", "gain"],
        [
            [
                way.title * (number == 0),
                str(row.k),
                percent(row.success),
                percent(row.success_gain, "+"),
                interval(row.returns, decimals),
                interval(row.return_gain, decimals, "+"),
            ]
            for way in ways
            for number, row in enumerate(way.played.overall)
        ],
    )


def _controls(ways: Sequence[_Way]) -> str:
    """Returns the table of controls, and of the gains of the ways over them; empty if none was played."""
    compared = [
        (way.title, control.origins[0].control or "", each)
        for way in ways
        for control in way.controls
        for each in gains_over(way.played, control)
    ]
    if not compared:
        return ""
    decimals = return_decimals([each.control for _, _, each in compared])
    return table(
        ["way", "control", "k", "tasks", "its success, %", "gain over it, points", "its return", "gain over it"],
        [
            [
                title,
                name,
                str(each.control.k),
                str(each.tasks),
                percent(each.control.success),
                percent(each.way.success_gain, "+"),
                interval(each.control.returns, decimals),
                interval(each.way.return_gain, decimals, "+"),
            ]
            for title, name, each in compared
        ],
    )


class Compared(NamedTuple):
    """A way and a control after one number of demonstrations."""

    tasks: int
    """Number of tasks that both played."""
    control: Summary
    """The control on them."""
    way: Summary
    """The way on them; its gains are over the control in place of k = 0."""


def gains_over(way: Experiment, control: Experiment) -> list[Compared]:
    """Compares a way with a control on the tasks that both played, for each number k > 0 of demonstrations of both.

    A control that is shown nothing, and was thus played with k = 0 only, is held against the largest k of the way.

    Args:
        way: Evaluation of the way.
        control: Evaluation of the control, of the same training seeds or of some of them.
    """
    names = set(control.evaluations[0].task_ids)
    shared = [name for name in way.evaluations[0].task_ids if name in names]
    mine, theirs = _part_of(way, shared), _part_of(control, shared)
    ks = [k for k in theirs.adaptation_episodes if k and k in mine.adaptation_episodes]
    pairs = [(k, k) for k in ks] or [(mine.adaptation_episodes[-1], 0)]
    alone = {row.k: row for row in theirs.overall}
    return [Compared(len(shared), alone[of], _against(mine, theirs, k, of).overall[-1]) for k, of in pairs]


def _part_of(played: Experiment, task_ids: Sequence[str]) -> Outcomes:
    """Returns the outcomes on some tasks, in their order."""
    rows = [played.evaluations[0].task_ids.index(each) for each in task_ids]
    outcomes = played.outcomes
    return Outcomes(
        tuple(outcomes.task_names[row] for row in rows),
        outcomes.adaptation_episodes,
        outcomes.episodes,
        outcomes.bootstrap_seed,
        *(values[:, rows] for values in (outcomes.success, outcomes.success_last, outcomes.returns)),
    )


def _against(way: Outcomes, control: Outcomes, k: int, of_control: int) -> Outcomes:
    """Returns outcomes after k, with those of a control in place of k = 0."""
    mine, theirs = way.adaptation_episodes.index(k), control.adaptation_episodes.index(of_control)

    def both(name: str) -> Float[np.ndarray, "seed task 2"]:
        ours, other = getattr(way, name)[..., mine], getattr(control, name)[..., theirs]
        # seed by seed, or against the mean over the seeds where the control was not played for each
        other = other if len(other) == len(ours) else np.broadcast_to(other.mean(axis=0), ours.shape)
        return np.stack([other, ours], axis=-1)

    success, success_last, returns = (both(name) for name in ("success", "success_last", "returns"))
    return Outcomes(way.task_names, (0, k), way.episodes, way.bootstrap_seed, success, success_last, returns)
