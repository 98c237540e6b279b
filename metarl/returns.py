"""Returns, advantages and the linear feature baseline, as pure functions.

Arrays have the axes `[task, episode, step]`; steps behind an episode's end are padding, where `valid` is false.
An RL² trial is passed as one long episode.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl.ranks import ALONE, Ranks

_REGULARIZATION = 1e-5
"""Ridge penalty of the linear baseline."""
_OBSERVATION_LIMIT = 10.0
_TIME_SCALE = 100.0
"""Steps per unit of time in the baseline's features."""


def discounted_returns(
    rewards: Float[Tensor, "*b step"], valid: Bool[Tensor, "*b step"], discount: float
) -> Float[Tensor, "*b step"]:
    """Discounted sum of rewards from each step to the end of its episode; zero in padding."""
    result = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[..., 0])
    for t in reversed(range(rewards.shape[-1])):
        # G_t = r_t + discount * G_{t+1}
        following = torch.where(valid[..., t], rewards[..., t] + discount * following, following)
        result[..., t] = torch.where(valid[..., t], following, 0.0)
    return result


def gae(
    rewards: Float[Tensor, "*b step"],
    values: Float[Tensor, "*b step"],
    valid: Bool[Tensor, "*b step"],
    discount: float,
    gae_lambda: float,
) -> Float[Tensor, "*b step"]:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16); zero in padding.

    An episode's end is an end: the state behind the last step has the value zero.

    Args:
        rewards: Reward of each step.
        values: Estimated value of the state each step starts from.
        valid: False in padding, which comes after all of an episode's steps.
        discount: Discount factor per step.
        gae_lambda: 0 gives one-step temporal differences, 1 Monte-Carlo returns minus values.
    """
    result = torch.zeros_like(rewards)
    advantage = torch.zeros_like(rewards[..., 0])
    next_value = torch.zeros_like(rewards[..., 0])
    for t in reversed(range(rewards.shape[-1])):
        # delta_t = r_t + discount * V(s_{t+1}) - V(s_t)
        delta = rewards[..., t] + discount * next_value - values[..., t]
        # A_t = delta_t + discount * lambda * A_{t+1}
        advantage = torch.where(valid[..., t], delta + discount * gae_lambda * advantage, advantage)
        next_value = torch.where(valid[..., t], values[..., t], next_value)
        result[..., t] = torch.where(valid[..., t], advantage, 0.0)
    return result


def baseline_features(
    observations: Float[Tensor, "task episode step obs"],
) -> Float[Tensor, "task episode step feature"]:
    """Computes the linear baseline's features o, o², t, t², t³, 1 (Duan et al. 2016, "Benchmarking", section 5).

    o is the observation, clipped to ±10; t is the step within the episode, in hundreds.
    """
    clipped = observations.clamp(-_OBSERVATION_LIMIT, _OBSERVATION_LIMIT)
    time = torch.arange(observations.shape[-2], dtype=observations.dtype, device=observations.device) / _TIME_SCALE
    powers = torch.stack([time, time**2, time**3, torch.ones_like(time)], dim=-1)
    return torch.cat([clipped, clipped**2, powers.expand(*observations.shape[:-1], 4)], dim=-1)


def linear_baseline(
    observations: Float[Tensor, "task episode step obs"],
    returns: Float[Tensor, "task episode step"],
    valid: Bool[Tensor, "task episode step"],
    ranks: Ranks = ALONE,
) -> Float[Tensor, "task episode step"]:
    """Linear baseline: values by least squares on `baseline_features`, fitted to each task's returns; zero in padding.

    Solves one system per task, in float64.

    Args:
        observations: Observation before each action.
        returns: Discounted return from each step.
        valid: False in padding.
        ranks: Ranks that each have some episodes of every task.
    """
    features = baseline_features(observations.double()) * valid.unsqueeze(-1)
    design = features.flatten(1, 2)
    targets = (returns.double() * valid).flatten(1).unsqueeze(-1)
    # (XᵀX + 1e-5 I) w = Xᵀy, V = X w;  XᵀX and Xᵀy are sums over steps
    gram, moments = ranks.sum(design.mT @ design, design.mT @ targets)
    identity = torch.eye(design.shape[-1], dtype=design.dtype, device=design.device)
    weights = torch.linalg.solve(gram + _REGULARIZATION * identity, moments)
    values: Tensor = (features @ weights.unsqueeze(1)).squeeze(-1)
    return values.to(returns.dtype)


def standardize(
    values: Float[Tensor, "task *b"], valid: Bool[Tensor, "task *b"], ranks: Ranks = ALONE
) -> Float[Tensor, "task *b"]:
    """Shifts and scales the valid values of each task to mean 0 and standard deviation 1; zero in padding.

    A task whose values do not vary gets zeros.

    Args:
        values: Values of each task.
        valid: False in padding.
        ranks: Ranks that each have some values of every task.
    """
    # (x - mean) / (std + 1e-8)
    flat, mask = values.flatten(1), valid.flatten(1).to(values.dtype)
    count, total = ranks.sum(*(x.sum(-1, keepdim=True).double() for x in (mask, flat * mask)))
    count = count.to(values.dtype).clamp(min=1.0)
    centred = (flat - total.to(values.dtype) / count) * mask
    (squares,) = ranks.sum((centred**2).sum(-1, keepdim=True).double())
    std = (squares.to(values.dtype) / count).sqrt()
    return (centred / (std + 1e-8)).reshape(values.shape)
