"""Derivatives of any network by `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from metarl.optim.vectors import Parameters
from metarl.policies.derivatives.base import ForwardPass, Gradient


class FunctionalDerivatives:
    """Derivatives of a network that maps observations to distribution parameters; see `PolicyDerivatives`.

    Keeps no activations: every derivative runs the network again. The network's operations need forward-mode and
    reverse-mode derivatives in PyTorch, and must not change its buffers.

    Args:
        policy: The network; its own parameters give names and shapes only, its buffers are used as they are.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._policy = policy
        self._ndims = {name: parameter.ndim for name, parameter in policy.named_parameters()}

    def forward(self, parameters: Parameters, observations: Float[Tensor, "task sample obs"]) -> ForwardPass:
        """See `PolicyDerivatives`."""
        outputs: Tensor = self._over_tasks(self._outputs, parameters)(parameters, observations)
        return ForwardPass((observations,), outputs)

    def jvp(
        self, parameters: Parameters, forward: ForwardPass, direction: Parameters
    ) -> Float[Tensor, "task sample p"]:
        """See `PolicyDerivatives`."""
        direction = {name: direction[name] for name in parameters}

        def product(parameters: Parameters, direction: Parameters, observations: Tensor) -> Tensor:
            moved: Tensor = jvp(lambda phi: self._outputs(phi, observations), (parameters,), (direction,))[1]
            return moved

        moved: Tensor = self._over_tasks(product, parameters, direction)(parameters, direction, *forward.kept)
        return moved

    def vjp(
        self, parameters: Parameters, forward: ForwardPass, output_gradient: Float[Tensor, "task sample p"]
    ) -> Gradient:
        """See `PolicyDerivatives`."""
        products = self._over_tasks(self._vjp, parameters)(parameters, *forward.kept, output_gradient)
        return Gradient(products, (output_gradient,))

    def hessian_product(
        self,
        parameters: Parameters,
        forward: ForwardPass,
        gradient: Gradient,
        direction: Parameters,
        output_hessian: Callable[[Tensor], Tensor],
    ) -> Parameters:
        """See `PolicyDerivatives`."""
        direction = {name: direction[name] for name in parameters}
        # u = dL/do moves along v by du = (d²L/do²) J v
        change = output_hessian(self.jvp(parameters, forward, direction))

        def product(
            parameters: Parameters, direction: Parameters, observations: Tensor, u: Tensor, du: Tensor
        ) -> Parameters:
            # (d²L/dphi²) v is the derivative of (phi, u) -> J(phi)ᵀ u along (v, du)
            at, along = (parameters, u), (direction, du)
            moved: Parameters = jvp(lambda phi, u: self._vjp(phi, observations, u), at, along)[1]
            return moved

        over_tasks = self._over_tasks(product, parameters, direction)
        products: Parameters = over_tasks(parameters, direction, *forward.kept, *gradient.deltas, change)
        return products

    def _outputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        """Computes the outputs of one task."""
        outputs: Tensor = functional_call(self._policy, parameters, (observations,))
        return outputs

    def _vjp(self, parameters: Parameters, observations: Tensor, output_gradient: Tensor) -> Parameters:
        """Vector-Jacobian product of one task."""
        _, product = vjp(lambda phi: self._outputs(phi, observations), parameters)  # type: ignore[misc]
        gradient: Parameters = product(output_gradient)[0]
        return gradient

    def _over_tasks(self, function: Callable[..., Any], *named: Parameters) -> Callable[..., Any]:
        """Vectorises a function of parameters (some may be shared by all tasks) and of tensors with an axis `task`.

        `vmap` comes outermost: derivatives of it are wrong for layer norm (torch 2.13).
        """
        axes = [{name: 0 if value.ndim > self._ndims[name] else None for name, value in each.items()} for each in named]

        def vectorised(*arguments: Any) -> Any:
            in_dims = (*axes, *(0 for _ in arguments[len(axes) :]))
            return vmap(function, in_dims=in_dims)(*arguments)

        return vectorised
