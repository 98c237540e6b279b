"""Standard deviation of observations, the unit in which sensor noise is measured."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from metarl.acting.actors import RandomActor
from metarl.acting.play import VectorPlay, play
from metarl.seeding import Stream, derive_seeds, generator
from metarl_envs.core import FloatArray, TaskDistribution

_MOST_TASKS = 20
_SEED = 0
"""Seed of what is played; always the same, so that a strength means the same for every policy on the same tasks."""


def observation_scale(distribution: TaskDistribution) -> FloatArray:
    """Measures the standard deviation of each element of an observation, over tasks and steps.

    An episode of uniformly random actions is played on each of up to 20 training tasks. The result depends on the
    distribution alone.

    Args:
        distribution: Family of the tasks.

    Returns:
        Standard deviations `(obs,)`; zero for elements that never change.
    """
    count = min(_MOST_TASKS, len(distribution.train_tasks))
    tasks = distribution.sample(count, generator(_SEED, Stream.PERTURBATION, Stream.TASKS))
    key = (_SEED, Stream.PERTURBATION, Stream.SAMPLING)
    actor = RandomActor(distribution.action_space, [generator(*key, env) for env in range(count)])
    with closing(distribution.make_env(count)) as env:
        env.set_tasks(tasks)
        steps = play([VectorPlay(env, actor, 1, derive_seeds(*key, count=count))])
        seen = np.concatenate([step.timestep.observation[step.valid] for step in steps])
    deviations: FloatArray = seen.std(axis=0)
    return deviations
