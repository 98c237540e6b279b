"""Commands `metarl report` and `metarl plot`: one page, or the figures of it as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from metarl.acting.adapts_on import AdaptsOn
from metarl.checkpoints import CheckpointError
from metarl.errors import RunFailure
from metarl.evaluation.command import evaluate_run
from metarl.evaluation.tasks import select_tasks
from metarl.files import make_room_for, write_atomically
from metarl.loading import load_agent
from metarl.reporting.films import make_films
from metarl.reporting.inside import kept_skills, scatter, trace_tasks
from metarl.reporting.material import Policy, curves_of, gather
from metarl.reporting.page import Content, Missing, render_page
from metarl.reporting.plots import Plot, inside_plot, make_plots
from metarl.reporting.recognition import recognising, report_recognition
from metarl.reporting.style import save_figure
from metarl.run_paths import expand_seeds
from metarl.runs import RunDirectory
from metarl.shell import command
from metarl_envs.errors import UserError, unknown

FORMATS = ("png", "svg")
"""Formats of figures in files."""

_MOST_TRACED = 60
"""Largest number of tasks that a policy adapts to for the figure of what that leaves; one of each name at least."""


def report_runs(
    paths: Sequence[Path], *, output: Path | None = None, films: bool = True, projection: bool = True
) -> Path:
    """Writes the report of one run, or of several that were evaluated on the same tasks.

    A run without an evaluation of its held-out tasks is evaluated first.

    Args:
        paths: Directories of the runs, or folders that hold the runs of several seeds.
        output: File to write or replace; None is `report.html` in the run's directory, or beside the first of several.
        films: False to make no films.
        projection: False not to adapt anew for the figure of what adaptation leaves in the policy.

    Returns:
        Path of the file.

    Raises:
        UserError: If there is no run at a path, a run has neither evaluation nor checkpoint, a file is damaged, the
            runs cannot be compared, or the report cannot be written there.
        RunFailure: If the report cannot be written after all.
    """
    paths = expand_seeds(paths)
    path = output or _folder(paths) / "report.html"
    runs = [RunDirectory.open(each) for each in paths]
    if recognising(runs):
        return report_recognition(runs, path)
    make_room_for(path)
    policies = gather(paths, _evaluate)
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        inside, skills, missing = _look_inside(policies, progress) if projection else ([], [], [_LEFT_OUT_PROJECTION])
        pictures, problems = make_films(policies, progress) if films else ([], ["Films: left out by --no-films."])
    missing += [Missing(problem) for problem in problems] + _not_measured(policies)
    warnings = _warnings(policies)
    page = render_page(Content(policies, [*make_plots(policies), *inside], pictures, skills, missing, warnings))
    try:
        write_atomically(path, page.encode())
    except OSError as error:
        raise RunFailure(f"could not write {path}: {error.strerror or error}") from error
    for line in (*warnings, *problems):
        print(line)
    print(f"report: {path}")
    return path


def plot_runs(paths: Sequence[Path], *, form: str = "png", output: Path | None = None) -> list[Path]:
    """Writes the figures of a report, a file each.

    Args:
        paths: Directories of the runs, or folders that hold the runs of several seeds.
        form: One of `FORMATS`.
        output: Folder of the files; None is `figures/` where the report would be.

    Returns:
        Paths of the files.

    Raises:
        UserError: If the format is unknown, or as for `report_runs`.
        RunFailure: If a figure cannot be written after all.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    paths = expand_seeds(paths)
    if recognising([RunDirectory.open(each) for each in paths]):
        raise UserError(f"runs that recognise demonstrations have a report only: {command('report', *paths)}")
    folder = output or _folder(paths) / "figures"
    is_new = not folder.exists()
    make_room_for(folder / "figure")
    try:
        plots = make_plots(gather(paths, _evaluate))
    except UserError:
        if is_new:
            folder.rmdir()
        raise
    written = []
    for plot in plots:
        path = folder / f"{plot.name}.{form}"
        try:
            save_figure(plot.figure, path, form)
        except OSError as error:
            raise RunFailure(f"could not write {path}: {error.strerror or error}") from error
        print(f"figure: {path}")
        written.append(path)
    return written


