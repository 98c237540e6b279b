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
    """Computes outputs at a vector of parameters, and the products v -> J v and u -> Jᵀ u of their Jacobian J there.

    Call this, and the products, within `twice_differentiable`.

    Args:
        outputs: Maps parameters to outputs of any shape.
        vector: The parameters.

    Returns:
        The outputs, the Jacobian-vector product and the vector-Jacobian product.
    """
    value, transposed = vjp(outputs, vector)  # type: ignore[misc]

    def vector_jacobian(output_gradient: Tensor) -> Tensor:
        product: Tensor = transposed(output_gradient)[0]
        return product

    # J v = d(uᵀ J v)/du: u -> Jᵀ u is linear, with the Jacobian Jᵀ and the vector-Jacobian product v -> J v. Fused
    # recurrent networks have no forward-mode derivatives.
    _, jacobian_vector = vjp(vector_jacobian, torch.zeros_like(value))  # type: ignore[misc]
    return value, lambda direction: jacobian_vector(direction)[0], vector_jacobian


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Allows only kernels whose gradients can be differentiated again: not cuDNN's, fused attention's or our own."""
    token = _twice.set(True)
    try:
        with torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _twice.reset(token)


def is_twice_differentiable() -> bool:
    """Returns true within `twice_differentiable`."""
    return _twice.get()
