"""The multi-layer perceptron's derivatives as explicit passes through its layers, for many tasks at once.

MAML's curvature products need first and second derivatives at the same point dozens of times. Written out, each is a
few matrix products per layer that reuse what the forward pass has kept (Pearlmutter 1994 for the second ones).
Parameters are those of an `MLPPolicy` by name, with a leading axis `task` or shared by all tasks; the same goes for
tangents. Activations are h_0 (standardised observations), h_l = act(z_l), z_l = h_(l-1) W_lᵀ + b_l.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.vectors import Parameters
from metarl.policies.mlp import MLPPolicy


class Trace(NamedTuple):
    """What a forward pass leaves behind."""

    inputs: tuple[Float[Tensor, "task sample _"], ...]
    """Of each linear layer: h_0 to h_L."""
    outputs: Float[Tensor, "task sample p"]
    """Distribution parameters."""


class Gradient(NamedTuple):
    """What a backward pass leaves behind, for some cotangents of the outputs."""

    parameters: Parameters
    """The gradient, with a leading axis `task`."""
    deltas: tuple[Float[Tensor, "task sample _"], ...]
    """Derivatives with respect to each layer's z."""


class MLPPasses:
    """Forward, tangent, backward and second-order passes of a policy's architecture.

    Args:
        policy: The policy; of its parameters only names and shapes are used, of its normaliser the statistics.
    """

    def __init__(self, policy: MLPPolicy) -> None:
        self._policy = policy
        modules = {module: name for name, module in policy.named_modules()}
        linear = [name for module, name in modules.items() if isinstance(module, nn.Linear)]
        self._layers = [(f"{name}.weight", f"{name}.bias") for name in linear]
        """Names of each layer's parameters."""
        self._is_tanh = any(isinstance(module, nn.Tanh) for module in modules)
        self._log_std = None if policy.head.log_std is None else "head.log_std"
        self._action_size = policy.head.linear.out_features

    def forward(self, parameters: Parameters, observations: Float[Tensor, "task sample obs"]) -> Trace:
        """Outputs for each task's observations."""
        inputs = [self._policy.normalizer(observations)]
        for weight, bias in self._layers[:-1]:
            z = _affine(inputs[-1], parameters[weight], parameters[bias])
            inputs.append(z.tanh_() if self._is_tanh else z.relu_())
        weight, bias = self._layers[-1]
        outputs = _affine(inputs[-1], parameters[weight], parameters[bias])
        if self._log_std is not None:
            log_std = parameters[self._log_std].clamp(min=self._policy.head.min_log_std)
            outputs = _with_log_std(outputs, log_std)
        return Trace(tuple(inputs), outputs)

    def backward(self, parameters: Parameters, trace: Trace, cotangents: Float[Tensor, "task sample p"]) -> Gradient:
        """The gradient of sum(cotangents * outputs) for each task."""
        gradient: Parameters = {}
        delta = cotangents[..., : self._action_size]
        deltas = [delta]
        for layer in reversed(range(len(self._layers))):
            weight, bias = self._layers[layer]
            gradient[weight], gradient[bias] = delta.mT @ trace.inputs[layer], delta.sum(-2)
            if layer:
                delta = self._through_activation(delta @ parameters[weight], trace.inputs[layer])
                deltas.insert(0, delta)
        self._add_log_std(gradient, parameters, cotangents)
        return Gradient(gradient, tuple(deltas))

    def tangent(self, parameters: Parameters, trace: Trace, tangents: Parameters) -> Float[Tensor, "task sample p"]:
        """How the outputs change along tangents of the parameters."""
        return self._tangents(parameters, trace, tangents)[0]

    def second(
        self,
        parameters: Parameters,
        trace: Trace,
        gradient: Gradient,
        tangents: Parameters,
        curvature: Callable[[Tensor], Tensor],
    ) -> Parameters:
        """How a loss's gradient changes along tangents of the parameters: each task's Hessian times its tangent.

        Args:
            parameters: Where.
            trace: The forward pass there.
            gradient: The backward pass there, from the loss's derivative with respect to the outputs.
            tangents: The direction.
            curvature: Maps a tangent of the outputs to how the loss's derivative with respect to them changes.
        """
        outputs, inputs, zs = self._tangents(parameters, trace, tangents)
        cotangents = curvature(outputs)
        product: Parameters = {}
        delta = cotangents[..., : self._action_size]
        for layer in reversed(range(len(self._layers))):
            weight, bias = self._layers[layer]
            product[weight], product[bias] = delta.mT @ trace.inputs[layer], delta.sum(-2)
            change = inputs[layer]
            if change is not None:
                product[weight].baddbmm_(gradient.deltas[layer].mT, change)
                moved = delta @ parameters[weight]
                _accumulate(moved, gradient.deltas[layer], tangents[weight])
                delta = self._through_activation(moved, trace.inputs[layer])
                if self._is_tanh:  # act'' = -2 h act', and the delta has the factor act' already
                    delta.addcmul_(trace.inputs[layer] * gradient.deltas[layer - 1], zs[layer - 1], value=-2)
        self._add_log_std(product, parameters, cotangents)
        return product

    def _tangents(
        self, parameters: Parameters, trace: Trace, tangents: Parameters
    ) -> tuple[Tensor, list[Tensor | None], list[Tensor]]:
        """Tangents of the outputs, of each layer's input (None for the first, which does not change) and of each z."""
        inputs: list[Tensor | None] = [None]
        zs = []
        for layer, (weight, bias) in enumerate(self._layers):
            z = _affine(trace.inputs[layer], tangents[weight], tangents[bias])
            moved = inputs[layer]
            if moved is not None:
                _accumulate(z, moved, parameters[weight].mT)
            zs.append(z)
            if layer + 1 < len(self._layers):
                inputs.append(self._through_activation(z, trace.inputs[layer + 1]))
        outputs = zs[-1]
        if self._log_std is not None:
            outputs = _with_log_std(outputs, tangents[self._log_std] * self._above_floor(parameters))
        return outputs, inputs, zs

    def _through_activation(self, derivative: Tensor, activation: Tensor) -> Tensor:
        """Times act'(z), given act(z)."""
        if self._is_tanh:
            return torch.ops.aten.tanh_backward(derivative, activation)  # type: ignore[no-any-return]
        return torch.ops.aten.threshold_backward(derivative, activation, 0)  # type: ignore[no-any-return]

    def _add_log_std(self, gradient: Parameters, parameters: Parameters, cotangents: Tensor) -> None:
        if self._log_std is not None:
            sums = cotangents[..., self._action_size :].sum(-2)
            gradient[self._log_std] = sums * self._above_floor(parameters)

    def _above_floor(self, parameters: Parameters) -> Tensor:
        """1 where the log standard deviation is not held by its floor, else 0."""
        assert self._log_std is not None
        log_std = parameters[self._log_std]
        return (log_std >= self._policy.head.min_log_std).to(log_std.dtype)


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Inputs times Wᵀ, plus b, for a W shared by all tasks, `(out, in)`, or of each task, `(task, out, in)`."""
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
    """The parameter vector of a Gaussian; `log_std` is shared by all tasks, `(action,)`, or has the axis `task`."""
    return torch.cat([means, log_std.unsqueeze(-2).expand_as(means)], dim=-1)
