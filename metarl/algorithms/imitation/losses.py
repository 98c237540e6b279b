"""Losses of imitation: of cloning actions, and of embeddings that tell tasks apart."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cloning_loss(outputs: Float[Tensor, "*b action"], actions: Float[Tensor, "*b action"]) -> Float[Tensor, "*b"]:
    """Loss of cloning each action, L = 1/2 |pi(o) - a|² (Finn et al. 2017b, equation 2).

    Noise on the demonstrator's actions whose mean is zero does not change where it is least.

    Args:
        outputs: pi(o), actions of the policy, in units of the action space.
        actions: a, actions of the demonstrator, in the same units.
    """
    return 0.5 * (outputs - actions).square().sum(-1)


def metric_loss(
    sentences: Float[Tensor, "task z"], queries: Float[Tensor, "task z"], margin: float
) -> Float[Tensor, ""]:
    """Loss of embeddings that do not tell tasks apart (James et al. 2018, equation 3); zero for a single task.

    Args:
        sentences: s_j, embedding of each task by its demonstrations, of length 1.
        queries: q_j, embedding of another demonstration of each, of length 1.
        margin: Least difference between q_j s_j and q_j s_i.
    """
    # L = mean over j and i != j of max(0, margin - q_j s_j + q_j s_i)
    likeness = queries @ sentences.T
    others = ~torch.eye(len(sentences), dtype=torch.bool, device=likeness.device)
    hinge = (margin - likeness.diagonal().unsqueeze(1) + likeness).clamp_min(0)
    return hinge[others].sum() / max(int(others.sum()), 1)
