"""Reptile."""

from __future__ import annotations

from metarl.algorithms.maml.config import ReptileConfig
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep, check_finite
from metarl.algorithms.maml.problem import Problem
from metarl.optim.vectors import flatten, unflatten


class Reptile(OuterRule):
    """theta + lr * mean over tasks of (phi - theta) (Nichol et al. 2018, algorithm 2).

    phi is theta after the inner steps and one more on the query samples: with a single gradient step Reptile would be
    plain training on the mean of the tasks (ibid., section 3).

    Args:
        config: The settings.
    """

    def __init__(self, config: ReptileConfig) -> None:
        self._config = config

    def step(self, problem: Problem) -> OuterStep:
        """See `OuterRule`."""
        theta = flatten(problem.theta)
        mean = flatten({name: value.mean(0) for name, value in problem.adapt_further().items()})
        norm = check_finite(mean.sum(), mean - theta)
        moved = theta + self._config.lr * (mean - theta)
        return OuterStep(unflatten(moved, problem.theta), {"train/grad_norm": norm})
