"""The page of results, docs/RESULTS.md, with its figures: all of it is generated from results/."""

from __future__ import annotations

from pathlib import Path

from metarl.algorithms.imitation.config import ImitationConfig
from metarl.config.tasks import DemonstrationTasks
from results.commands import evaluation_command
from results.experiments import ExperimentSummary, read_experiments
from results.figures import learning_curves
from results.imitation import imitation_section
from results.published import Published, published_table, read_published
from results.recognition import recognition_section
from results.sinusoids import sinusoids_section
from results.speed import speed_section
from results.tables import INTERVALS, class_table, evaluation_table, experiments, what_was_played
from results.training import runs_table, versions_of_seeds

PUBLISHED = "published.yaml"
_HEAD = """\
# Results

What metarl reaches. This page is generated from the summaries of runs in `results/`: `make results` writes it, `make
results-check` compares, and [Pretrained policies and results](zoo.md) tells how a run gets here. So every number has
its run, with the outcome of each task. What was measured before summaries were kept, and the speed of the engine, is in
[Earlier results](earlier-results.md); what was tried, in the [notebook](notebook.md). Time is the wall-clock time of
all iterations, with whatever else ran on the machine.
"""


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
    recognise: list[ExperimentSummary] = []
    imitate: list[ExperimentSummary] = []
    for experiment in read_experiments(folder):
        config = experiment.runs[0].config
        if isinstance(config.tasks, DemonstrationTasks):
            recognise.append(experiment)
        elif isinstance(config.algorithm, ImitationConfig):
            imitate.append(experiment)
        else:
            figure = f"figures/{experiment.name}.svg"
            files[figure] = learning_curves(experiment.runs, experiment.name)
            sections.append(_section(experiment, figure, published))
    further = (
        recognition_section(recognise),
        sinusoids_section(folder),
        imitation_section(imitate),
        speed_section(folder),
    )
    sections += [section for section in further if section is not None]
    return files | {"RESULTS.md": "\n".join(sections).encode()}


def _section(experiment: ExperimentSummary, figure: str, published: dict[str, list[Published]]) -> str:
    runs = experiment.runs
    parts = [f"## {experiment.about.title}", runs[0].config.algorithm.told_in_training(), experiment.about.text.strip()]
    parts += [runs_table(runs), versions_of_seeds(runs)]
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
