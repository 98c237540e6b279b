"""Films of telling tasks for a report, made by the policy's first run and kept within a size."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.progress import Progress

from metarl.errors import RunFailure
from metarl.evaluation.table import decimals_of
from metarl.reporting.material import Policy
from metarl.viewing.choice import telling_tasks
from metarl.viewing.film import Shot
from metarl.viewing.worker import Film, film_in_processes
from metarl_envs.errors import UserError

_MOST_FILMS = 6
_SIZE = 400
_MOST_BYTES = 4_000_000


class EmbeddedFilm(NamedTuple):
    """Film within a page."""

    title: str
    """Why the task is shown."""
    caption: str
    """What one sees."""
    data: str
    """The mp4 file in base64."""


def make_films(policies: Sequence[Policy], progress: Progress) -> tuple[list[EmbeddedFilm], list[str]]:
    """Films the tasks near the 10th, 50th and 90th percentile of the first policy's gain, with each policy.

    Args:
        policies: Policies to film; their checkpoints must be there still.
        progress: Display that gets a bar.

    Returns:
        The films, and what could not be filmed, in sentences.
    """
    films: list[EmbeddedFilm] = []
    problems: list[str] = []
    try:
        telling = telling_tasks(policies[0].stored[0], max(1, min(3, _MOST_FILMS // len(policies))))
    except UserError as error:
        return [], [f"No films: {error}."]
    for policy in policies:
        if policy is not policies[0]:
            first = policies[0].label
            telling = [(why.replace(" of gain", f" of {first}'s gain"), index) for why, index in telling]
        try:
            films += _film(policy, telling, policy.label if len(policies) > 1 else "", problems, progress)
        except (UserError, RunFailure) as error:
            problems.append(f"No films of {policy.label}: {error}.")
    return films, problems


def _film(
    policy: Policy, telling: Sequence[tuple[str, int]], label: str, problems: list[str], progress: Progress
) -> list[EmbeddedFilm]:
    run, evaluation = policy.runs[0], policy.evaluation
    distribution = run.config.tasks.build()
    if not distribution.renderable:
        raise UserError(f"{distribution.name} has nothing to render")
    places = {task.id: index for index, task in enumerate(distribution.test_tasks)}
    k = evaluation.adaptation_episodes[-1]
    shot = Shot(adaptation_episodes=k, size=_SIZE, seed=evaluation.seed)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.mp4" for number in range(len(telling))]
        wanted = [
            Film(str(path), places[evaluation.task_ids[index]], why)
            for path, (why, index) in zip(paths, telling, strict=True)
        ]
        bar = progress.add_task(
            f"filming {policy.label}", total=len(wanted) * shot.moments(distribution.horizon, evaluation.adapts_on)
        )
        processes = min(len(wanted), os.cpu_count() or 1)
        film_in_processes(run, policy.checkpoint, wanted, shot, processes, lambda count: progress.advance(bar, count))
        for path, (why, index) in zip(paths, telling, strict=True):
            if path.stat().st_size > _MOST_BYTES:
                problems.append(
                    f"The film of the task at the {why} was left out: it has {path.stat().st_size:,} bytes."
                )
                continue
            made.append(EmbeddedFilm(_title(label, why), _caption(policy, index), _encode(path)))
    return made


def _title(label: str, why: str) -> str:
    return f"{label}: {why}" if label else why.capitalize()


def _caption(policy: Policy, index: int) -> str:
    returns, success = policy.stored[0].evaluation.returns, policy.stored[0].evaluation.success
    before, after = returns[0, index].mean(), returns[-1, index].mean()
    solved = [f"{round(100 * success[row, index].mean())} %" for row in (0, -1)]
    task = policy.evaluation.task_names[index]
    decimals = decimals_of(max(abs(before), abs(after)))
    left, right, gain = f"{before:,.{decimals}f}", f"{after:,.{decimals}f}", f"{after - before:+z,.{decimals}f}"
    return (
        f"{task}, task {policy.evaluation.task_ids[index][:6]}. Evaluated: return {left} before, {right} after"
        f" ({gain}); success {solved[0]} before, {solved[1]} after."
    )


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
