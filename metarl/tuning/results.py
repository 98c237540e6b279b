"""What a study found: a table, the best configuration as YAML, and Optuna's plots in one HTML file."""

from __future__ import annotations

import html
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.config import dump_config
from metarl.errors import RunFailure
from metarl.files import write_atomically
from metarl.tuning.study import INTERVAL, REASON, TuningStudy, failed, score_of
from metarl.tuning.trial import show_score

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BEST, PLOTS = "best.yaml", "plots.html"
_MOST_SHOWN = 10
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }}</style></head>
<body><h1>{title}</h1><p>{summary}</p>
{sections}
</body></html>
"""


def study_table(study: TuningStudy) -> RenderableType:
    """Renders the complete trials by score, and what became of the others.

    Args:
        study: Study to show.
    """
    best, settings = study.best(), study.settings
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column(f"{settings.metric}, k={settings.adaptation_episodes} [95 %]", no_wrap=True)
    table.add_column("chosen", overflow="fold")
    for trial in best[:_MOST_SHOWN]:
        table.add_row(str(trial.number), show_score(score_of(trial), trial.user_attrs[INTERVAL]), _chosen(trial))
    lines = [
        f"Trial {trial.number} failed: {trial.user_attrs[REASON]} ({_chosen(trial)})"
        for trial in failed(study.trials)[:_MOST_SHOWN]
    ]
    return Group(*([table] if best else []), Text("\n".join([summary(study), *lines])))


def summary(study: TuningStudy) -> str:
    """Returns how many trials ended in which way, and what they were scored on."""
    states = Counter(trial.state for trial in study.trials)
    reasons = len(failed(study.trials))
    parts = [
        f"{states[TrialState.COMPLETE]} trials complete",
        f"{states[TrialState.PRUNED]} pruned",
        f"{reasons} failed",
    ]
    if states[TrialState.FAIL] > reasons:
        parts.append(f"{states[TrialState.FAIL] - reasons} interrupted")
    if states[TrialState.RUNNING]:
        parts.append(f"{states[TrialState.RUNNING]} running elsewhere")
    of = "of each class" if study.settings.hold_out == "tasks" else "with all of their tasks"
    what = "training tasks" if study.settings.hold_out == "tasks" else "training classes"
    return (
        f"{', '.join(parts)}. Scored on {study.settings.count} {what} {of}, put aside; the test split was not played."
        " The highest of many scores is too high by chance: evaluate the best on other seeds."
    )


def write_best(study: TuningStudy) -> Path:
    """Writes the preset with what the best trial chose, which trains on all training tasks again.

    Args:
        study: Study with a complete trial.

    Returns:
        Path of the file.

    Raises:
        RunFailure: If no trial is complete, or the file cannot be written.
    """
    best, path = study.best(), study.folder / BEST
    if not best:
        reasons = [trial.user_attrs[REASON] for trial in failed(study.trials)]
        raise RunFailure(f"no trial was completed{f'; the last failed: {reasons[-1]}' if reasons else ''}")
    score = show_score(score_of(best[0]), best[0].user_attrs[INTERVAL])
    heading = f"# Trial {best[0].number} of {study.folder.name}: {study.settings.metric} {score} on tasks put aside\n"
    _write(path, heading + dump_config(study.space.config_of(best[0].params)))
    return path


def write_plots(study: TuningStudy) -> Path:
    """Writes Optuna's plots into one HTML file, which needs nothing else.

    Args:
        study: Study with a complete trial.

    Returns:
        Path of the file.

    Raises:
        RunFailure: If the file cannot be written.
    """
    sections, inlined = [], False
    for title, plot in _plots(study.optuna):
        sections.append(f"<h2>{title}</h2>")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                figure = plot()
        except (ValueError, RuntimeError, UserWarning) as error:  # too few trials, or all have the same score
            sections.append(f"<p>Not drawn: {html.escape(' '.join(str(error).split()))}</p>")
            continue
        sections.append(figure.to_html(full_html=False, include_plotlyjs=not inlined, include_mathjax=False))
        inlined = True
    page = _PAGE.format(
        title=f"Search {html.escape(study.folder.name)}",
        summary=html.escape(summary(study)),
        sections="\n".join(sections),
    )
    path = study.folder / PLOTS
    _write(path, page)
    return path


def show_results(study: TuningStudy) -> None:
    """Prints the table, writes both files, and prints where they are.

    Raises:
        RunFailure: If no trial is complete, or a file cannot be written.
    """
    Console().print(study_table(study))
    best = write_best(study)
    print(f"plots: {write_plots(study)}")
    print(f"best: {best}")


def _plots(study: optuna.Study) -> Iterator[tuple[str, Callable[[], Figure]]]:
    from optuna import visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    # A line of parallel coordinates needs what all trials have; what only an option has is in the slices.
    common = [name for name in complete[0].params if all(name in trial.params for trial in complete)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator()
    yield "History", lambda: visualization.plot_optimization_history(study)
    yield "Importance", lambda: visualization.plot_param_importances(study, evaluator=evaluator)
    yield "Parallel coordinates", lambda: visualization.plot_parallel_coordinate(study, params=common)
    yield "Slices", lambda: visualization.plot_slice(study)


def _chosen(trial: FrozenTrial) -> str:
    """Returns what a trial chose; what an option has is told without the option, which stands before it."""
    chosen = {name.rpartition("/")[2].removeprefix("algorithm."): value for name, value in trial.params.items()}
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.items()
    )


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise RunFailure(f"could not write {path}: {error.strerror or error}") from None
