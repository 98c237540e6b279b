"""Layers whose weights an inner rule may generate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

FAST = "fast_"
"""Prefix of the last part of the names of fast weights."""


class FastLinear(nn.Linear):
    """Linear layer with its activation, beside which fast weights act (Munkhdalai & Yu 2017, section 3.3).

    The fast weights are buffers of zeros, with which the layer is an ordinary one.

    Args:
        inputs: Length of an input.
        outputs: Length of an output.
        active: True for ReLU, false for no activation.
    """

    fast_weight: Tensor
    fast_bias: Tensor

    def __init__(self, inputs: int, outputs: int, active: bool) -> None:
        super().__init__(inputs, outputs)
        self._active = active
        self.register_buffer("fast_weight", torch.zeros(outputs, inputs), persistent=False)
        self.register_buffer("fast_bias", torch.zeros(outputs), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns act(W x + b) + act(W* x + b*)."""
        slow, fast = super().forward(inputs), linear(inputs, self.fast_weight, self.fast_bias)
        return relu(slow) + relu(fast) if self._active else slow + fast


class FastMLP(nn.Sequential):
    """Multi-layer perceptron of fast layers, ReLU between them.

    Args:
        sizes: Length of the input, units of each hidden layer, and length of the output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        layers = [FastLinear(n, m, active=index < len(sizes) - 2) for index, (n, m) in enumerate(pairwise(sizes))]
        super().__init__(*layers)


def fast_name(name: str) -> str:
    """Name of the fast weights beside a layer's parameter: "0.weight" -> "0.fast_weight"."""
    layer, dot, parameter = name.rpartition(".")
    return f"{layer}{dot}{FAST}{parameter}"
