"""TRPO on the adapted policies."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp, vjp

from metarl.algorithms.maml.config import TRPOConfig
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep, check_finite
from metarl.algorithms.maml.problem import Problem, Unrolled
from metarl.optim.trust_region import trust_region_step
from metarl.optim.vectors import flatten, unflatten


class TrustRegion(OuterRule):
    """Lowers the surrogate loss within a bound on the adapted policies' KL divergence (Finn et al. 2017, section 5.3).

    With exploration credit the policies before adaptation count too: the KL divergences are summed. A bound on the
    adapted ones alone would let those drift away on the credit, a noisy sum over all support samples.

    The curvature of the mean divergence at theta is JᵀFJ: J is the Jacobian of the policies' outputs at the sampled
    states with respect to theta, through the adaptation, and F the (weighted) Fisher matrix of the outputs.

    Args:
        config: The settings.
    """

    def __init__(self, config: TRPOConfig) -> None:
        self._config = config

    def step(self, problem: Problem) -> OuterStep:
        """See `OuterRule`."""
        theta = problem.theta

        def unroll(vector: Float[Tensor, "n"]) -> Unrolled:
            return problem.unroll(unflatten(vector, theta))

        vector = flatten(theta)
        old, pull_back = vjp(unroll, vector)  # type: ignore[misc]
        gradients, loss = torch.func.grad_and_value(lambda new: problem.surrogate(new, old))(old)
        (gradient,) = pull_back(gradients)
        norm = check_finite(loss, gradient)

        def curvature_product(tangent: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
            _, moved = jvp(unroll, (vector,), (tangent,))  # type: ignore[misc]
            product: Tensor = pull_back(problem.fisher_product(old, moved))[0]
            return product

        @torch.no_grad()
        def evaluate(candidate: Float[Tensor, "n"]) -> tuple[float, float]:
            new = problem.unroll(unflatten(candidate, theta), old)
            return problem.surrogate(new, old).item(), problem.divergence(new, old).item()

        step = trust_region_step(
            vector, loss.item(), gradient, curvature_product, evaluate, **self._config.model_dump(exclude={"kind"})
        )
        metrics = {
            "train/loss": step.loss,
            "train/kl": step.kl,
            "train/grad_norm": norm,
            "train/line_search_steps": float(step.tried),
            "train/line_search_failed": float(not step.accepted),
        }
        return OuterStep(unflatten(step.vector, theta), metrics)
