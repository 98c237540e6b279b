"""Trust-region step of TRPO (Schulman et al. 2015, appendix C)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.optim.conjugate_gradient import conjugate_gradient


@dataclass(frozen=True)
class TrustRegionStep:
    """Result of a trust-region step."""

    vector: Float[Tensor, "n"]
    """New parameters; if no step was accepted, the old ones, bit for bit."""
    loss: float
    """Loss at `vector`."""
    kl: float
    """Mean KL divergence at `vector`, in nats."""
    tried: int
    """Number of steps that the line search tried."""
    accepted: bool
    """True if the line search found a step that lowers the loss within the trust region."""


def trust_region_step(
    vector: Float[Tensor, "n"],
    loss: float,
    gradient: Float[Tensor, "n"],
    curvature_product: Callable[[Tensor], Tensor],
    evaluate: Callable[[Tensor], tuple[float, float]],
    *,
    max_kl: float,
    cg_iterations: int,
    cg_damping: float,
    backtrack_ratio: float,
    backtrack_steps: int,
) -> TrustRegionStep:
    """Lowers a loss within a bound on the KL divergence.

    Conjugate gradients solve (F + damping I) s = g for the direction s. The first step tried is the longest that the
    damped quadratic model of the divergence allows; the line search shortens it until the loss falls and the true
    divergence is within the bound.

    Args:
        vector: The current parameters.
        loss: Loss at `vector`.
        gradient: Gradient of the loss at `vector`.
        curvature_product: Maps v to F v, F being the Hessian of the divergence at `vector`.
        evaluate: Maps parameters to (loss, mean KL divergence from the policy at `vector`).
        max_kl: The bound, in nats.
        cg_iterations: Conjugate-gradient iterations.
        cg_damping: Multiple of the identity added to F.
        backtrack_ratio: Factor between one step tried and the next.
        backtrack_steps: Largest number of steps to try.
    """
    unchanged = TrustRegionStep(vector, loss, 0.0, 0, accepted=False)

    def damped(v: Tensor) -> Tensor:
        # (F + damping I) v
        return curvature_product(v) + cg_damping * v

    # (F + damping I) s = g
    direction = conjugate_gradient(damped, gradient, cg_iterations)
    # the model of the divergence along beta s is beta²/2 sᵀ(F + damping I)s
    quadratic = direction @ damped(direction)
    if not (torch.isfinite(quadratic) and quadratic > 0):  # a zero or non-finite gradient
        return unchanged
    # beta s with beta = sqrt(2 max_kl / sᵀ(F + damping I)s)
    full_step = torch.sqrt(2 * max_kl / quadratic) * direction
    for tried in range(1, backtrack_steps + 1):
        # theta - ratio^j beta s, j = 0, 1, 2, ...
        candidate = vector - backtrack_ratio ** (tried - 1) * full_step
        new_loss, kl = evaluate(candidate)
        if new_loss < loss and kl <= max_kl:  # false for NaN
            return TrustRegionStep(candidate, new_loss, kl, tried, accepted=True)
    return TrustRegionStep(vector, loss, 0.0, backtrack_steps, accepted=False)
