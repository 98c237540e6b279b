"""Adam as a pure step on a flat vector, so that a step that turns out badly leaves no trace."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """What Adam remembers between steps."""

    steps: Float[Tensor, ""]
    mean: Float[Tensor, "n"]
    """Running mean of the gradients."""
    square: Float[Tensor, "n"]
    """Running mean of their squares."""


def adam_start(vector: Float[Tensor, "n"]) -> AdamState:
    """The state before the first step."""
    return AdamState(vector.new_zeros(()), torch.zeros_like(vector), torch.zeros_like(vector))


def adam_step(
    vector: Float[Tensor, "n"], gradient: Float[Tensor, "n"], state: AdamState, lr: float
) -> tuple[Float[Tensor, "n"], AdamState]:
    """One step of Adam (Kingma and Ba 2015, algorithm 1), with the paper's constants.

    Returns:
        The new vector and the new state.
    """
    steps = state.steps + 1
    mean = _BETA1 * state.mean + (1 - _BETA1) * gradient
    square = _BETA2 * state.square + (1 - _BETA2) * gradient**2
    corrected_mean, corrected_square = mean / (1 - _BETA1**steps), square / (1 - _BETA2**steps)
    new = vector - lr * corrected_mean / (corrected_square.sqrt() + _EPSILON)
    return new, AdamState(steps, mean, square)
