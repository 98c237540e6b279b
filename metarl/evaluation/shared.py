"""Evaluation by several processes: each plays its share of the tasks, and all of them get the whole result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from metarl.evaluation.result import Evaluation
from metarl.ranks import Ranks, gather
from metarl_envs.core import Task


def evaluate_shared(
    ranks: Ranks, tasks: Sequence[Task], evaluate: Callable[[Sequence[Task]], Evaluation]
) -> Evaluation:
    """Evaluates on tasks with several processes; the outcomes are those of one process, but for rounding.

    Args:
        ranks: Processes, each of which calls this; if there are more of them than tasks, each plays all tasks.
        tasks: Tasks to play, all different.
        evaluate: Evaluates on some of the tasks.
    """
    if ranks.size == 1 or len(tasks) < ranks.size:
        return evaluate(tasks)
    own = evaluate(ranks.share(tasks))
    parts = [torch.from_numpy(part.astype(np.float64)) for part in (own.success, own.success_last, own.returns)]
    whole = torch.zeros(3, len(own.adaptation_episodes), len(tasks), own.episodes, dtype=torch.float64)
    whole[:, :, ranks.rank :: ranks.size] = torch.stack(parts)
    counts = torch.tensor([own.held_out, own.divergences, own.env_steps], dtype=torch.float64)
    whole, counts = ranks.sum(whole, counts)
    held_out, divergences, env_steps = (int(count) for count in counts)
    success, success_last, returns = whole.numpy()
    return replace(
        own,
        held_out=held_out == ranks.size,
        task_names=tuple(task.name for task in tasks),
        task_ids=tuple(task.id for task in tasks),
        success=success > 0,
        success_last=success_last > 0,
        returns=returns,
        divergences=divergences,
        env_steps=env_steps,
        acted_as=None if own.acted_as is None else _interleave(ranks, own.acted_as, len(tasks)),
    )


def _interleave(ranks: Ranks, own: tuple[tuple[str, ...], ...], count: int) -> tuple[tuple[str, ...], ...]:
    """Returns the names `[k][task]` of all tasks from those of each rank's share."""
    shares = [json.loads(data) for data in gather(ranks, json.dumps(own).encode())]
    return tuple(tuple(shares[i % ranks.size][k][i // ranks.size] for i in range(count)) for k in range(len(own)))
