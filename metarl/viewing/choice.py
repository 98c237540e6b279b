"""Choice of the tasks to show: those that tell what an evaluation found, or a spread over the task space before one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metarl_envs.core import Task
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.evaluation.stored import StoredEvaluation

_LOW, _MIDDLE, _HIGH = 10, 50, 90
"""Percentiles of gain between which tasks are chosen."""


def telling_tasks(stored: StoredEvaluation, count: int = 3) -> list[tuple[str, int]]:
    """Chooses tasks near evenly spaced percentiles of gain: the 10th, 50th and 90th for three tasks.

    Gain is the mean return after the most adaptation episodes less the mean return before any, as in the table.

    Args:
        stored: Evaluation that played k = 0 and some other k.
        count: Number of tasks; all if there are fewer.

    Returns:
        Label, such as "10th percentile of gain", and index in the evaluation, for each task, lowest gain first.

    Raises:
        UserError: If `count` is below 1, or the evaluation has no gain.
    """
    evaluation = stored.evaluation
    ks = evaluation.adaptation_episodes
    if ks[0] != 0 or len(ks) < 2:
        raise UserError("tasks are chosen by gain from an evaluation of k = 0 and another k: it has k = " + _list(ks))
    # gain[task] = mean_e return[k_max, task, e] - mean_e return[0, task, e]
    gains = evaluation.returns[-1].mean(-1) - evaluation.returns[0].mean(-1)
    count = min(_at_least_one(count), len(gains))
    percentiles = [_MIDDLE] if count == 1 else np.linspace(_LOW, _HIGH, count)
    order = np.argsort(gains, kind="stable")
    ranks: list[int] = []
    for number, percentile in enumerate(percentiles):
        nearest = round(percentile / 100 * (len(gains) - 1))
        # Ranks increase by one at least, and leave room for those that follow.
        least = ranks[-1] + 1 if ranks else 0
        ranks.append(min(max(nearest, least), len(gains) - count + number))
    labels = [f"{_ordinal(round(percentile))} percentile of gain" for percentile in percentiles]
    return [(label, int(order[rank])) for label, rank in zip(labels, ranks, strict=True)]


def spread_tasks(tasks: Sequence[Task], count: int) -> list[Task]:
    """Spreads tasks over the task space: of as many names as possible, and within a name far from each other.

    The first task of each name comes first; each further one of that name is the farthest from those already chosen,
    the parameters being scaled to their ranges (farthest-point sampling, Gonzalez 1985).

    Args:
        tasks: Tasks to choose from.
        count: Number of tasks; all tasks if there are fewer.

    Raises:
        UserError: If `count` is below 1.
    """
    by_name: dict[str, list[Task]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    _at_least_one(count)
    rounds = chain.from_iterable(zip_longest(*(_farthest(group, count) for group in by_name.values())))
    return [task for task in rounds if task is not None][:count]


def _farthest(tasks: list[Task], count: int) -> list[Task]:
    """Returns `count` tasks of one name: the first, then always the one farthest from those before."""
    if len({task.parameters.shape for task in tasks}) > 1:
        return tasks[:count]
    places = _scaled(np.stack([task.parameters.ravel() for task in tasks]))
    chosen = [0]
    distances = np.full(len(tasks), np.inf)
    while len(chosen) < min(count, len(tasks)):
        # d[i] = min over chosen j of |x_i - x_j|;  next = argmax_i d[i]
        distances = np.minimum(distances, np.linalg.norm(places - places[chosen[-1]], axis=1))
        distances[chosen] = -1.0
        chosen.append(int(distances.argmax()))
    return [tasks[index] for index in chosen]


def _scaled(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scales each column to a range of 1; constant ones to 0."""
    low, high = places.min(0), places.max(0)
    scaled: npt.NDArray[np.float64] = (places - low) / np.where(high > low, high - low, 1.0)
    return scaled


def pick_tasks(tasks: Sequence[Task], selectors: Sequence[str]) -> list[Task]:
    """Returns the tasks that a user names by index, by id or the beginning of an id, or by name.

    Args:
        tasks: Tasks to choose from.
        selectors: Index from 0, id, or name, of which all tasks are meant.

    Returns:
        The tasks, each once, in the order named.

    Raises:
        UserError: If nothing is meant by one of them.
    """
    picked = chain.from_iterable(_meant_by(selector, tasks) for selector in selectors)
    return list(dict.fromkeys(picked))


def _meant_by(selector: str, tasks: Sequence[Task]) -> list[Task]:
    if selector.isdecimal() and int(selector) < len(tasks):
        return [tasks[int(selector)]]
    named = [task for task in tasks if task.name == selector]
    same_id = [task for task in tasks if len(selector) >= 6 and task.id.startswith(selector)]
    if named or same_id:
        return named or same_id
    names = list(dict.fromkeys(task.name for task in tasks))
    raise UserError(
        f"no held-out task '{selector}': give an index from 0 to {len(tasks) - 1}, an id such as {tasks[0].id}, or a"
        f" name: {', '.join(names)}"
    )


def _at_least_one(count: int) -> int:
    if count < 1:
        raise UserError(f"number of tasks must be at least 1: got {count}")
    return count


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
