"""Adam as a pure function of a flat vector and a state, so that a step can be discarded."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """State of Adam between steps."""

    steps: Float[Tensor, ""]
    """t: number of steps taken."""
    mean: Float[Tensor, "n"]
    """m: running mean of the gradients."""
    square: Float[Tensor, "n"]
    """v: running mean of the squared gradients."""


def adam_start(vector: Float[Tensor, "n"]) -> AdamState:
    """State before the first step."""
    return AdamState(vector.new_zeros(()), torch.zeros_like(vector), torch.zeros_like(vector))


def adam_step(
    vector: Float[Tensor, "n"], gradient: Float[Tensor, "n"], state: AdamState, lr: float
) -> tuple[Float[Tensor, "n"], AdamState]:
    """Takes one step of Adam (Kingma and Ba 2015, algorithm 1), with the paper's constants.

    Args:
        vector: theta, the parameters.
        gradient: g, the gradient at `vector`.
        state: The state after the step before.
        lr: Step size.

    Returns:
        The new vector and the new state.
    """
    steps = state.steps + 1
    # m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g²
    mean = _BETA1 * state.mean + (1 - _BETA1) * gradient
    square = _BETA2 * state.square + (1 - _BETA2) * gradient**2
    # m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t)
    corrected_mean, corrected_square = mean / (1 - _BETA1**steps), square / (1 - _BETA2**steps)
    # theta <- theta - lr m^ / (sqrt(v^) + epsilon)
    new = vector - lr * corrected_mean / (corrected_square.sqrt() + _EPSILON)
    return new, AdamState(steps, mean, square)
