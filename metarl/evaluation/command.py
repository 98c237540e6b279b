"""Evaluation of a run's checkpoint: prints a table and writes a JSON file into the run's directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress

from metarl.checkpoints import Manifest
from metarl.evaluation.controls import make_control
from metarl.evaluation.protocol import ADAPTATION_EPISODES, evaluate
from metarl.evaluation.result import Evaluation
from metarl.evaluation.table import evaluation_table
from metarl.evaluation.tasks import select_tasks
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.versions import versions


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
) -> Path:
    """Evaluates a checkpoint, prints the result and writes it to a file in the run's `evaluations/`.

    The file's name holds the checkpoint's environment steps and all settings below, so only a repetition of the same
    evaluation replaces it.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        adaptation_episodes: Numbers k of adaptation episodes, each evaluated independently.
        episodes: Number of evaluation episodes per task and k.
        tasks_per_name: Number of tasks of each name; None takes all.
        split: Split of the tasks to play: "test" (held-out tasks) or "train".
        seed: Seed of the agent's exploration; the environments' seeds are derived from it too.
        control: Name in `CONTROLS` of a control to evaluate instead of the agent; None evaluates the agent.

    Returns:
        Path of the file.

    Raises:
        UserError: If a setting is out of range, the checkpoint is damaged or of another task family, or the control is
            unknown or does not apply to the agent.
        RunFailure: If a return is not finite or the file cannot be written.
    """
    distribution = run.config.tasks.build()
    tasks = select_tasks(distribution.train_tasks if split == "train" else distribution.test_tasks, tasks_per_name)
    agent, manifest = load_agent(checkpoint, run.config, distribution, seed)
    if control is not None:
        agent = make_control(control, agent)
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        evaluation = evaluate(
            agent,
            distribution,
            tasks,
            adaptation_episodes=adaptation_episodes,
            episodes=episodes,
            seed=seed,
            progress=progress,
        )
    origin = _describe_checkpoint(checkpoint, manifest) | {
        "split": split,
        "tasks_per_name": tasks_per_name,
        "control": control,
    }
    name = _file_name(evaluation, manifest, split, tasks_per_name, control)
    path = run.save_evaluation(name, origin | evaluation.to_dict())
    _print(evaluation, control, path)
    return path


def _describe_checkpoint(checkpoint: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "checkpoint": {"path": str(checkpoint), "iteration": manifest.iteration, "env_steps": manifest.env_steps},
        "task_fingerprint": manifest.task_fingerprint,
        "versions": versions(),
    }


def _print(evaluation: Evaluation, control: str | None, path: Path) -> None:
    console = Console()
    if control is not None:
        console.print(f"Control: {control}.")
    console.print(evaluation_table(evaluation))
    print(f"Evaluation: {path}")


def _file_name(
    evaluation: Evaluation, manifest: Manifest, split: str, tasks_per_name: int | None, control: str | None
) -> str:
    ks = "-".join(map(str, evaluation.adaptation_episodes))
    limit = "" if tasks_per_name is None else f"-tasks{tasks_per_name}"
    suffix = "" if control is None else f"-{control}"
    return f"{manifest.env_steps:012d}-{split}-k{ks}-episodes{evaluation.episodes}{limit}-seed{evaluation.seed}{suffix}"
