"""The page of results, docs/RESULTS.md, with its figures: all of it is generated from results/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import ValidationError

from metarl.strict import StrictModel
from metarl_envs.errors import UserError
from results.commands import evaluation_command
from results.figures import learning_curves
from results.published import Published, published_table, read_published
from results.speed import speed_section
from results.summary import FACTS, RunSummary, read_summary
from results.tables import INTERVALS, class_table, evaluation_table, experiments, table, what_was_played
from results.words import duration, packages

ABOUT, PUBLISHED = "experiment.yaml", "published.yaml"
_HEAD = """\
# Results

What metarl reaches. This page is generated from the summaries of runs in `results/`: `make results` writes it, `make
results-check` compares, and [Pretrained policies and results](zoo.md) tells how a run gets here. So every number has
its run, with the outcome of each task. What was measured before summaries were kept, and the speed of the engine, is in
[Earlier results](earlier-results.md); what was tried, in the [notebook](notebook.md). Time is the wall-clock time of
all iterations, with whatever else ran on the machine.
"""


class About(StrictModel):
    """What is to be said of an experiment by hand."""

    title: str
    text: str = ""
    """Markdown; what training was told, which settings were chosen how, what limits the result."""


class ExperimentSummary(NamedTuple):
    """An experiment of results/, as read back."""

    name: str
    about: About
    runs: list[RunSummary]


def read_experiments(folder: Path) -> list[ExperimentSummary]:
    """Reads all experiments, by name.

    Args:
        folder: The folder results/.

    Raises:
        UserError: If a summary is damaged, or an experiment has no title or no run.
    """
    return [_read_experiment(path.parent) for path in sorted(folder.glob(f"*/{ABOUT}"))]


def _read_experiment(folder: Path) -> ExperimentSummary:
    try:
        about = About.model_validate(yaml.safe_load((folder / ABOUT).read_bytes()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{folder / ABOUT} is damaged: {error}") from None
    runs = [read_summary(path.parent) for path in sorted(folder.glob(f"*/{FACTS}"))]
    if not runs:
        raise UserError(f"experiment {folder} has no run")
    return ExperimentSummary(folder.name, about, sorted(runs, key=lambda run: run.config.seed))


def generate_page(folder: Path) -> dict[str, bytes]:
    """Generates the page and its figures.

    Args:
        folder: The folder results/.

    Returns:
        Content of each file, by its path below docs/.

    Raises:
        UserError: See `read_experiments`.
    """
    published = read_published(folder / PUBLISHED)
    files, sections = {}, [_HEAD]
    for experiment in read_experiments(folder):
        figure = f"figures/{experiment.name}.svg"
        files[figure] = learning_curves(experiment.runs, experiment.name)
        sections.append(_section(experiment, figure, published))
    if (speed := speed_section(folder)) is not None:
        sections.append(speed)
    return files | {"RESULTS.md": "\n".join(sections).encode()}


def _section(experiment: ExperimentSummary, figure: str, published: dict[str, list[Published]]) -> str:
    runs = experiment.runs
    parts = [f"## {experiment.about.title}", runs[0].config.algorithm.told_in_training(), experiment.about.text.strip()]
    parts += [_runs_table(runs), _versions(runs)]
    parts.append(f"![Learning curves of {experiment.name}]({figure})")
    played = experiments(stored for run in runs for stored in run.evaluations)
    for each in played:
        command = evaluation_command(each, runs[0].facts.env_steps)
        parts += [f"**{what_was_played(each)}**: `{command}`", evaluation_table(each), class_table(each)]
    over = "over seeds and tasks" if len(runs) > 1 else "over tasks, of one seed: they tell nothing of other seeds"
    parts.append(INTERVALS.format(over=over))
    beside = published.get(played[0].evaluations[0].distribution)
    if beside:
        parts += ["Published, by other evaluators and with other budgets:", published_table(beside)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _runs_table(runs: Sequence[RunSummary]) -> str:
    return table(
        ["seed", "trained by", "steps", "iterations", "training", "machine", "commit"],
        [
            [
                str(run.config.seed),
                f"`{run.facts.command}`",
                f"{run.facts.env_steps:,}",
                str(run.facts.iterations),
                duration(run.facts.training_seconds),
                run.facts.machine,
                run.commit,
            ]
            for run in runs
        ],
    )


def _versions(runs: Sequence[RunSummary]) -> str:
    by_versions: dict[str, list[str]] = {}
    for run in runs:
        by_versions.setdefault(packages(run.versions), []).append(str(run.config.seed))
    if len(by_versions) == 1:
        return f"{next(iter(by_versions))}."
    return " ".join(f"Seed {', '.join(seeds)}: {versions}." for versions, seeds in by_versions.items())
