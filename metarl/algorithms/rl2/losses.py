"""RL²'s trials and PPO's objective, as pure functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl.policies.distributions import ActionDistribution
from metarl.policies.recurrent import RecurrentInput
from metarl.returns import discounted_returns, gae, linear_baseline, standardize
from metarl.types import Trajectories


class Trials(NamedTuple):
    """One trial per task: its episodes laid end to end, all padding moved to the end."""

    inputs: RecurrentInput
    """With the leading axes `task time`."""
    actions: Float[Tensor, "task time action"]
    log_probs: Float[Tensor, "task time"]
    advantages: Float[Tensor, "task time"]
    valid: Bool[Tensor, "task time"]


def make_trials(trajectories: Trajectories, discount: float, gae_lambda: float) -> Trials:
    """Recurrent inputs and advantages of whole trials (Duan et al. 2016, section 2.2).

    A trial is one long episode to the learner: returns and advantages run across its episodes, and nothing is earned
    after its last step. Advantages are taken over the linear baseline of each task and standardised over the batch.
    """
    valid = trajectories.valid.flatten(1)
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)  # valid steps first, in the order they were played

    def lay_out(values: Tensor) -> Tensor:
        flat = values.flatten(1, 2)
        index = order if flat.ndim == 2 else order.unsqueeze(-1).expand_as(flat)
        return flat.gather(1, index)

    starts = torch.zeros_like(trajectories.valid)
    starts[..., 0] = True
    observations, actions, rewards, episode_start, valid = map(
        lay_out, (trajectories.observations, trajectories.actions, trajectories.rewards, starts, trajectories.valid)
    )
    returns = discounted_returns(rewards, valid, discount)
    values = linear_baseline(observations.unsqueeze(1), returns.unsqueeze(1), valid.unsqueeze(1)).squeeze(1)
    advantages = gae(rewards, values, torch.zeros_like(values[:, 0]), valid, discount, gae_lambda)
    return Trials(
        RecurrentInput(observations, _one_step_later(actions), _one_step_later(rewards), episode_start),
        actions,
        lay_out(trajectories.log_probs),
        standardize(advantages.unsqueeze(0), valid.unsqueeze(0)).squeeze(0),
        valid,
    )


def _one_step_later(values: Float[Tensor, "task time *n"]) -> Float[Tensor, "task time *n"]:
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)


class PPOTerms(NamedTuple):
    """The parts of PPO's loss, and what one watches it by."""

    policy_loss: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    approximate_kl: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def ppo_terms(
    distribution: ActionDistribution, outputs: Float[Tensor, "task time p"], trials: Trials, clip: float
) -> PPOTerms:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), as means over valid steps.

    Args:
        distribution: The action distribution.
        outputs: Distribution parameters of the current policy along the trials.
        trials: What was sampled.
        clip: Half-width of the interval that ratios are clipped to.
    """

    def mean(values: Tensor) -> Tensor:
        return torch.where(trials.valid, values, 0.0).sum() / trials.valid.sum()

    log_ratio = distribution.log_prob(outputs, trials.actions) - trials.log_probs
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return PPOTerms(
        policy_loss=-mean(torch.minimum(ratio * trials.advantages, clipped * trials.advantages)),
        entropy=mean(distribution.entropy(outputs)),
        approximate_kl=mean(ratio - 1 - log_ratio).detach(),
        clip_fraction=mean(((ratio - 1).abs() > clip).to(ratio.dtype)).detach(),
    )
