"""Choice of the tasks to show: those that tell what an evaluation found, or a spread over the task space before one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import StoredEvaluation, read_evaluations
from metarl.runs import RunDirectory
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError

_SHORTEST_ID = 6
"""Number of digits from which on the beginning of an id is enough."""
_LOW, _MIDDLE, _HIGH = 10, 50, 90
"""Percentiles of gain between which tasks are chosen."""


class Choice(NamedTuple):
    """Tasks to show, and why."""

    tasks: list[tuple[str, int]]
    """Label, "" for none, and index among the held-out tasks, of each."""
    evaluation: StoredEvaluation | None
    """Evaluation that tasks were chosen from by their gain; None before there is one."""
    why: str
    """How they were chosen, in a line for the user."""


def choose_tasks(
    run: RunDirectory, distribution: TaskDistribution, env_steps: int, count: int, selectors: Sequence[str] = ()
) -> Choice:
    """Chooses held-out tasks to show: by gain in the run's last evaluation, or spread over the task space before one.

    Args:
        run: The run.
        distribution: Its tasks.
        env_steps: Environment steps of the checkpoint to show, whose own evaluation is preferred.
        count: Number of tasks to choose.
        selectors: Index, id or name of tasks that the user wants. Tasks named by index or id are all shown; of those
            of the given names, `count` are chosen.

    Raises:
        UserError: If `count` is below 1, or no task is meant by a selector.
    """
    tasks = distribution.test_tasks
    index = {task: number for number, task in reversed(list(enumerate(tasks)))}
    wanted, candidates = pick_tasks(tasks, selectors) if selectors else ([], list(tasks))
    chosen = [("", index[task]) for task in wanted]
    evaluation, why_not = last_evaluation(run, distribution, env_steps)
    if not candidates:
        return Choice(chosen, evaluation, "tasks as named")
    if evaluation is not None:
        by_id = {task.id: number for task, number in index.items()}
        ids = evaluation.evaluation.task_ids
        among = [number for number, task_id in enumerate(ids) if task_id in {task.id for task in candidates}]
        if among:
            told = [(label, by_id[ids[number]]) for label, number in telling_tasks(evaluation, count, among)]
            return Choice(chosen + told, evaluation, _by_gain(evaluation, env_steps))
        why_not = "the last evaluation has none of these tasks"
    spread = [("", index[task]) for task in spread_tasks(candidates, count)]
    return Choice(chosen + spread, evaluation, f"tasks spread over the task space, since {why_not}")


def last_evaluation(
    run: RunDirectory, distribution: TaskDistribution, env_steps: int
) -> tuple[StoredEvaluation | None, str]:
    """Returns the evaluation of held-out tasks that shows a gain: of this checkpoint, or else of the latest one.

    Args:
        run: The run.
        distribution: Its tasks.
        env_steps: Environment steps of the checkpoint.

    Returns:
        The evaluation, of those of one checkpoint the one with most tasks and episodes; or None and the reason.
    """
    try:
        stored = read_evaluations(run)
    except UserError as error:
        return None, str(error)
    fitting = [
        each
        for each in stored
        if each.origin.control is None
        and each.origin.split == "test"
        and each.origin.task_fingerprint == distribution.fingerprint
        and _has_gain(each.evaluation)
    ]

    def order(each: StoredEvaluation) -> tuple[bool, int, int, int]:
        _, tasks, episodes = each.evaluation.returns.shape
        return each.origin.env_steps == env_steps, each.origin.env_steps, tasks, episodes

    return (max(fitting, key=order), "") if fitting else (None, "the run has no evaluation of k = 0 and another k yet")


def telling_tasks(
    stored: StoredEvaluation, count: int = 3, among: Sequence[int] | None = None
) -> list[tuple[str, int]]:
    """Chooses tasks near evenly spaced percentiles of gain: the 10th, 50th and 90th for three tasks.

    Gain is the mean return after the most adaptation episodes less the mean return before any, as in the table.

    Args:
        stored: Evaluation that played k = 0 and some other k.
        count: Number of tasks; all if there are fewer.
        among: Indices in the evaluation of the tasks to choose from; None is all.

    Returns:
        Label, such as "10th percentile of gain", and index in the evaluation, for each task, lowest gain first.

    Raises:
        UserError: If `count` is below 1, or the evaluation has no gain.
    """
    evaluation = stored.evaluation
    if not _has_gain(evaluation):
        ks = ", ".join(map(str, evaluation.adaptation_episodes))
        raise UserError(f"tasks are chosen by gain from an evaluation of k = 0 and another k: it has k = {ks}")
    indices = np.arange(evaluation.returns.shape[1]) if among is None else np.asarray(among)
    # gain[task] = mean_e return[k_max, task, e] - mean_e return[0, task, e]
    gains = (evaluation.returns[-1].mean(-1) - evaluation.returns[0].mean(-1))[indices]
    count = min(_at_least_one(count), len(gains))
    percentiles = [_MIDDLE] if count == 1 else np.linspace(_LOW, _HIGH, count)
    order = indices[np.argsort(gains, kind="stable")]
    ranks: list[int] = []
    for number, percentile in enumerate(percentiles):
        nearest = round(percentile / 100 * (len(gains) - 1))
        # Ranks increase by one at least, and leave room for those that follow.
        least = ranks[-1] + 1 if ranks else 0
        ranks.append(min(max(nearest, least), len(gains) - count + number))
    labels = [f"{_ordinal(round(percentile))} percentile of gain" for percentile in percentiles]
    return [(label, int(order[rank])) for label, rank in zip(labels, ranks, strict=True)]


def _has_gain(evaluation: Evaluation) -> bool:
    return evaluation.adaptation_episodes[0] == 0 and len(evaluation.adaptation_episodes) > 1


def _by_gain(stored: StoredEvaluation, env_steps: int) -> str:
    evaluation, at = stored.evaluation, stored.origin.env_steps
    other = "" if at == env_steps else f" of another checkpoint, at {at:,} steps"
    return f"tasks chosen by their gain at k = {evaluation.adaptation_episodes[-1]} in the evaluation{other}"


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


def pick_tasks(tasks: Sequence[Task], selectors: Sequence[str]) -> tuple[list[Task], list[Task]]:
    """Finds the tasks that a user names by index, by id or the beginning of an id, or by name.

    Args:
        tasks: Tasks to choose from.
        selectors: Index from 0, id, or name, of which all tasks are meant.

    Returns:
        Tasks that are meant by index or id, in the order named; and all tasks of the given names.

    Raises:
        UserError: If no task is meant by one of them.
    """
    single: list[Task] = []
    named: list[Task] = []
    for selector in selectors:
        same_name = [task for task in tasks if task.name == selector]
        same_id = [task for task in tasks if len(selector) >= _SHORTEST_ID and task.id.startswith(selector)]
        if same_name:
            named += same_name
        elif selector.isdecimal() and int(selector) < len(tasks):
            single.append(tasks[int(selector)])
        elif len(set(same_id)) == 1:
            single.append(same_id[0])
        else:
            names = ", ".join(dict.fromkeys(task.name for task in tasks))
            raise UserError(
                f"no held-out task '{selector}': give an index from 0 to {len(tasks) - 1}, an id such as"
                f" {tasks[0].id[:_SHORTEST_ID]}, or a name: {names}"
            )
    return list(dict.fromkeys(single)), list(dict.fromkeys(named))


def _at_least_one(count: int) -> int:
    if count < 1:
        raise UserError(f"number of tasks must be at least 1: got {count}")
    return count


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"