def _folder(paths: Sequence[Path]) -> Path:
    """Returns where a report of runs goes: to what is made of the only one, or beside that of the first of several.

    All are opened, since what is wrong with them is told before a folder is made.
    """
    first, *_ = [RunDirectory.open(path).output for path in paths]
    beside, here = first.absolute().parent, Path.cwd()
    if len(paths) == 1:
        return first
    return beside.relative_to(here) if beside.is_relative_to(here) else beside


def _evaluate(run: RunDirectory) -> None:
    checkpoint = run.checkpoint("last")
    print(f"{run.called} has not been evaluated: evaluating it first, as {command('evaluate', run.called)} does")
    evaluate_run(run, checkpoint)


_LEFT_OUT_PROJECTION = Missing("What adaptation leaves in the policy: left out by --no-projection.")


def _look_inside(
    policies: Sequence[Policy], progress: Progress
) -> tuple[list[Plot], list[tuple[str, str]], list[Missing]]:
    """Adapts each policy's first run anew; returns figures, skills kept by task name, and what is missing."""
    plots: list[Plot] = []
    skills: list[tuple[str, str]] = []
    missing: list[Missing] = []
    for number, policy in enumerate(policies, 1):
        run, evaluation = policy.runs[0], policy.evaluation
        distribution = run.config.tasks.build()
        distribution.workers = run.config.workers
        names = len({task.name for task in distribution.test_tasks})
        tasks = select_tasks(distribution.test_tasks, max(1, _MOST_TRACED // names), or_all=True)
        k = evaluation.adaptation_episodes[-1]
        try:
            agent, _ = load_agent(policy.checkpoint, run.config, distribution, evaluation.seed)
        except (UserError, CheckpointError) as error:
            missing.append(Missing(f"What adaptation leaves in {policy.label}: {error}."))
            continue
        try:
            trace = trace_tasks(agent, distribution, tasks, k, evaluation.seed, progress) if k else None
        except UserError as error:
            missing.append(Missing(f"What adaptation leaves in {policy.label}: {error}."))
            continue
        if trace is None or len(tasks) < 3:
            missing.append(Missing(f"What adaptation leaves in {policy.label}: such policies do not tell."))
            continue
        if trace.names:  # a choice is better counted than projected
            skills += kept_skills(trace, tasks)
        else:
            plots.append(inside_plot(policy, number, trace.what, scatter(trace, tasks)))
    return plots, skills, missing


def _not_measured(policies: Sequence[Policy]) -> list[Missing]:
    run = policies[0].runs[0].called
    missing = []
    if not any(policy.controls for policy in policies):
        line = command("evaluate", run, "--controls", "all")
        missing.append(Missing("Controls, such as a random policy: not measured yet. To do so:", line))
    if policies[0].evaluation.adapts_on is AdaptsOn.EPISODES and not curves_of(policies):
        line = command("evaluate", run, "--from-scratch", "ppo")
        missing.append(Missing("Learning from scratch on the held-out tasks: not measured yet. To do so:", line))
    if not any(policy.stress for policy in policies):
        missing.append(Missing("Robustness: not measured yet. To do so:", command("evaluate", run, "--stress")))
    return missing


def _warnings(policies: Sequence[Policy]) -> list[str]:
    """Tells of evaluations that are older than the training, and of episodes that the simulation cut short."""
    warnings = []
    for policy in policies:
        for run, (evaluation, origin) in zip(policy.runs, policy.stored, strict=True):
            newest = max((int(path.name) for path in run.checkpoints.glob("*") if path.name.isdecimal()), default=0)
            if newest > origin.env_steps:
                warnings.append(
                    f"{run.called} was evaluated at {origin.env_steps:,} environment steps, and has trained to"
                    f" {newest:,} since: {command('evaluate', run.called)} measures it anew."
                )
            if evaluation.divergences:
                warnings.append(
                    f"The simulation diverged in {evaluation.divergences} episodes of {run.called}, which ended there."
                )
    return warnings
