"""Runs with made-up evaluations, for tests of reports."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from metarl.algorithms.maml.config import MAMLConfig
from metarl.config import NavigationTasks, RunConfig
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, StoredEvaluation, write_evaluation
from metarl.runs import RunDirectory

TASKS = NavigationTasks(num_train_tasks=4, num_test_tasks=6, horizon=8)


def make_run(path: Path, seed: int = 1, tasks: NavigationTasks = TASKS) -> RunDirectory:
    """A run that has trained nothing."""
    return RunDirectory.create(path, RunConfig(iterations=1, seed=seed, tasks=tasks, algorithm=MAMLConfig()))


def evaluation(
    returns: npt.ArrayLike, success: npt.ArrayLike, ks: Sequence[int] = (0, 10), names: Sequence[str] | None = None
) -> Evaluation:
    """An evaluation with these returns and successes `(k, task)`, an episode each."""
    values, solved = np.array(returns, dtype=float)[..., None], np.array(success, dtype=bool)[..., None]
    tasks = TASKS.build().test_tasks[: values.shape[1]]
    return Evaluation(
        distribution="navigation",
        held_out=True,
        horizon=8,
        task_names=tuple(names or [task.name for task in tasks]),
        task_ids=tuple(task.id for task in tasks),
        adaptation_episodes=tuple(ks),
        adaptation_steps=1,
        seed=1,
        success=solved,
        success_last=solved,
        returns=values,
    )


HALF = evaluation([[10, 10, 10, 10, 10, 10], [10, 11, 12, 13, 14, 9]], [[0] * 6, [0, 1, 1, 1, 0, 0]])
"""Gains 0, 1, 2, 3, 4 and -1 in return; none of six solved before, three after."""


def store(
    run: RunDirectory, evaluation: Evaluation, control: str | None = None, env_steps: int = 100, name: str = ""
) -> None:
    """Writes an evaluation into a run."""
    origin = Origin(
        run=str(run.path),
        checkpoint="",
        iteration=1,
        env_steps=env_steps,
        split="test",
        tasks_per_name=None,
        control=control,
        training_seed=run.config.seed,
        task_fingerprint="",
        versions={"numpy": "0"},
    )
    path = run.evaluations / f"{env_steps}-{control}{name}.json"
    write_evaluation(path, StoredEvaluation(evaluation, origin))
