"""Reptile."""

from __future__ import annotations

from metarl.algorithms.maml.config import ReptileConfig
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep, check_finite
from metarl.optim.vectors import flatten, unflatten


class Reptile(OuterRule):
    """Step to theta + lr * mean over tasks of (phi - theta) (Nichol et al. 2018, algorithm 2).

    phi are a task's parameters after the inner steps and one more on the query samples: with a single gradient step
    Reptile would be plain training on the mean of the tasks (ibid., section 3).

    Args:
        config: The settings.
    """

    def __init__(self, config: ReptileConfig) -> None:
        self._config = config

    def step(self, objective: MetaObjective) -> OuterStep:
        """See `OuterRule`."""
        theta = flatten(objective.theta)
        phi = objective.inner.adapt(objective.adapted, objective.theta, objective.query)
        (mean,) = objective.mean(flatten({name: value.mean(0) for name, value in phi.items()}))
        norm = check_finite(mean.sum(), mean - theta)
        # theta + lr * (mean phi - theta)
        moved = theta + self._config.lr * (mean - theta)
        return OuterStep(unflatten(moved, objective.theta), {"train/grad_norm": norm})
