"""New training tasks from old ones: the object of one with the goal of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl_envs.core import FloatArray, Task

_NUMBERS = 6
"""Length of the parameters of classes that draw an object's place and a goal: x, y, z of each, in metres."""


def recombine(task: Task, tasks: Sequence[Task], rng: np.random.Generator) -> Task:
    """Gives a task the goal of another task of its class, drawn among those that are no nearer than goals ever are.

    Where each training task has an object and a goal of its own, a policy can learn the pairs by heart and guess the
    goal from where the object is. Pairs that are drawn anew each time tell nothing, and need no task beside the
    training tasks. A task whose parameters are not a place and a goal stays as it is.

    Args:
        task: Task whose object stays where it is.
        tasks: Training tasks, of which those of its class give their goals.
        rng: The source of randomness.
    """
    if len(task.parameters) != _NUMBERS:
        return task
    numbers = np.array([each.parameters for each in tasks if each.name == task.name])
    places, goals = numbers[:, : _NUMBERS // 2], numbers[:, _NUMBERS // 2 :]
    # Meta-World's classes keep a least distance on the table, which the training tasks show
    allowed = goals[_distances(task.parameters[: _NUMBERS // 2], goals) >= _distances(places, goals).min()]
    return Task(task.name, np.concatenate([task.parameters[: _NUMBERS // 2], allowed[rng.integers(len(allowed))]]))


def _distances(places: FloatArray, goals: FloatArray) -> FloatArray:
    """Returns distances on the table."""
    distances: FloatArray = np.linalg.norm((places - goals)[..., :2], axis=-1)
    return distances
