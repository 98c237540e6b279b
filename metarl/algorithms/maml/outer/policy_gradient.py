"""Vanilla policy gradient."""

from __future__ import annotations

from metarl.algorithms.maml.config import VPGConfig
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.base import AdamRule, OuterStep, check_finite
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import Parameters, flatten, unflatten


class PolicyGradient(AdamRule):
    """One Adam step along the policy gradient: the surrogate's gradient where all importance ratios are 1.

    The step is Adam's because the length of a meta-gradient depends on the number of inner steps, on the inner step
    size and on the standard deviation of the actions, and changes by orders of magnitude in training.

    Args:
        config: The settings.
        theta: Meta-parameters, for their shapes.
    """

    def __init__(self, config: VPGConfig, theta: Parameters) -> None:
        super().__init__(adam_start(flatten(theta)))
        self._config = config

    def step(self, objective: MetaObjective) -> OuterStep:
        """See `OuterRule`."""
        theta = objective.theta
        vector, old = flatten(theta), objective.outputs(theta)
        # grad of -mean r A at r = 1 is -mean of grad log pi A
        gradient, loss = objective.gradient(lambda new: objective.surrogate(new, old), objective.linearize(theta))
        norm = check_finite(loss, gradient)
        vector, self._adam = adam_step(vector, gradient, self._adam, self._config.lr)
        moved = unflatten(vector, theta)
        (kl,) = objective.mean(objective.query_kl(objective.outputs(moved, old), old))
        return OuterStep(moved, {"train/loss": loss.item(), "train/kl": kl.item(), "train/grad_norm": norm})
