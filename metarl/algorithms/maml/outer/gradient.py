"""Vanilla policy gradient."""

from __future__ import annotations

from metarl.algorithms.maml.config import VPGConfig
from metarl.algorithms.maml.outer.base import AdamRule, OuterStep, check_finite
from metarl.algorithms.maml.problem import Problem
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import Parameters, flatten, unflatten


class PolicyGradient(AdamRule):
    """One step along the gradient of the surrogate where all ratios are 1, which is the policy gradient's estimate.

    The step is Adam's, since the length of a meta-gradient says little: it depends on the number of inner steps, on the
    inner step size and on the standard deviation of the actions, and changes by orders of magnitude in training.

    Args:
        config: The settings.
        theta: Meta-parameters, for their shapes.
    """

    def __init__(self, config: VPGConfig, theta: Parameters) -> None:
        super().__init__(adam_start(flatten(theta)))
        self._config = config

    def step(self, problem: Problem) -> OuterStep:
        """See `OuterRule`."""
        theta = problem.theta
        vector, old = flatten(theta), problem.unroll(theta)
        gradient, loss = problem.gradient(lambda new: problem.surrogate(new, old), theta)
        norm = check_finite(loss, gradient)
        vector, self._adam = adam_step(vector, gradient, self._adam, self._config.lr)
        moved = unflatten(vector, theta)
        kl = problem.query_kl(problem.unroll(moved, old), old).item()
        return OuterStep(moved, {"train/loss": loss.item(), "train/kl": kl, "train/grad_norm": norm})
