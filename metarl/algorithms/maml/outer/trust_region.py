"""TRPO on the adapted policies."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import MAMLTRPOConfig
from metarl.algorithms.maml.linearization import Linearization
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep, check_finite
from metarl.optim.trust_region import trust_region_step
from metarl.optim.vectors import flatten, unflatten


class TrustRegion(OuterRule):
    """Lowers the surrogate loss within a bound on the adapted policies' KL divergence (Finn et al. 2017, section 5.3).

    With exploration credit the bound is on the sum of the adapted policies' divergence and of that of the policies
    before adaptation: the credit, a noisy sum over all support samples, would otherwise make these drift.

    The curvature may be estimated from some of the samples (Schulman et al. 2015, appendix C); gradient and line search
    use all.

    Args:
        config: The settings.
    """

    def __init__(self, config: MAMLTRPOConfig) -> None:
        self._config = config
        self._every = round(1 / config.fisher_subsample)

    def step(self, objective: MetaObjective) -> OuterStep:
        """See `OuterRule`."""
        theta = objective.theta
        vector = flatten(theta)
        linear = objective.linearize(theta)
        old = linear.outputs
        gradient, loss = objective.gradient(lambda new: objective.surrogate(new, old), linear)
        norm = check_finite(loss, gradient)

        linear = linear.subsampled(self._every)  # frees what was kept of all samples

        def evaluate(candidate: Float[Tensor, "n"]) -> tuple[float, float]:
            new = objective.outputs(unflatten(candidate, theta), old)
            loss, kl = objective.mean(objective.surrogate(new, old), objective.divergence(new, old))
            return loss.item(), kl.item()

        step = trust_region_step(
            vector,
            loss.item(),
            gradient,
            curvature_product(objective.subsampled(self._every), linear),
            evaluate,
            **self._config.model_dump(exclude={"kind", "fisher_subsample"}),
        )
        metrics = {
            "train/loss": step.loss,
            "train/kl": step.kl,
            "train/grad_norm": norm,
            "train/line_search_steps": float(step.tried),
            "train/line_search_failed": float(not step.accepted),
        }
        return OuterStep(unflatten(step.vector, theta), metrics)


def curvature_product(
    objective: MetaObjective, linear: Linearization
) -> Callable[[Float[Tensor, "n"]], Float[Tensor, "n"]]:
    """Makes the map from v to JᵀFJ v, the Hessian of the mean divergence at theta times v.

    J is the Jacobian of the policies' outputs with respect to theta, through the adaptation, and F the Fisher matrix of
    the outputs. The product is exact: at new = old the divergence's gradient is zero, so that the second derivatives of
    the outputs do not enter.

    Args:
        objective: The samples.
        linear: Outputs on these samples at the objective's meta-parameters, with products of J.
    """

    def product(direction: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        # J v, then F J v, then Jᵀ F J v, and the mean of that over the ranks
        moved = linear.jvp(unflatten(direction, objective.theta), to_supports=objective.credit is not None)
        (mean,) = objective.mean(flatten(linear.vjp(objective.fisher_product(linear.outputs, moved))))
        return mean

    return product
