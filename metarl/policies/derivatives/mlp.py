"""Derivatives of the multi-layer perceptron, written out by layers for all tasks at once.

MAML's curvature products need first and second derivatives at the same point dozens of times. Written out, each is a
few matrix products per layer that reuse what the forward pass has kept (Pearlmutter 1994 for the Hessian's). Equal to
`FunctionalDerivatives` of the same network, and several times as fast.

With standardised observations h_0 and L layers, z_l = h_(l-1) W_lᵀ + b_l, h_l = act(z_l), and the outputs are
o = (z_L, log sigma). For a loss with u = dL/do, delta_l = dL/dz_l. A dot marks a derivative along a direction v.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.vectors import Parameters
from metarl.policies.derivatives.base import ForwardPass, Gradient
from metarl.policies.mlp import MLPPolicy


class MLPDerivatives:
    """Derivatives of a multi-layer perceptron; see `PolicyDerivatives`.

    A forward pass keeps h_0 to h_(L-1), a gradient keeps delta_1 to delta_L.

    Args:
        policy: The policy; its own parameters give names and shapes only, its normaliser is used as it is.
    """

    def __init__(self, policy: MLPPolicy) -> None:
        self._policy = policy
        modules = {module: name for name, module in policy.named_modules()}
        linear = [name for module, name in modules.items() if isinstance(module, nn.Linear)]
        self._layers = [(f"{name}.weight", f"{name}.bias") for name in linear]
        """Names of W_l and b_l."""
        self._is_tanh = any(isinstance(module, nn.Tanh) for module in modules)
        self._log_std = None if policy.head.log_std is None else "head.log_std"
        self._action_size = policy.head.linear.out_features

    def forward(self, parameters: Parameters, observations: Float[Tensor, "task sample obs"]) -> ForwardPass:
        """See `PolicyDerivatives`."""
        hidden = [self._policy.normalizer(observations, next(iter(parameters.values())).dtype)]
        for weight, bias in self._layers[:-1]:
            # h_l = act(h_(l-1) W_lᵀ + b_l)
            z = _affine(hidden[-1], parameters[weight], parameters[bias])
            hidden.append(z.tanh_() if self._is_tanh else z.relu_())
        weight, bias = self._layers[-1]
        outputs = _affine(hidden[-1], parameters[weight], parameters[bias])
        if self._log_std is not None:
            log_std = parameters[self._log_std].clamp(min=self._policy.head.min_log_std)
            outputs = _with_log_std(outputs, log_std)
        return ForwardPass(tuple(hidden), outputs)

    def jvp(
        self, parameters: Parameters, forward: ForwardPass, direction: Parameters
    ) -> Float[Tensor, "task sample p"]:
        """See `PolicyDerivatives`."""
        return self._jvp_by_layers(parameters, forward, direction)[0]

    def vjp(
        self, parameters: Parameters, forward: ForwardPass, output_gradient: Float[Tensor, "task sample p"]
    ) -> Gradient:
        """See `PolicyDerivatives`."""
        gradient: Parameters = {}
        delta = output_gradient[..., : self._action_size]
        deltas = [delta]
        for layer in reversed(range(len(self._layers))):
            weight, bias = self._layers[layer]
            # dL/dW_l = delta_lᵀ h_(l-1), dL/db_l = sum over samples of delta_l
            gradient[weight], gradient[bias] = delta.mT @ forward.kept[layer], delta.sum(-2)
            if layer:
                # delta_(l-1) = (delta_l W_l) act'(z_(l-1))
                delta = self._times_slope(delta @ parameters[weight], forward.kept[layer])
                deltas.insert(0, delta)
        self._add_log_std(gradient, parameters, output_gradient)
        return Gradient(gradient, tuple(deltas))

    def hessian_product(
        self,
        parameters: Parameters,
        forward: ForwardPass,
        gradient: Gradient,
        direction: Parameters,
        output_hessian: Callable[[Tensor], Tensor],
    ) -> Parameters:
        """See `PolicyDerivatives`; differentiates each line of `vjp` along v."""
        outputs_dot, hidden_dot, z_dot = self._jvp_by_layers(parameters, forward, direction)
        # u° = (d²L/do²) o°, where ° stands for the dot
        u_dot = output_hessian(outputs_dot)
        product: Parameters = {}
        delta_dot = u_dot[..., : self._action_size]
        for layer in reversed(range(len(self._layers))):
            weight, bias = self._layers[layer]
            # (dL/dW_l)° = delta_l°ᵀ h_(l-1) + delta_lᵀ h_(l-1)°, (dL/db_l)° = sum over samples of delta_l°
            product[weight], product[bias] = delta_dot.mT @ forward.kept[layer], delta_dot.sum(-2)
            change = hidden_dot[layer]
            if change is not None:
                product[weight].baddbmm_(gradient.deltas[layer].mT, change)
                # delta_(l-1)° = (delta_l° W_l + delta_l W_l°) act'(z_(l-1)) + (delta_l W_l) act''(z_(l-1)) z_(l-1)°
                back = delta_dot @ parameters[weight]
                _accumulate(back, gradient.deltas[layer], direction[weight])
                delta_dot = self._times_slope(back, forward.kept[layer])
                if self._is_tanh:  # act'' = -2 h act', and delta_(l-1) has the factor act' already
                    delta_dot.addcmul_(forward.kept[layer] * gradient.deltas[layer - 1], z_dot[layer - 1], value=-2)
        self._add_log_std(product, parameters, u_dot)
        return product

    def _jvp_by_layers(
        self, parameters: Parameters, forward: ForwardPass, direction: Parameters
    ) -> tuple[Tensor, list[Tensor | None], list[Tensor]]:
        """Returns o°, each h_(l-1)° (None for the observations, which do not move) and each z_l°."""
        hidden_dot: list[Tensor | None] = [None]
        z_dots = []
        for layer, (weight, bias) in enumerate(self._layers):
            # z_l° = h_(l-1) W_l°ᵀ + b_l° + h_(l-1)° W_lᵀ
            z_dot = _affine(forward.kept[layer], direction[weight], direction[bias])
            change = hidden_dot[layer]
            if change is not None:
                _accumulate(z_dot, change, parameters[weight].mT)
            z_dots.append(z_dot)
            if layer + 1 < len(self._layers):
                # h_l° = act'(z_l) z_l°
                hidden_dot.append(self._times_slope(z_dot, forward.kept[layer + 1]))
        outputs_dot = z_dots[-1]
        if self._log_std is not None:
            outputs_dot = _with_log_std(outputs_dot, direction[self._log_std] * self._above_floor(parameters))
        return outputs_dot, hidden_dot, z_dots

    def _times_slope(self, derivative: Tensor, activation: Tensor) -> Tensor:
        """Multiplies by act'(z), given act(z)."""
        if self._is_tanh:
            return torch.ops.aten.tanh_backward(derivative, activation)  # type: ignore[no-any-return]
        return torch.ops.aten.threshold_backward(derivative, activation, 0)  # type: ignore[no-any-return]

    def _add_log_std(self, gradient: Parameters, parameters: Parameters, output_gradient: Tensor) -> None:
        """Adds the log standard deviation's gradient: the sum over samples, zero below the floor."""
        if self._log_std is not None:
            sums = output_gradient[..., self._action_size :].sum(-2)
            gradient[self._log_std] = sums * self._above_floor(parameters)

    def _above_floor(self, parameters: Parameters) -> Tensor:
        """Returns 1 where the log standard deviation is not below its floor, else 0."""
        assert self._log_std is not None
        log_std = parameters[self._log_std]
        return (log_std >= self._policy.head.min_log_std).to(log_std.dtype)


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Computes inputs Wᵀ + b for a W shared by all tasks, `(out, in)`, or of each task, `(task, out, in)`."""
    if weight.ndim == 2:
        return nn.functional.linear(inputs, weight, bias)
    return torch.baddbmm(bias.unsqueeze(-2), inputs, weight.mT)


def _accumulate(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left @ right to the total, in place; `right` is shared by all tasks or has the axis `task`."""
    if right.ndim == 2:
        total.flatten(0, 1).addmm_(left.flatten(0, 1), right)
    else:
        total.baddbmm_(left, right)


def _with_log_std(means: Tensor, log_std: Tensor) -> Tensor:
    """Appends log standard deviations, shared by all tasks `(action,)` or with the axis `task`, to the means."""
    return torch.cat([means, log_std.unsqueeze(-2).expand_as(means)], dim=-1)
