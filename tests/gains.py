"""Evaluations with given gains, for tests of what is shown of them."""

from collections.abc import Sequence

import numpy as np

from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, StoredEvaluation
from metarl_envs.core import Task


def stored_gains(
    tasks: Sequence[Task], gains: Sequence[float], ks: Sequence[int] = (0, 1, 10), fingerprint: str = ""
) -> StoredEvaluation:
    """An evaluation with seed 7, at 4000 steps, in which the tasks gain so much at the largest k, in the mean."""
    returns = np.zeros((len(ks), len(tasks), 2))
    returns[0] = 5.0
    returns[-1] = 5.0 + np.array(gains)[:, None] + np.array([-3.0, 3.0])
    solved = np.zeros(returns.shape, dtype=np.bool_)
    evaluation = Evaluation(
        distribution="tasks",
        held_out=True,
        horizon=8,
        task_names=tuple(task.name for task in tasks),
        task_ids=tuple(task.id for task in tasks),
        adaptation_episodes=tuple(ks),
        adaptation_steps=1,
        seed=7,
        success=solved,
        success_last=solved,
        returns=returns,
    )
    return StoredEvaluation(evaluation, Origin("run", "checkpoint", 1, 4000, "test", None, None, 1, fingerprint, {}))
