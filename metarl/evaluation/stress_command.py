"""Stress test of a run's checkpoint: prints a table and writes a JSON file for each perturbation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import Progress

from metarl.acting.agents import ActionChoice
from metarl.evaluation.command import origin_of, usual_num_envs
from metarl.evaluation.protocol import usual_adaptation_episodes
from metarl.evaluation.stress import write_stress
from metarl.evaluation.stress_protocol import USUAL, evaluate_under_stress, parse_strengths
from metarl.evaluation.stress_table import stress_table
from metarl.evaluation.tasks import select_tasks
from metarl.files import make_room_for
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl_envs.core import Task
from metarl_envs.errors import UserError

ADAPTATION_EPISODES = (0, 10)
"""Default numbers k of adaptation episodes, for a policy that plays to adapt."""
_MAX_TASKS = 20
"""Largest number of tasks by default, or one of each name if there are more names."""


def stress_run(
    run: RunDirectory,
    checkpoint: Path,
    perturbations: Sequence[str] = (),
    *,
    adaptation_episodes: Sequence[int] | None = None,
    episodes: int = 1,
    tasks_per_name: int | None = None,
    split: Literal["train", "test"] = "test",
    seed: int = 1,
    actions: ActionChoice = "likeliest",
    num_envs: int | None = None,
    workers: int | None = None,
    output: Path | None = None,
) -> list[Path]:
    """Evaluates a checkpoint under perturbations, prints the result and writes a file for each into `evaluations/`.

    A file's name holds the checkpoint's environment steps and the perturbation; a repetition replaces it.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        perturbations: Names of perturbations, or names with strengths as in "sensor-noise=0.1,0.5"; without any, all
            that apply.
        adaptation_episodes: Numbers k of adaptation episodes, or of demonstrations; None is 0 and 10, or as in
            training for a policy that imitates.
        episodes: Number of evaluation episodes per task and k.
        tasks_per_name: Number of tasks of each name; None takes 20 in all, or one of each name if there are more names.
        split: Split of the tasks to play: "test" (held-out tasks) or "train".
        seed: Seed of the episodes, the noise and the agent's exploration.
        actions: Choice of the actions in evaluation episodes.
        num_envs: Largest number of tasks played at a time; None is as for `evaluate_run`.
        workers: Number of processes or threads that simulate; None is what the run's configuration says.
        output: File to write or replace, of a single perturbation; None names one in the run's `evaluations/`.

    Returns:
        Paths of the files.

    Raises:
        UserError: If a perturbation is unknown or does not apply, a strength or a setting is out of range, or the
            checkpoint or `output` cannot be used.
        RunFailure: If a return is not finite or a file cannot be written after all.
    """
    strengths = parse_strengths(perturbations) or USUAL
    if output is not None and len(strengths) > 1:
        raise UserError(f"--output is one file, for one perturbation: got {len(strengths)}; name one, or leave it out")
    distribution = run.config.tasks.build()
    distribution.workers = workers or run.config.workers
    tasks = distribution.train_tasks if split == "train" else distribution.test_tasks
    per_name = tasks_per_name or _usual_per_name(tasks)
    chosen = select_tasks(tasks, per_name, or_all=tasks_per_name is None)
    agent, manifest = load_agent(checkpoint, run.config, distribution, seed)
    paths = {name: output or run.evaluations / f"{manifest.env_steps:012d}-stress-{name}.json" for name in strengths}
    make_room_for(next(iter(paths.values())))
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        curves, left_out = evaluate_under_stress(
            agent,
            distribution,
            chosen,
            strengths,
            adaptation_episodes=adaptation_episodes or usual_adaptation_episodes(run.config, ADAPTATION_EPISODES),
            episodes=episodes,
            seed=seed,
            actions=actions,
            num_envs=num_envs or usual_num_envs(run),
            skip=not perturbations,
            progress=progress,
        )
    Console().print(stress_table(curves))  # first, so that the numbers are not lost with the files
    for reason in left_out:
        print(f"Left out: {reason}.")
    origin = origin_of(run, checkpoint, manifest, split, per_name)
    for curve in curves:
        write_stress(paths[curve.perturbation], curve, origin)
        print(f"Stress curve: {paths[curve.perturbation]}")
    return [paths[curve.perturbation] for curve in curves]


def _usual_per_name(tasks: Sequence[Task]) -> int:
    return max(_MAX_TASKS // len(Counter(task.name for task in tasks)), 1)
