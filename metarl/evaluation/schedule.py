"""How often a training evaluates: at its start, at its end, and between as often as a share of steps pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

_MOST = 20
"""Largest number of evaluations after the first: as many points draw a curve, and small evaluations are slow for their
steps."""


def count_episodes(num_tasks: int, num_envs: int, adaptation_episodes: Sequence[int], episodes: int) -> int:
    """Returns the number of episodes that an evaluation plays, those that fill up its last batch included.

    Args:
        num_tasks: Number of tasks.
        num_envs: Number of tasks played at a time.
        adaptation_episodes: Number of episodes played to adapt, for each k.
        episodes: Number of evaluation episodes per task and k.
    """
    # ceil(tasks / envs) * envs * sum_k (k + episodes)
    return math.ceil(num_tasks / num_envs) * num_envs * sum(k + episodes for k in adaptation_episodes)


def evaluation_interval(share: float, iterations: int, iteration_steps: Fraction, cost: int) -> int:
    """Returns the number of iterations between evaluations, the first before training and the last at its end.

    The two ends are always evaluated, so that they alone may cost more than `share` where a training is short.

    Args:
        share: Largest share that the steps of all evaluations may have in those of the training.
        iterations: Number of iterations of the whole training.
        iteration_steps: Environment steps of an iteration.
        cost: Environment steps of an evaluation; one that costs none takes place as often as any.
    """
    # affordable evaluations: a = floor(share * iterations * steps / cost), n come at 0, i, 2 i, ..., and the end:
    # n = 1 + ceil(iterations / i) <= a  for  i = ceil(iterations / (a - 1))
    affordable = math.floor(Fraction(str(share)) * iterations * iteration_steps / cost) if cost else _MOST + 1
    return math.ceil(iterations / min(max(affordable - 1, 1), _MOST))
