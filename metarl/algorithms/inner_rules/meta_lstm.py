"""Meta-LSTM: the update rule is a recurrent network, whose cell state is the learner's parameters."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad_and_value

from metarl.algorithms.inner_rules.coordinates import preprocess
from metarl.algorithms.inner_rules.rules import InnerRule, SampleLoss
from metarl.optim.vectors import Parameters, flatten, unflatten

_FORGET, _INPUT = 5.0, -4.0
"""Biases of the gates before training: theta stays as it is, and takes small steps."""


class MetaLSTMRule(InnerRule):
    """Learned update rule (Ravi & Larochelle 2017, section 3.1): theta' = f * theta - i * grad L.

    The gates f and i of each parameter depend on its gradient, the loss, its value and their own last values, by one
    network for all parameters, the paper's two layers. Gradients are constants in the outer gradient (ibid., section
    3.2).

    Args:
        network: See `InnerRule`; its parameters are c_0.
        loss: See `InnerRule`.
        steps: Number of updates.
        hidden_size: Units of the first layer, an LSTM.
    """

    def __init__(self, network: nn.Module, loss: SampleLoss, steps: int, hidden_size: int = 20) -> None:
        super().__init__(network, loss)
        self._steps = steps
        self.first = nn.LSTMCell(4, hidden_size)
        """Layer on the gradient and the loss, preprocessed."""
        self.gates = nn.Linear(hidden_size + 1, 2)
        """Layer from its output, theta and the last gates to f and i, before their sigmoid."""
        nn.init.uniform_(self.gates.weight, -0.01, 0.01)
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([_FORGET, _INPUT]))
        self.recurrent = nn.Parameter(torch.zeros(2))
        """Weight of each gate's last value."""

    def adapt(self, inputs: Tensor, targets: Tensor) -> Parameters:
        """See `InnerRule`."""
        initial = self.start()
        theta = flatten(initial)
        hidden = theta.new_zeros(len(theta), self.first.hidden_size)
        cell, gates = hidden, theta.new_zeros(len(theta), 2)
        for _ in range(self._steps):
            gradients, loss = grad_and_value(self.mean_loss)(unflatten(theta.detach(), initial), inputs, targets)
            gradient = flatten(gradients).detach()
            hidden, cell = self._first_layer(gradient, loss.detach(), hidden, cell)
            features = torch.cat([hidden, theta.unsqueeze(1)], dim=1)
            gates = self._gates(features, gates)
            # theta_t = f_t * theta_{t-1} - i_t * grad L_t
            theta = gates[:, 0] * theta - gates[:, 1] * gradient
        return unflatten(theta, initial)

    def _first_layer(
        self, gradient: Float[Tensor, "n"], loss: Float[Tensor, ""], hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step of the LSTM for all parameters; written out, as the fused kernel is not for `torch.func`."""
        inputs = torch.cat([preprocess(gradient), preprocess(loss).expand(len(gradient), -1)], dim=1)
        first = self.first
        mixed = inputs @ first.weight_ih.T + first.bias_ih + hidden @ first.weight_hh.T + first.bias_hh
        i, f, g, o = mixed.chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell

    def _gates(self, features: Float[Tensor, "n h"], last: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        # f_t = sigmoid(W_F [h_t, theta_{t-1}, f_{t-1}] + b_F), and i_t likewise
        mixed: Tensor = self.gates(features) + self.recurrent * last
        return mixed.sigmoid()
