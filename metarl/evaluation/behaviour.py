"""What environments do, as a digest: it tells whether a result that was kept is still one of these environments."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.core import Task, TaskDistribution

_STEPS = 20
_MOST_ENVS = 50


def behaviour(distribution: TaskDistribution, tasks: Sequence[Task]) -> list[str]:
    """Plays 20 steps of fixed random actions in each task, and returns a digest of what came of them for each.

    Another reward or other physics change it, though the tasks' identifiers stay the same. So does a family that is
    random whatever its seed: none of its results is taken from a cache.

    Args:
        distribution: Family of the tasks.
        tasks: Tasks to play.
    """
    return [
        digest
        for start in range(0, len(tasks), _MOST_ENVS)
        for digest in _digests(distribution, tasks[start : start + _MOST_ENVS])
    ]


def _digests(distribution: TaskDistribution, tasks: Sequence[Task]) -> list[str]:
    digests = [sha256(task.id.encode()) for task in tasks]
    with closing(distribution.make_env(len(tasks))) as env:
        env.set_tasks(tasks)
        observations, _ = env.reset(seed=[int(task.id[:7], 16) for task in tasks])
        seen: list[tuple[npt.NDArray[np.float64], ...]] = [(np.asarray(observations, dtype=np.float64),)]
        rng = np.random.default_rng(0)
        for _ in range(min(_STEPS, distribution.horizon)):
            action = random_actions(distribution.action_space, 1, rng)  # the same in all, however many there are
            observations, rewards, *_, infos = env.step(np.repeat(action, len(tasks), axis=0))
            seen.append(tuple(np.asarray(each, dtype=np.float64) for each in (observations, rewards, infos["success"])))
    for arrays in seen:
        for array in arrays:
            for digest, row in zip(digests, array, strict=True):
                digest.update(np.ascontiguousarray(row).tobytes())
    return [digest.hexdigest()[:16] for digest in digests]


def random_actions(
    space: gym.spaces.Box | gym.spaces.Discrete, count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64] | npt.NDArray[np.int64]:
    """Draws an action for each of `count` environments, uniformly; unbounded ones from a standard normal distribution.

    Args:
        space: Action space of a single environment.
        count: Number of environments.
        rng: The source of randomness.
    """
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, count)
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = (np.where(bounded, bound, 0.0) for bound in (space.low, space.high))
    uniform = rng.uniform(low, high, (count, *space.shape))
    return np.where(bounded, uniform, np.clip(rng.standard_normal(uniform.shape), space.low, space.high))
