"""The gated recurrent unit's passes along a sequence, written out.

PyTorch's own on the CPU has a gradient of the recurrent weights, as large as these, to add up at every step; that takes
most of its time when rows are few. Here the gradients of all steps come from one matrix product. The other way round, a
step's small products stay in the processor's caches, and the input's part is taken for all steps at once.

The unit, in PyTorch's convention: r and z are the sigmoids of their affine functions of x and h, and

    n = tanh(W_n x + b_n + r (U_n h + c_n)),    h' = n + z (h - n).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


class GRUSequence(torch.autograd.Function):
    """Outputs along sequences; derivatives of first order only.

    Gates lie side by side as (U_n h + c_n, r, z, n): the first three have a part that comes from h, the last three one
    that comes from x, and each three are a matrix that no copy is needed for.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Float[Tensor, "time batch f"],
        state: Float[Tensor, "batch h"],
        weight_ih: Float[Tensor, "h3 f"],
        weight_hh: Float[Tensor, "h3 h"],
        bias_ih: Float[Tensor, "h3"],
        bias_hh: Float[Tensor, "h3"],
    ) -> Float[Tensor, "time batch h"]:
        """The hidden vector after each step, weights and biases being those of `torch.nn.GRU`."""
        time, batch, _ = features.shape
        size = state.shape[1]
        features = features.contiguous()
        recurrent = weight_hh.roll(size, 0)  # in the order of the gates
        transposed = recurrent.t().contiguous()
        bias = torch.cat([bias_hh[-size:], bias_ih])
        bias[size:-size] += bias_hh[:-size]
        gates = features.new_empty(time, batch, 4 * size)
        gates[..., :size] = bias[:size]
        torch.addmm(bias[size:], features.flatten(0, 1), weight_ih.t(), out=gates.flatten(0, 1)[:, size:])
        hidden = features.new_empty(time + 1, batch, size)
        hidden[0] = state
        for gate, before, after in zip(gates, hidden[:-1], hidden[1:], strict=True):
            gate[:, :-size].addmm_(before, transposed)
            gate[:, size:-size].sigmoid_()
            from_state, reset, keep, new = gate.chunk(4, dim=1)
            new.addcmul_(reset, from_state).tanh_()
            torch.lerp(new, before, keep, out=after)
        ctx.save_for_backward(features, gates, hidden, weight_ih, recurrent)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Float[Tensor, "time batch h"]) -> tuple[Tensor, ...]:
        """Back-propagation through time; `d_` is the loss's derivative with respect to what a nonlinearity is given."""
        features, gates, hidden, weight_ih, recurrent = ctx.saved_tensors
        size = slope.shape[-1]
        d_gates = torch.empty_like(gates)
        d_state = torch.zeros_like(hidden[0])
        for t in reversed(range(len(slope))):
            from_state, reset, keep, new = gates[t].chunk(4, dim=1)
            d_from_state, d_reset, d_keep, d_new = d_gates[t].chunk(4, dim=1)
            d_after = d_state + slope[t]
            d_state = d_after * keep
            _tanh_backward(torch.sub(d_after, d_state, out=d_new), new, grad_input=d_new)
            _sigmoid_backward(torch.mul(d_new, from_state, out=d_reset), reset, grad_input=d_reset)
            _sigmoid_backward(torch.sub(hidden[t], new, out=d_keep).mul_(d_after), keep, grad_input=d_keep)
            torch.mul(d_new, reset, out=d_from_state)
            d_state.addmm_(d_gates[t, :, :-size], recurrent)
        d_gates = d_gates.flatten(0, 1)
        d_hidden, d_input = d_gates[:, :-size], d_gates[:, size:]
        d_bias = d_gates.sum(0)
        return (
            (d_input @ weight_ih).view_as(features),
            d_state,
            d_input.t() @ features.flatten(0, 1),
            (d_hidden.t() @ hidden[:-1].flatten(0, 1)).roll(-size, 0),
            d_bias[size:],
            d_bias[:-size].roll(-size, 0),
        )
