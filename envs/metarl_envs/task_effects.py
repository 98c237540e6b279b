"""Checks that tasks have an effect, and that observations do not show them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from metarl_envs.core import Task, TaskDistribution

_MOST_TASKS = 8


def check_tasks(distribution: TaskDistribution, random_tells: bool) -> None:
    """Plays different tasks from the same seed with the same random actions, and compares what is returned.

    Args:
        distribution: Distribution to check.
        random_tells: False if random actions need not tell tasks apart.

    Raises:
        AssertionError: If all tasks return the same, or every number that tells tasks apart is in the observation.
    """
    for name in sorted({task.name for task in distribution.train_tasks}):
        tasks = [task for task in distribution.train_tasks if task.name == name][:_MOST_TASKS]
        if len(tasks) < 2:
            continue
        observations, rewards = _play(distribution, tasks)
        if not distribution.task_visible:
            _check_hidden(tasks, observations[0])
        same = (observations == observations[:, :1]).all() and (rewards == rewards[:, :1]).all()
        if random_tells and same:
            raise AssertionError(
                f"tasks have no effect: {tasks[0]} and {len(tasks) - 1} others return the same observations and"
                " rewards from the same seed and actions. Is the task applied to the environment itself rather than"
                " to a wrapper (env.unwrapped), to an attribute that exists, and does reset keep it? If only rare"
                " rewards differ, call check_distribution with random_tells=False"
            )


def _play(distribution: TaskDistribution, tasks: list[Task]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Plays an episode of each task from one seed; returns observations `(step, task, obs)`, rewards `(step, task)`."""
    space = deepcopy(distribution.action_space)
    space.seed(0)
    env = distribution.make_env(len(tasks))
    try:
        env.set_tasks(tasks)
        observations, rewards = [env.reset(seed=[0] * len(tasks))[0]], []
        for _ in range(distribution.horizon):
            action: Any = space.sample()
            seen, reward, *_ = env.step(np.array([action] * len(tasks)))
            observations.append(np.array(seen))
            rewards.append(np.array(reward))
    finally:
        env.close()
    return np.array(observations), np.array(rewards)


def _check_hidden(tasks: list[Task], first: npt.NDArray[np.float64]) -> None:
    """Raises an AssertionError if each parameter that varies is a linear function of one element of first observations.

    Args:
        tasks: Tasks of one name.
        first: First observation of each, from one seed: `(task, obs)`.
    """
    if len(tasks) < 4 or len({task.parameters.shape for task in tasks}) > 1:
        return  # a line passes through few points by chance
    parameters = np.array([task.parameters.ravel() for task in tasks])
    varying, seen = _varying(parameters), _varying(first)
    # |r| = |cos| of the centred columns = 1: the element is a linear function of the parameter
    cosines = np.abs(_directions(parameters[:, varying]).T @ _directions(first[:, seen]))
    linear = cosines > 1 - 1e-9
    if len(varying) and linear.any(1).all():
        shown = {int(varying[row]): int(seen[columns.argmax()]) for row, columns in enumerate(linear)}
        pairs = ", ".join(f"element {element} tells parameter {index}" for index, element in shown.items())
        raise AssertionError(
            f"observations show the task, so that nothing is left to adapt to: {pairs} of {tasks[0].name!r}. Leave"
            " these elements out (of a goal environment, keep all but 'desired_goal' by FilterObservation before"
            " FlattenObservation), or set `task_visible = True` on the distribution if that is on purpose"
        )


def _varying(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Columns that vary by more than rounding."""
    return np.flatnonzero(np.ptp(values, axis=0) > 1e-9 * np.abs(values).max(0))


def _directions(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Columns, centred and of length 1."""
    centred = values - values.mean(0)
    return np.asarray(centred / np.linalg.norm(centred, axis=0))
