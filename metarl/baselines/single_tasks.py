"""Learning from scratch on single tasks with stable-baselines3, one process per core."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl.baselines.learners import make_learner
from metarl.config.tasks import TasksConfig
from metarl.devices import one_torch_thread
from metarl.errors import RunFailure
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.parallel import end_with_parent
from metarl_envs.single import SingleTaskEnv

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_POLL_SECONDS = 0.5


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
    config: TasksConfig, tasks: Sequence[Task], lesson: Lesson, processes: int, tell: Callable[[int], object]
) -> Iterator[tuple[int, TaskCurve]]:
    """Learns tasks from scratch, each by itself.

    Args:
        config: Settings of the family of the tasks.
        tasks: Tasks to learn.
        lesson: What to learn on each.
        processes: Number of processes that learn, each a task at a time; with 1, this process learns.
        tell: Is told the number of training episodes played since it was last told.

    Yields:
        Index of a task and its curve, in the order in which they are done.

    Raises:
        RunFailure: If a return is not finite, or a process dies.
    """
    if min(processes, len(tasks)) <= 1:
        for index, task in enumerate(tasks):
            yield index, _learn(config, task, lesson, tell)
        return
    context = get_context("spawn")  # PyTorch's threads do not survive a fork
    told, stop = context.SimpleQueue(), context.Event()
    executor = ProcessPoolExecutor(min(processes, len(tasks)), context, initializer=_begin, initargs=(told, stop))
    try:
        futures = {executor.submit(_learn_and_tell, config, task, lesson): index for index, task in enumerate(tasks)}
        yield from _collect(futures, told, tell)
    except BrokenProcessPool:
        raise RunFailure("a process that learns from scratch died: was it killed, for want of memory?") from None
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _collect(
    futures: dict[Future[TaskCurve], int], told: Any, tell: Callable[[int], object]
) -> Iterator[tuple[int, TaskCurve]]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        while not told.empty():
            tell(told.get())
        for future in done:
            yield futures[future], future.result()


_told: Any = None
"""Queue of a process to its parent."""
_stop: Any = None
"""Event that tells a process that its parent does not want more."""


def _begin(told: Any, stop: Any) -> None:
    global _told, _stop
    _told, _stop = told, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is sent to all; the parent sets `stop`
    end_with_parent(os.getppid())


def _learn_and_tell(config: TasksConfig, task: Task, lesson: Lesson) -> TaskCurve:
    return _learn(config, task, lesson, _tell_parent)


def _tell_parent(episodes: int) -> None:
    if _stop.is_set():
        raise RunFailure("stopped by the parent process")
    _told.put(episodes)


@one_torch_thread()
def _learn(config: TasksConfig, task: Task, lesson: Lesson, tell: Callable[[int], object]) -> TaskCurve:
    return learn_task(_distribution(config.model_dump_json(), type(config)), task, lesson, tell)


@cache
def _distribution(settings: str, config_class: type[Any]) -> TaskDistribution:
    """Makes the family of a process once; its environments step in this thread."""
    distribution: TaskDistribution = config_class.model_validate_json(settings).build()
    distribution.workers = 1
    return distribution


def learn_task(distribution: TaskDistribution, task: Task, lesson: Lesson, tell: Callable[[int], object]) -> TaskCurve:
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
