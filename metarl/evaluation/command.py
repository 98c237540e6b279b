"""Evaluates a run's checkpoint: from the run directory to a table on the terminal and a file beside the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

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
    """Evaluates a checkpoint, prints what was found and keeps it in the run's `evaluations/`.

    The file is named after the checkpoint's environment steps and all the settings here, so that only the same
    evaluation made again replaces it.

    Args:
        run: The run that the checkpoint belongs to.
        checkpoint: The checkpoint's directory.
        adaptation_episodes: The numbers of adaptation episodes to try.
        episodes: Evaluation episodes per task and number of adaptation episodes.
        tasks_per_name: How many tasks of each name; None takes all.
        split: Whether to play held-out or training tasks.
        seed: What the environments' seeds are derived from; it seeds the agent's exploration too.
        control: One of `CONTROLS`, to play with a control made of the agent instead.

    Returns:
        The file.

    Raises:
        UserError: If a setting is out of range, the checkpoint is damaged or of another task family, or there is no
            recurrent state to hold.
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
    origin = {
        "checkpoint": {"path": str(checkpoint), "iteration": manifest.iteration, "env_steps": manifest.env_steps},
        "task_fingerprint": distribution.fingerprint,
        "versions": versions(),
        "split": split,
        "tasks_per_name": tasks_per_name,
        "control": control,
    }
    name = _file_name(evaluation, manifest, split, tasks_per_name, control)
    path = run.save_evaluation(name, origin | evaluation.to_dict())
    console = Console()
    if control is not None:
        console.print(f"Control: {control}.")
    console.print(evaluation_table(evaluation))
    console.print(f"Evaluation: {path}", soft_wrap=True, markup=False, highlight=False)
    return path


def _file_name(
    evaluation: Evaluation, manifest: Manifest, split: str, tasks_per_name: int | None, control: str | None
) -> str:
    ks = "-".join(map(str, evaluation.adaptation_episodes))
    limit = "" if tasks_per_name is None else f"-tasks{tasks_per_name}"
    suffix = "" if control is None else f"-{control}"
    return f"{manifest.env_steps:012d}-{split}-k{ks}-episodes{evaluation.episodes}{limit}-seed{evaluation.seed}{suffix}"
