"""Forward and backward pass of the gated recurrent unit along sequences, written out for the CPU.

PyTorch's backward pass on the CPU adds a gradient as large as the recurrent weights at every step, which takes most of
its time for small batches. Here one matrix product gives that gradient for all steps at once. In the forward pass one
product gives the input's part of the gates for all steps.

The unit (Cho et al. 2014), in PyTorch's convention, for input x, hidden vector h and next hidden vector h':

    r  = sigmoid(W_r x + b_r + U_r h + c_r)
    z  = sigmoid(W_z x + b_z + U_z h + c_z)
    n  = tanh(W_n x + b_n + r u),    u = U_n h + c_n
    h' = (1 - z) n + z h

W and b are `weight_ih` and `bias_ih`, U and c are `weight_hh` and `bias_hh`, each with the blocks (r, z, n).
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
    """Hidden vectors along sequences; differentiable once.

    The gates of a step are stored as (u, r, z, n): the first three depend on h and the last three on x directly, and
    each three are adjacent, so that matrix products read and write them without a copy.
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
        """Hidden vector after each step; weights and biases are those of `torch.nn.GRU`."""
        time, batch, _ = features.shape
        size = state.shape[1]
        features = features.contiguous()
        # U's blocks (r, z, n) in the order (n, r, z) of the gates u, r, z
        recurrent = weight_hh.roll(size, 0)
        transposed = recurrent.t().contiguous()
        # c_n, b_r + c_r, b_z + c_z, b_n
        bias = torch.cat([bias_hh[-size:], bias_ih])
        bias[size:-size] += bias_hh[:-size]
        # For all steps: c_n, and W x + all biases for r, z, n
        gates = features.new_empty(time, batch, 4 * size)
        gates[..., :size] = bias[:size]
        torch.addmm(bias[size:], features.flatten(0, 1), weight_ih.t(), out=gates.flatten(0, 1)[:, size:])
        hidden = features.new_empty(time + 1, batch, size)
        hidden[0] = state
        for gate, before, after in zip(gates, hidden[:-1], hidden[1:], strict=True):
            # u, r, z += U h
            gate[:, :-size].addmm_(before, transposed)
            # r = sigmoid(...), z = sigmoid(...)
            gate[:, size:-size].sigmoid_()
            u, r, z, n = gate.chunk(4, dim=1)
            # n = tanh(W_n x + b_n + r u)
            n.addcmul_(r, u).tanh_()
            # h' = n + z (h - n)
            torch.lerp(n, before, z, out=after)
        ctx.save_for_backward(features, gates, hidden, weight_ih, recurrent)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Float[Tensor, "time batch h"]) -> tuple[Tensor, ...]:
        """Back-propagation through time.

        d_x is the derivative of the loss L with respect to x; for the gates r, z and n it is the derivative with
        respect to the argument of their sigmoid or tanh.
        """
        features, gates, hidden, weight_ih, recurrent = ctx.saved_tensors
        size = d_hidden.shape[-1]
        d_gates = torch.empty_like(gates)
        d_state = torch.zeros_like(hidden[0])
        for t in reversed(range(len(d_hidden))):
            u, r, z, n = gates[t].chunk(4, dim=1)
            d_u, d_r, d_z, d_n = d_gates[t].chunk(4, dim=1)
            # d_h' = dL/dh' from the output and from the step after
            d_after = d_state + d_hidden[t]
            # h' = (1 - z) n + z h:  dL/dh = d_h' z + ...
            d_state = d_after * z
            # d_n = (d_h' - d_h' z) (1 - n²)
            _tanh_backward(torch.sub(d_after, d_state, out=d_n), n, grad_input=d_n)
            # d_r = d_n u r (1 - r)
            _sigmoid_backward(torch.mul(d_n, u, out=d_r), r, grad_input=d_r)
            # d_z = d_h' (h - n) z (1 - z)
            _sigmoid_backward(torch.sub(hidden[t], n, out=d_z).mul_(d_after), z, grad_input=d_z)
            # d_u = d_n r
            torch.mul(d_n, r, out=d_u)
            # dL/dh = d_h' z + Uᵀ (d_u, d_r, d_z)
            d_state.addmm_(d_gates[t, :, :-size], recurrent)
        d_gates = d_gates.flatten(0, 1)
        d_from_state, d_from_input = d_gates[:, :-size], d_gates[:, size:]
        d_bias = d_gates.sum(0)
        # Sums over steps and rows, d_U in the blocks (r, z, n) of the weights:
        # d_x = Wᵀ d_gates,  d_h_0,  d_W = Σ d_gates xᵀ,  d_U = Σ d_gates hᵀ,  d_b = d_c = Σ d_gates
        return (
            (d_from_input @ weight_ih).view_as(features),
            d_state,
            d_from_input.t() @ features.flatten(0, 1),
            (d_from_state.t() @ hidden[:-1].flatten(0, 1)).roll(-size, 0),
            d_bias[size:],
            d_bias[:-size].roll(-size, 0),
        )
