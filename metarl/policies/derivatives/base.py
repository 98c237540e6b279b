"""Derivatives that MAML needs of a policy network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from metarl.optim.vectors import Parameters


class ForwardPass(NamedTuple):
    """Outputs o(phi) of the policies at parameters phi, with what their derivatives need again."""

    kept: tuple[Float[Tensor, "task sample _"], ...]
    """Values kept for the derivatives, such as the inputs of each layer."""
    outputs: Float[Tensor, "task sample p"]
    """Distribution parameters o."""


class Gradient(NamedTuple):
    """Gradient of each task's loss L(o(phi)), with what its derivative needs again."""

    parameters: Parameters
    """dL/dphi, with a leading axis `task`."""
    deltas: tuple[Float[Tensor, "task sample _"], ...]
    """Derivatives of L kept for the second derivative, such as those with respect to the outputs of each layer."""


@runtime_checkable
class PolicyDerivatives(Protocol):
    """First and second derivatives of a policy's outputs o(phi) with respect to its parameters phi.

    Parameters and directions are tensors by name, each with a leading axis `task` or shared by all tasks. J is the
    Jacobian do/dphi of one task.
    """

    def forward(self, parameters: Parameters, observations: Float[Tensor, "task sample obs"]) -> ForwardPass:
        """Computes the outputs for each task's observations."""

    def jvp(
        self, parameters: Parameters, forward: ForwardPass, direction: Parameters
    ) -> Float[Tensor, "task sample p"]:
        """Jacobian-vector product J v of each task.

        Args:
            parameters: phi.
            forward: The forward pass at phi.
            direction: v, by the names of phi; other names are ignored.
        """

    def vjp(
        self, parameters: Parameters, forward: ForwardPass, output_gradient: Float[Tensor, "task sample p"]
    ) -> Gradient:
        """Vector-Jacobian product Jᵀ u of each task: the gradient of a loss L with u = dL/do.

        Args:
            parameters: phi.
            forward: The forward pass at phi.
            output_gradient: u.
        """

    def hessian_product(
        self,
        parameters: Parameters,
        forward: ForwardPass,
        gradient: Gradient,
        direction: Parameters,
        output_hessian: Callable[[Tensor], Tensor],
    ) -> Parameters:
        """Hessian-vector product (d²L/dphi²) v = (d(Jᵀ u)/dphi) v + Jᵀ (d²L/do²) J v of each task, u = dL/do.

        Args:
            parameters: phi.
            forward: The forward pass at phi.
            gradient: The vector-Jacobian product at phi for u.
            direction: v, by the names of phi; other names are ignored.
            output_hessian: Maps J v to (d²L/do²) J v, both `(task, sample, p)`.

        Returns:
            The product by name, with a leading axis `task`.
        """
