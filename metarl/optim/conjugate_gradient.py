"""Conjugate-gradient method for A x = b with A given as a product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Float[Tensor, "n"],
    iterations: int,
    tolerance: float = 1e-10,
) -> Float[Tensor, "n"]:
    """Solves A x = b approximately, starting from zero (Hestenes and Stiefel 1952).

    Args:
        product: Maps v to A v, A being symmetric and positive definite.
        b: The right-hand side.
        iterations: Largest number of products.
        tolerance: Ends early when the residual's squared norm is at most this fraction of that of b.
    """
    # x = 0, r = b - A x = b, p = r
    x = torch.zeros_like(b)
    residual = b.clone()
    direction = b.clone()
    residual_square = residual @ residual
    for _ in range(iterations):
        if residual_square <= tolerance * (b @ b):
            break
        # a = rᵀr / pᵀAp
        curvature = product(direction)
        step = residual_square / (direction @ curvature)
        # x <- x + a p, r <- r - a A p
        x += step * direction
        residual -= step * curvature
        # p <- r_new + (r_newᵀr_new / rᵀr) p
        new_square = residual @ residual
        direction = residual + (new_square / residual_square) * direction
        residual_square = new_square
    return x
