"""TRPO on the adapted policies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import MAMLTRPOConfig
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep, check_finite
from metarl.algorithms.maml.problem import Problem
from metarl.algorithms.maml.unrolling import Unrolling
from metarl.optim.trust_region import trust_region_step
from metarl.optim.vectors import flatten, unflatten


class TrustRegion(OuterRule):
    """Lowers the surrogate loss within a bound on the adapted policies' KL divergence (Finn et al. 2017, section 5.3).

    With exploration credit the policies before adaptation count too: the KL divergences are summed. A bound on the
    adapted ones alone would let those drift away on the credit, a noisy sum over all support samples.

    The curvature of the mean divergence at theta is JᵀFJ: J is the Jacobian of the policies' outputs at the sampled
    states with respect to theta, through the adaptation, and F the (weighted) Fisher matrix of the outputs. It may be
    estimated from part of the samples (Schulman et al. 2015, appendix C); gradient and line search use all.

    Args:
        config: The settings.
    """

    def __init__(self, config: MAMLTRPOConfig) -> None:
        self._config = config
        self._every = round(1 / config.fisher_subsample)

    def step(self, problem: Problem) -> OuterStep:
        """See `OuterRule`."""
        theta = problem.theta
        vector = flatten(theta)
        way = problem.linearize(theta)
        old = way.outputs
        cotangents, loss = torch.func.grad_and_value(lambda new: problem.surrogate(new, old))(old)
        gradient = flatten(way.pull_back(cotangents))
        norm = check_finite(loss, gradient)

        way, part = way.thinned(self._every), problem.thinned(self._every)

        def evaluate(candidate: Float[Tensor, "n"]) -> tuple[float, float]:
            new = problem.unroll(unflatten(candidate, theta), old)
            return problem.surrogate(new, old).item(), problem.divergence(new, old).item()

        step = trust_region_step(
            vector,
            loss.item(),
            gradient,
            curvature_product(part, way),
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


def curvature_product(problem: Problem, way: Unrolling) -> Callable[[Float[Tensor, "n"]], Float[Tensor, "n"]]:
    """Maps v to JᵀFJ v.

    Args:
        problem: The samples.
        way: From the problem's meta-parameters to the outputs on them.
    """

    def product(tangent: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        moved = way.push_forward(unflatten(tangent, problem.theta), to_supports=problem.credit is not None)
        return flatten(way.pull_back(problem.fisher_product(way.outputs, moved)))

    return product
