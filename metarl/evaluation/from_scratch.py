"""Learning from scratch on the tasks of an evaluation, each task paid for once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.progress import Progress

from metarl.baselines.learners import check_learner, learner_settings
from metarl.baselines.single_tasks import Lesson, TaskCurve, learn_tasks
from metarl.cache import Cached, relevant_versions
from metarl.config.tasks import TasksConfig
from metarl.evaluation.bars import add_bar
from metarl.evaluation.behaviour import behaviour
from metarl.evaluation.scratch import LearningCurve
from metarl.evaluation.tasks import select_tasks
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.counts import check_counts
from metarl_envs.errors import unknown

_TASKS = 10
"""Number of tasks of each name unless more are asked for."""
MOST_POINTS = 20
"""Number of evaluations after the first, unless the budget has fewer episodes."""


@dataclass(frozen=True)
class FromScratch:
    """Budget of learning from scratch."""

    learners: tuple[str, ...]
    """Names of the learners; see `metarl.baselines.learners.LEARNERS`."""
    tasks: int | None = None
    """Number of tasks of each name; None takes 10, or all where there are fewer."""
    names: tuple[str, ...] = ()
    """Names of the tasks to learn; empty for all."""
    budget: int = 1000
    """Training episodes on each task."""
    episodes: int = 3
    """Evaluation episodes at each point of the curve."""

    def choose(self, tasks: Sequence[Task]) -> list[Task]:
        """Takes the first tasks of each name.

        Raises:
            UserError: If a number is out of its range, no task has one of the names, or there are fewer tasks than
                asked for.
        """
        check_counts(scratch_episodes=self.budget)
        known = dict.fromkeys(task.name for task in tasks)
        for name in self.names:
            if name not in known:
                raise unknown("task", name, known)
        tasks = [task for task in tasks if not self.names or task.name in self.names]
        return select_tasks(tasks, self.tasks or _TASKS, or_all=self.tasks is None, option="scratch_tasks")

    def lesson(self, learner: str, seed: int) -> Lesson:
        """Returns what one of the learners learns, evaluated at equal distances."""
        points = np.linspace(0, self.budget, min(self.budget, MOST_POINTS) + 1).round().astype(int)
        return Lesson(learner, tuple(points.tolist()), self.episodes, seed)


def learn_from_scratch(
    config: TasksConfig,
    distribution: TaskDistribution,
    tasks: Sequence[Task],
    lesson: Lesson,
    processes: int,
    progress: Progress | None = None,
) -> tuple[LearningCurve, int]:
    """Learns tasks from scratch; those that were learned so before are taken from the cache, each by itself.

    Args:
        config: Settings that `distribution` was made of.
        distribution: Family of the tasks.
        tasks: Tasks to learn.
        lesson: What to learn on each.
        processes: Number of processes that learn, each a task at a time.
        progress: Display that gets a bar with the number of episodes played; None shows none.

    Returns:
        The curve, and how many of its tasks were taken from the cache.

    Raises:
        UserError: If there is no such learner, or it cannot learn these tasks.
        RunFailure: If a return is not finite, or a process dies.
    """
    check_learner(lesson.learner, distribution.action_space)
    settings = learner_settings(lesson.learner)
    entries = _entries(distribution, tasks, lesson, settings)
    curves = [_read(entry, len(lesson.points)) for entry in entries]
    missing = [index for index, curve in enumerate(curves) if curve is None]
    tell = add_bar(progress, f"{lesson.learner} from scratch", len(missing) * lesson.points[-1])
    for index, curve in learn_tasks(config, [tasks[index] for index in missing], lesson, processes, tell):
        curves[missing[index]] = curve
        entries[missing[index]].write(asdict(curve))
    done = [curve for curve in curves if curve is not None]
    made = LearningCurve(
        learner=lesson.learner,
        settings=settings | {"evaluation_episodes": lesson.episodes},
        distribution=distribution.name,
        task_names=tuple(task.name for task in tasks),
        task_ids=tuple(task.id for task in tasks),
        episodes=np.array(lesson.points),
        success=np.array([curve.success for curve in done], dtype=np.float64),
        returns=np.array([curve.returns for curve in done], dtype=np.float64),
        horizon=distribution.horizon,
        seed=lesson.seed,
    )
    return made, len(tasks) - len(missing)


def _entries(
    distribution: TaskDistribution, tasks: Sequence[Task], lesson: Lesson, settings: Mapping[str, Any]
) -> list[Cached]:
    common = {"what": "from scratch", "settings": settings, "versions": relevant_versions()} | asdict(lesson)
    common |= {"distribution": distribution.name, "horizon": distribution.horizon}
    pairs = zip(tasks, behaviour(distribution, tasks), strict=True)
    return [Cached(common | {"task": task.id, "behaviour": digest}) for task, digest in pairs]


def _read(entry: Cached, points: int) -> TaskCurve | None:
    result = entry.read()
    try:
        curve = TaskCurve([float(each) for each in result["success"]], [float(each) for each in result["returns"]])
    except (TypeError, KeyError, ValueError):
        return None
    complete = len(curve.success) == len(curve.returns) == points
    return curve if complete and np.isfinite([curve.success, curve.returns]).all() else None
