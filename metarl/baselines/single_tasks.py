"""Learning from scratch on single tasks with stable-baselines3, one process per core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metarl.baselines.learners import make_learner
from metarl.baselines.processes import Tell, family_of, spread
from metarl.config.tasks import TasksConfig
from metarl.devices import one_torch_thread
from metarl.errors import RunFailure
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.single import SingleTaskEnv

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclass(frozen=True)
class Lesson:
    """What is learned on each task, and when it is evaluated."""

    learner: str
    """Name of the learner."""
    points: tuple[int, ...]
    """Numbers of training episodes after which the mean action is evaluated, ascending from 0; the last is the end."""
    episodes: int
    """Evaluation episodes at each point, the same ones at all points."""
    seed: int
    """Seed that those of learner and environments are derived from, together with the task."""


@dataclass
class TaskCurve:
    """Performance on one task, a number for each point."""

    success: list[float]
    """Share of the evaluation episodes in which the task was solved at any step."""
    returns: list[float]
    """Undiscounted return of an evaluation episode, averaged."""


def learn_tasks(
    config: TasksConfig, tasks: Sequence[Task], lesson: Lesson, processes: int, tell: Tell
) -> Iterator[tuple[int, TaskCurve]]:
    """Learns tasks from scratch, each by itself.

    Args:
        config: Settings of the family of the tasks.
        tasks: Tasks to learn.
        lesson: What to learn on each.
        processes: Number of processes that learn, each a task at a time; with 1, this process learns.
        tell: Is told the number of training episodes played since it was last told.

    Returns:
        Index of each task and its curve, in the order in which they are done.

    Raises:
        RunFailure: If a return is not finite, or a process dies.
    """
    return spread(_learn, [(config, task, lesson) for task in tasks], processes, tell)


@one_torch_thread()
def _learn(job: tuple[TasksConfig, Task, Lesson], tell: Tell) -> TaskCurve:
    config, task, lesson = job
    return learn_task(family_of(config), task, lesson, tell)


def learn_task(distribution: TaskDistribution, task: Task, lesson: Lesson, tell: Tell) -> TaskCurve:
    """Learns one task from scratch, and evaluates the mean action at each point.

    Args:
        distribution: Family of the task; observations are what it shows of it.
        task: Task to learn.
        lesson: What to learn.
        tell: Is told the number of training episodes played since it was last told.

    Raises:
        RunFailure: If a return is not finite.
    """
    from metarl.baselines.callbacks import EvaluateAt

    # (seed of the learner, seeds of the evaluation episodes) = derive(seed, task)
    key = (int(task.id[:8], 16), int(task.id[8:], 16))
    learner_seed, *seeds = derive_seeds(lesson.seed, Stream.BASELINES, *key, count=1 + lesson.episodes)
    curve = TaskCurve([], [])
    with closing(SingleTaskEnv(distribution, task)) as env, closing(SingleTaskEnv(distribution, task)) as watched:
        model = make_learner(lesson.learner, env, learner_seed)

        def evaluate() -> None:
            success, returns = play_mean_action(model, watched, seeds)
            curve.success.append(success)
            curve.returns.append(returns)

        # An episode has at most `horizon` steps, so the callback ends the learning.
        model.learn(distribution.horizon * max(lesson.points[-1], 1), EvaluateAt(lesson.points, evaluate, tell))
    if not np.isfinite(curve.returns).all():
        raise RunFailure(f"{lesson.learner} from scratch on {task} gave returns that are not finite numbers")
    return curve


def play_mean_action(model: BaseAlgorithm, env: SingleTaskEnv, seeds: Sequence[int]) -> tuple[float, float]:
    """Plays an episode for each seed with the likeliest actions.

    Returns:
        Share of the episodes in which the task was solved at any step, and mean of the undiscounted returns.
    """
    solved, total = 0, 0.0
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        ended, success = False, False
        while not ended:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, info = env.step(action)
            total += reward
            success |= info["success"]
            ended = terminated or truncated
        solved += success
    return solved / len(seeds), total / len(seeds)
