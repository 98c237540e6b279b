"""Section of the page of results about recognition: methods on the same problems in one table, beside the controls."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metarl.algorithms.recognition.config import RecognitionConfig
from metarl.config import RunConfig
from metarl.config.tasks import DemonstrationTasks
from metarl.evaluation.recognition import LEARNER, PROBLEMS, RecognitionResult
from metarl.evaluation.recognition_command import names
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored_recognition import StoredRecognition
from results.experiments import ExperimentSummary
from results.tables import interval, table
from results.training import methods_table, versions_of_methods

_HEAD = """\
## Recognition of skills

*Which skill is being shown?* K demonstrations of each of N classes that were never met in training, then the queries.
[Recognition of skills](algorithms/recognition.md) tells what the methods and controls are and how this is measured.
Brackets: 95 % intervals over the goals shown, and over seeds where there are several; classes count as given. Gains are
in points over a control on the same problems, paired by goal. Controls are measured once for all methods of a table."""
_SEED = 1
"""What `metarl evaluate` takes unless told otherwise."""


class _Measure(NamedTuple):
    """What makes accuracies comparable: the same problems, and the same looked at."""

    tasks: str
    """Configuration of the tasks, as JSON."""
    look: str
    ways: int
    shots: tuple[int, ...]
    problems: int
    seed: int
    classes: tuple[str, ...]


class _Method(NamedTuple):
    """Method and its accuracy, of all seeds."""

    experiment: ExperimentSummary
    result: RecognitionResult


def recognition_section(experiments: Sequence[ExperimentSummary]) -> str | None:
    """Returns the section, in Markdown; None if there is no experiment.

    Args:
        experiments: Experiments whose runs recognise.

    Raises:
        UserError: If runs of an experiment were not measured on the same problems.
    """
    methods: dict[_Measure, list[_Method]] = {}
    controls: dict[_Measure, dict[str, RecognitionResult]] = {}
    for experiment in experiments:
        for measure, results in _by_measure(experiment).items():
            methods.setdefault(measure, []).append(_Method(experiment, RecognitionResult.together(results)))
            known = controls.setdefault(measure, {})
            for result in results:
                alone = {name: values for name, values in result.accuracy.items() if name != LEARNER}
                known |= {name: replace(result, accuracy={LEARNER: values}) for name, values in alone.items()} | known
    parts = [_part(measure, methods[measure], controls[measure]) for measure in methods]
    return "\n\n".join([_HEAD, *parts]) + "\n" if parts else None


def _by_measure(experiment: ExperimentSummary) -> dict[_Measure, list[RecognitionResult]]:
    """Returns the last results of an experiment's runs; of several of one run, that with most classifiers counts."""
    found: dict[_Measure, list[RecognitionResult]] = {}
    for run in experiment.runs:
        best: dict[_Measure, StoredRecognition] = {}
        for stored in sorted(run.recognitions, key=lambda each: (each.origin.iteration, len(each.result.accuracy))):
            best[_measure(run.config, stored.result)] = stored
        for measure, stored in best.items():
            found.setdefault(measure, []).append(stored.result)
    return found


def _measure(config: RunConfig, result: RecognitionResult) -> _Measure:
    tasks = config.tasks.model_dump_json()
    return _Measure(
        tasks, _look(config), result.ways, result.shots, result.problems, result.seed, tuple(result.classes)
    )


def _look(config: RunConfig) -> str:
    """Says what of an episode is looked at."""
    algorithm = config.algorithm
    assert isinstance(algorithm, RecognitionConfig)
    span = "whole episodes" if algorithm.steps is None else f"the first {algorithm.steps} steps"
    if algorithm.frames is not None:
        return f"{algorithm.frames.count} frames of {span}"
    return span if algorithm.every == 1 else f"one in {algorithm.every} steps of {span}"


def _part(measure: _Measure, methods: Sequence[_Method], controls: Mapping[str, RecognitionResult]) -> str:
    experiments = [each.experiment for each in methods]
    run = experiments[0].runs[0]
    assert isinstance(run.config.tasks, DemonstrationTasks)
    held_out = list(dict.fromkeys(measure.classes))
    split = f"{len(held_out)} held-out classes" + (f" of {run.config.tasks.split}" if run.config.tasks.split else "")
    problem = f"{measure.ways} ways, {measure.problems} problems for each K, {len(measure.classes)} goals"
    asked = f"`{_command(measure, run.config, bool(controls))}`"
    notes = [f"- {each.about.title}: {each.about.text.strip()}" for each in experiments if each.about.text]
    parts = [f"### {split}, {measure.look}", f"{problem}: {', '.join(held_out)}. {asked}"]
    parts += ["" if run.facts.dataset is None else run.facts.dataset.describe(), _accuracies(methods, controls)]
    parts += [methods_table(experiments), versions_of_methods(experiments), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _command(measure: _Measure, config: RunConfig, controls: bool) -> str:
    """Returns the command that measures."""
    algorithm = config.algorithm
    assert isinstance(algorithm, RecognitionConfig)
    words = ["metarl", "evaluate", "RUN"]
    words += [] if measure.ways == algorithm.ways else ["--ways", str(measure.ways)]
    words += [] if measure.shots == tuple(sorted(algorithm.shots)) else ["--shots", *map(str, measure.shots)]
    words += [] if measure.problems == PROBLEMS else ["--problems", str(measure.problems)]
    words += [] if measure.seed == _SEED else ["--seed", str(measure.seed)]
    return shlex.join([*words, "--controls", "all"] if controls else words)


def _accuracies(methods: Sequence[_Method], controls: Mapping[str, RecognitionResult]) -> str:
    """Returns the table of accuracy for each K, with the gains over controls; those of a guess tell nothing."""
    over = {name: result for name, result in controls.items() if name != "chance"}
    header = ["method", "K", "accuracy, %", *(f"over {names(name)}" for name in over)]
    rows = []
    for method in methods:
        seeds = len(method.experiment.runs)
        title = f"{method.experiment.about.title}, {seeds} seed{'s' * (seeds > 1)}"
        gains = [_gains(method.result, control) for control in over.values()]
        for row, (k, share) in enumerate(zip(method.result.shots, method.result.overall(), strict=True)):
            rows.append([title * (row == 0), str(k), _percent(share), *(_percent(each[row], "+") for each in gains)])
    for name, control in controls.items():
        for row, (k, share) in enumerate(zip(control.shots, control.overall(), strict=True)):
            rows.append([f"control: {names(name)}" * (row == 0), str(k), _percent(share), *("" for _ in over)])
    return table(header, rows)


def _gains(result: RecognitionResult, control: RecognitionResult) -> list[Interval]:
    """Returns the gains over a control that was measured by another run on the same problems."""
    mine: Float[np.ndarray, "run goal k"] = result.accuracy[LEARNER]
    theirs = np.repeat(control.accuracy[LEARNER], len(mine), axis=0)
    return replace(result, accuracy={LEARNER: mine, "control": theirs}).gains("control")


def _percent(share: Interval, sign: str = "") -> str:
    return interval(Interval(*(100 * value for value in share)), 1, sign)
