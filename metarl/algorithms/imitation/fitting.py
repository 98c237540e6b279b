"""Fitting of networks to the demonstrations of one task each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.imitation.way import Memory
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import flatten, unflatten


def own_parameters(network: nn.Module, tasks: int) -> Memory:
    """Returns a copy of a network's parameters for each task, with the leading axis `task`."""
    return {name: value.detach().repeat(tasks, *[1] * value.ndim) for name, value in network.named_parameters()}


@torch.enable_grad()
def fit(start: Memory, losses: Callable[[Memory, int], Float[Tensor, "task"]], steps: int, lr: float) -> Memory:
    """Takes steps of Adam on each task's own loss, all tasks at once.

    Args:
        start: Parameters to start from, each with the leading axis `task`.
        losses: `losses(parameters, step)` is the loss of each task, which depends on its own parameters alone.
        steps: Number of steps.
        lr: Adam's step size.
    """
    vector = flatten(start)
    adam = adam_start(vector)
    for step in range(steps):
        vector.requires_grad_()
        # the sum over tasks, whose gradients are apart, as Adam's steps are
        (gradient,) = torch.autograd.grad(losses(unflatten(vector, start), step).sum(), vector)
        vector, adam = adam_step(vector.detach(), gradient, adam, lr)
    return unflatten(vector, start)
