"""MAML's objective as pure functions of the initial parameters (Finn et al. 2017, algorithm 3).

`policy(parameters, observations)` gives distribution parameters. All functions here treat one task; `torch.func.vmap`
makes them treat a meta-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.optim.vectors import Parameters
from metarl.policies.distributions import ActionDistribution
from metarl.returns import discounted_returns, gae, linear_baseline, standardize
from metarl.types import Trajectories

PolicyFunction = Callable[[Parameters, Tensor], Tensor]


class Batch(NamedTuple):
    """Samples to learn from; the axis `task` is there until `vmap` takes it away."""

    observations: Float[Tensor, "*task sample obs"]
    actions: Float[Tensor, "*task sample action"]
    advantages: Float[Tensor, "*task sample"]
    weights: Float[Tensor, "*task sample"]
    """1 / (number of valid samples of the task); 0 in padding."""


def make_batch(trajectories: Trajectories, discount: float, gae_lambda: float) -> Batch:
    """Advantages over the linear baseline of each task, standardised per task, episodes laid end to end.

    The horizon belongs to the task: nothing is earned after the last step, so no value is added there.
    """
    valid = trajectories.valid
    returns = discounted_returns(trajectories.rewards, valid, discount)
    values = linear_baseline(trajectories.observations, returns, valid)
    nothing = torch.zeros_like(values[..., 0])
    advantages = standardize(gae(trajectories.rewards, values, nothing, valid, discount, gae_lambda), valid)
    weights = valid / valid.sum((1, 2), keepdim=True)
    return Batch(
        trajectories.observations.flatten(1, 2),
        trajectories.actions.flatten(1, 2),
        advantages.flatten(1),
        weights.to(advantages.dtype).flatten(1),
    )


def inner_loss(
    policy: PolicyFunction, distribution: ActionDistribution, parameters: Parameters, batch: Batch
) -> Float[Tensor, ""]:
    """The task's loss: minus the mean of log pi(a|s) A, whose gradient is REINFORCE's (equation 4)."""
    log_probs = distribution.log_prob(policy(parameters, batch.observations), batch.actions)
    return -(batch.weights * log_probs * batch.advantages).sum()


def adapt(
    policy: PolicyFunction,
    distribution: ActionDistribution,
    parameters: Parameters,
    supports: Sequence[Batch],
    inner_lr: float,
) -> Parameters:
    """One gradient step on each support batch in turn: theta' = theta - alpha grad L(theta) (algorithm 3, line 7)."""
    for batch in supports:
        gradient = torch.func.grad(inner_loss, argnums=2)(policy, distribution, parameters, batch)
        parameters = {name: value - inner_lr * gradient[name] for name, value in parameters.items()}
    return parameters


def surrogate(
    distribution: ActionDistribution,
    outputs: Float[Tensor, "*task sample p"],
    old_outputs: Float[Tensor, "*task sample p"],
    batch: Batch,
) -> Float[Tensor, ""]:
    """TRPO's surrogate loss of the adapted policies on query samples: minus the mean of (pi / pi_old) A over tasks.

    Args:
        distribution: The action distribution.
        outputs: Distribution parameters of the policies adapted from the candidate initial parameters.
        old_outputs: The same for those that took the samples; no gradient flows through them.
        batch: The query samples.
    """
    log_ratios = distribution.log_prob(outputs, batch.actions) - distribution.log_prob(old_outputs, batch.actions)
    return -(batch.weights * torch.exp(log_ratios) * batch.advantages).sum(-1).mean()


def mean_kl(
    distribution: ActionDistribution,
    old_outputs: Float[Tensor, "*task sample p"],
    outputs: Float[Tensor, "*task sample p"],
    weights: Float[Tensor, "*task sample"],
) -> Float[Tensor, ""]:
    """KL(old || new) of the adapted policies, averaged over each task's query states and over tasks."""
    return (weights * distribution.kl(old_outputs, outputs)).sum(-1).mean()
