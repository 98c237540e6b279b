"""Report of runs that recognise skills: one page with accuracy, controls and the course of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from metarl.config import dump_config
from metarl.errors import RunFailure
from metarl.evaluation.experiment import check_one_experiment
from metarl.evaluation.recognition import LEARNER, RecognitionResult
from metarl.evaluation.recognition_command import heading, names, recognise_runs, show
from metarl.evaluation.stored_recognition import read_recognitions
from metarl.files import make_room_for, write_atomically
from metarl.reporting.learning import read_metrics, thin
from metarl.reporting.style import colour, new_axes, to_svg
from metarl.runs import RunDirectory
from metarl.shell import command
from metarl.versions import package_version
from metarl_envs.errors import UserError


def recognising(runs: Sequence[RunDirectory]) -> bool:
    """Returns true if runs recognise demonstrations, and false if they act.

    Raises:
        UserError: If some do and some do not.
    """
    kinds = {run.config.tasks.kind == "demonstrations" for run in runs}
    if len(kinds) > 1:
        raise UserError("runs that recognise demonstrations and runs that act have no report in common")
    return kinds == {True}


def report_recognition(runs: Sequence[RunDirectory], output: Path) -> Path:
    """Writes the report of one run that recognises skills, or of several that differ in their seeds.

    A run that was not evaluated is evaluated first; of several evaluations, the one with most classifiers counts.

    Args:
        runs: The runs.
        output: File to write or replace.

    Returns:
        Path of the file.

    Raises:
        UserError: If the runs cannot be put together, a file is damaged, or the report cannot be written there.
        RunFailure: If the report cannot be written after all.
    """
    check_one_experiment([(str(run.path), run.config.model_dump(mode="json")) for run in runs])
    make_room_for(output)
    chosen = []
    for run in runs:
        if not read_recognitions(run):
            recognise_runs([run])
        stored = max(read_recognitions(run), key=lambda each: (each.origin.iteration, len(each.result.accuracy)))
        chosen.append(stored.result)
    page = _render(runs, RecognitionResult.together(chosen))
    try:
        write_atomically(output, page.encode())
    except OSError as error:
        raise RunFailure(f"could not write {output}: {error.strerror or error}") from error
    print(f"report: {output}")
    return output


def _render(runs: Sequence[RunDirectory], result: RecognitionResult) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    lacks = [] if len(result.accuracy) > 1 else [command("evaluate", runs[0].called, "--controls", "all")]
    context: dict[str, Any] = {
        "version": package_version("metarl-suite") or "",
        "title": f"{runs[0].called.name}" + f" and {len(runs) - 1} more" * (len(runs) > 1),
        "dataset": result.dataset,
        "answers": [
            f"{result.ways} skills never met in training are told apart after {k} demonstration{'s' * (k > 1)} of each"
            f" with an accuracy of {share.mean:.1%}."
            for k, share in zip(result.shots, result.overall(), strict=True)
        ],
        "protocol": heading(result),
        "tables": [_classifiers(result), _classes(result)],
        "missing": "".join(
            f"Controls, such as a nearest neighbour: not measured yet. To do so: {each}" for each in lacks
        ),
        "learning": to_svg(_learning(runs, result)),
        "config": dump_config(runs[0].config),
    }
    return environment.get_template("recognition.html.jinja").render(**context)


def _classifiers(result: RecognitionResult) -> dict[str, Any]:
    columns = ["classifier", *(f"K = {k}, %" for k in result.shots), *(f"gain over it, K = {k}" for k in result.shots)]
    rows = []
    for name in result.accuracy:
        gains = ["" for _ in result.shots] if name == LEARNER else [str(show(each, "+")) for each in result.gains(name)]
        rows.append([names(name), *map(str, map(show, result.overall(name))), *gains])
    return {"label": "Accuracy of each classifier", "columns": columns, "rows": rows}


def _classes(result: RecognitionResult) -> dict[str, Any]:
    rows = [[name, *map(str, map(show, result.of_class(name)))] for name in dict.fromkeys(result.classes)]
    return {"label": "Accuracy by class", "columns": ["class", *(f"K = {k}, %" for k in result.shots)], "rows": rows}


def _learning(runs: Sequence[RunDirectory], result: RecognitionResult) -> Figure:
    figure, axes = new_axes("steps of demonstrations looked at", "accuracy")
    for index, run in enumerate(runs):
        metrics = read_metrics(run)
        for name, style in (("train/accuracy", "-"), (f"eval/accuracy/test/{result.shots[0]}_shots", "o")):
            if name in metrics:
                axes.plot(*thin(metrics[name]), style, color=colour(index), linewidth=1.2, markersize=3)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure
