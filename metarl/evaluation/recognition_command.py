"""Evaluation of runs that recognise skills: prints a table and writes a JSON file into each run's directory."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from metarl.algorithms.recognition.algorithm import Recognition
from metarl.evaluation.command import origin_of
from metarl.evaluation.experiment import check_one_experiment
from metarl.evaluation.recognition import LEARNER, PROBLEMS, RecognitionResult, evaluate_recognition
from metarl.evaluation.recognition_controls import make_controls
from metarl.evaluation.statistics import LEVEL, Interval
from metarl.evaluation.stored_recognition import StoredRecognition, write_recognition
from metarl.evaluation.table import new_table, show_interval
from metarl.files import make_room_for
from metarl.loading import load_algorithm
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError


def recognise_runs(
    runs: Sequence[RunDirectory],
    which: str = "last",
    *,
    ways: int | None = None,
    shots: Sequence[int] | None = None,
    problems: int | None = None,
    seed: int = 1,
    controls: Sequence[str] = (),
    output: Path | None = None,
) -> RecognitionResult:
    """Measures recognition by a checkpoint of each run, prints the result of all, and writes a file for each.

    Args:
        runs: Runs of one preset that differ in their seeds.
        which: Checkpoint of each: "last", "best", or the name of one.
        ways: Number of classes of a problem; None is as in training.
        shots: Numbers of examples of each class; None is as in training.
        problems: Number of problems for each number of examples; None is 200.
        seed: Seed of the problems.
        controls: Names of controls, "all" for all of them.
        output: File to write or replace, of a single run; None names one in the run's `evaluations/`.

    Returns:
        Result of all runs together.

    Raises:
        UserError: If a setting or a name is wrong, the runs cannot be put together, or a checkpoint is damaged.
        RunFailure: If a file cannot be written.
    """
    if output is not None and len(runs) > 1:
        raise UserError("--output names the file of a single run: leave it out, each run has its own evaluations/")
    check_one_experiment([(str(run.path), run.config.model_dump(mode="json")) for run in runs])
    results, paths = [], []
    for run in runs:
        checkpoint = run.checkpoint(which)
        algorithm, manifest = load_algorithm(checkpoint, run.config, run.config.tasks.build())
        if not isinstance(algorithm, Recognition):
            raise UserError(f"{run.called} does not recognise skills")
        settings = {"ways": ways, "shots": shots, "problems": problems, "seed": seed, "controls": sorted(controls)}
        digest = sha256(str(settings).encode()).hexdigest()[:8]
        path = output or run.evaluations / f"{manifest.env_steps:012d}-recognition-{digest}.json"
        make_room_for(path)
        result = evaluate_recognition(
            algorithm,
            ways=ways,
            shots=None if shots is None else tuple(dict.fromkeys(shots)),
            problems=problems or PROBLEMS,
            seed=seed,
            controls=make_controls(controls, algorithm, seed),
        )
        write_recognition(path, StoredRecognition(result, origin_of(run, checkpoint, manifest, "test", None)))
        results.append(result)
        paths.append(path)
    together = RecognitionResult.together(results)
    Console().print(recognition_table(together))
    for path in paths:
        print(f"Evaluation: {path}")
    return together


def recognition_table(result: RecognitionResult) -> RenderableType:
    """Renders a result: accuracy of each classifier and the gain over it, and accuracy by class."""
    return Group(Text(heading(result)), _classifiers(result), Text("By class:"), _by_class(result))


def heading(result: RecognitionResult) -> str:
    """Says what was measured, and what intervals are over."""
    goals, classes, runs = len(result.classes), len(set(result.classes)), len(result.accuracy[LEARNER])
    of_runs, over = (f"{runs} runs, ", "runs and goals") if runs > 1 else ("", "goals")
    return (
        f"{result.dataset}: {of_runs}{result.ways}-way recognition of {classes} held-out classes, {goals} goals,"
        f" {result.problems} problems for each K.\n"
        f"Accuracy in % after K examples of each class. [{LEVEL:.0%} interval over the {over} shown; classes as given]"
    )


def names(name: str) -> str:
    """Says what a classifier is, in a word or two."""
    return {LEARNER: "trained", "chance": "chance", "nearest": "nearest neighbour", "warping": "time warping"}.get(
        name, "linear probe"
    )


def _classifiers(result: RecognitionResult) -> RenderableType:
    table = new_table("control", "K", "accuracy %", "gain of the trained over it")
    for name in result.accuracy:
        gains = [Text("")] * len(result.shots) if name == LEARNER else [show(each, "+") for each in result.gains(name)]
        for k, share, gain in zip(result.shots, result.overall(name), gains, strict=True):
            table.add_row(Text(names(name) if k == result.shots[0] else ""), str(k), show(share), gain)
    return table


def _by_class(result: RecognitionResult) -> RenderableType:
    table = new_table("task", *(f"K = {k}" for k in result.shots))
    for name in dict.fromkeys(result.classes):
        table.add_row(Text(name), *map(show, result.of_class(name)))
    return table


def show(share: Interval, sign: str = "") -> Text:
    """Shows a share, or a gain in one, in per cent."""
    return show_interval(Interval(*(100 * value for value in share)), 1, sign)
