"""Products with the Jacobian of a network's outputs, for Gauss-Newton curvature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

Product = Callable[[Tensor], Tensor]

_twice = ContextVar("_twice", default=False)


def jacobian_products(
    outputs: Callable[[Tensor], Tensor], vector: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "*out"], Product, Product]:
    """Outputs at a vector of parameters, and the maps v -> J v and u -> Jᵀ u, J being their Jacobian there.

    J v is taken as the derivative of u -> Jᵀ u, which is linear: fused recurrent networks have no forward-mode
    derivatives. Call this, and the maps, within `twice_differentiable`.

    Args:
        outputs: Maps parameters to outputs of any shape.
        vector: The parameters.
    """
    value, pull_back = vjp(outputs, vector)  # type: ignore[misc]

    def transposed(cotangent: Tensor) -> Tensor:
        product: Tensor = pull_back(cotangent)[0]
        return product

    _, push_forward = vjp(transposed, torch.zeros_like(value))  # type: ignore[misc]
    return value, lambda tangent: push_forward(tangent)[0], transposed


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Keeps to kernels whose gradients can be differentiated again: not cuDNN's, nor fused attention, nor our own."""
    token = _twice.set(True)
    try:
        with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _twice.reset(token)


def is_twice_differentiable() -> bool:
    """Whether this is within `twice_differentiable`."""
    return _twice.get()
