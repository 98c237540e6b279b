"""Evaluation of a run's checkpoint: prints a table and writes a JSON file into the run's directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import Progress

from metarl.evaluation.controls import make_control
from metarl.evaluation.protocol import ADAPTATION_EPISODES, evaluate
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, StoredEvaluation, file_name, write_evaluation
from metarl.evaluation.table import evaluation_table
from metarl.evaluation.tasks import select_tasks
from metarl.files import make_room_for
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.versions import versions

_MAX_ENVS = 50
"""Largest number of tasks played at a time unless more are asked for."""


def evaluate_run(
    run: RunDirectory,
    checkpoint: Path,
    *,
    adaptation_episodes: Sequence[int] = ADAPTATION_EPISODES,
    episodes: int = 3,
    tasks_per_name: int | None = None,
    split: Literal["train", "test"] = "test",
    seed: int = 1,
    control: str | None = None,
    num_envs: int | None = None,
    workers: int | None = None,
    output: Path | None = None,
) -> Path:
    """Evaluates a checkpoint, prints the result and writes it to a file, by default in the run's `evaluations/`.

    There the file's name holds the checkpoint's environment steps, the control, and a digest of the other settings, so
    only a repetition of the same evaluation replaces it.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        adaptation_episodes: Numbers k of adaptation episodes, each evaluated independently.
        episodes: Number of evaluation episodes per task and k.
        tasks_per_name: Number of tasks of each name; None takes all.
        split: Split of the tasks to play: "test" (held-out tasks) or "train".
        seed: Seed of the agent's exploration; the environments' seeds are derived from it too.
        control: Name in `CONTROLS` of a control to evaluate instead of the agent; None evaluates the agent.
        num_envs: Largest number of tasks played at a time; None is what the run's configuration says, or else the size
            of its meta-batch, at most 50.
        workers: Number of processes or threads that simulate; None is what the run's configuration says.
        output: File to write or replace; None names one in the run's `evaluations/`.

    Returns:
        Path of the file.

    Raises:
        UserError: If a setting is out of range, the checkpoint is damaged or of another task family, the control is
            unknown or does not apply to the agent, or there cannot be such a file.
        RunFailure: If a return is not finite or the file cannot be written after all.
    """
    distribution = run.config.tasks.build()
    distribution.workers = workers or run.config.workers
    tasks = select_tasks(distribution.train_tasks if split == "train" else distribution.test_tasks, tasks_per_name)
    agent, manifest = load_agent(checkpoint, run.config, distribution, seed)
    if control is not None:
        agent = make_control(control, agent)
    origin = Origin(
        run=str(run.path),
        checkpoint=str(checkpoint),
        iteration=manifest.iteration,
        env_steps=manifest.env_steps,
        split=split,
        tasks_per_name=tasks_per_name,
        control=control,
        training_seed=run.config.seed,
        task_fingerprint=manifest.task_fingerprint,
        versions=versions(),
        config=manifest.config,
    )
    settings = {"adaptation_episodes": sorted(adaptation_episodes), "episodes": episodes, "seed": seed}
    path = output or run.evaluations / file_name(origin, settings)
    make_room_for(path)
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        evaluation = evaluate(
            agent,
            distribution,
            tasks,
            adaptation_episodes=adaptation_episodes,
            episodes=episodes,
            seed=seed,
            num_envs=num_envs or run.config.evaluation.num_envs or min(run.config.algorithm.meta_batch, _MAX_ENVS),
            progress=progress,
        )
    _print(evaluation, control)  # first, so that the numbers are not lost with the file
    write_evaluation(path, StoredEvaluation(evaluation, origin))
    print(f"Evaluation: {path}")
    return path


def _print(evaluation: Evaluation, control: str | None) -> None:
    console = Console()
    if control is not None:
        console.print(f"Control: {control}.")
    console.print(evaluation_table(evaluation))
