"""RL²'s trials and its objectives, as pure functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import RecurrentInput
from metarl.returns import discounted_returns, gae, linear_baseline, standardize
from metarl.types import Trajectories


class Trials(NamedTuple):
    """One trial per task: its episodes laid end to end, all padding at the end, as little of it as can be."""

    inputs: RecurrentInput
    """With the leading axes `task time`."""
    actions: Float[Tensor, "task time action"]
    log_probs: Float[Tensor, "task time"]
    rewards: Float[Tensor, "task time"]
    valid: Bool[Tensor, "task time"]


class Samples(NamedTuple):
    """What is learned from, cut into rows: whole trials, or chunks of them."""

    inputs: RecurrentInput
    """With the leading axes `row time`."""
    actions: Float[Tensor, "row time action"]
    log_probs: Float[Tensor, "row time"]
    """Of the actions under the policy that took them."""
    advantages: Float[Tensor, "row time"]
    returns: Float[Tensor, "row time"]
    """What a value function is to predict, in the environment's units: what was earned from there on, discounted."""
    valid: Bool[Tensor, "row time"]

    def select(self, rows: Tensor) -> Samples:
        """Some of the rows."""
        return Samples(RecurrentInput(*(x[rows] for x in self.inputs)), *(x[rows] for x in self[1:]))

    def mean(self, values: Float[Tensor, "row time"]) -> Float[Tensor, ""]:
        """The mean over valid steps."""
        return torch.where(self.valid, values, 0.0).sum() / self.valid.sum()

    def without_padding(self, outputs: Float[Tensor, "row time p"]) -> Float[Tensor, "row time p"]:
        """Outputs of a network, zero in padding: what it makes of that must not reach gradients as 0 times infinity."""
        return torch.where(self.valid.unsqueeze(-1), outputs, 0.0)

    def log_ratio(
        self, distribution: ActionDistribution, outputs: Float[Tensor, "row time p"]
    ) -> Float[Tensor, "row time"]:
        """How much likelier the actions have become, as a logarithm; zero in padding."""
        return torch.where(self.valid, distribution.log_prob(outputs, self.actions) - self.log_probs, 0.0)


def make_trials(trajectories: Trajectories) -> Trials:
    """Whole trials with the inputs of a recurrent policy (Duan et al. 2016, section 2.2)."""
    valid = trajectories.valid.flatten(1)
    longest = int(valid.sum(1).max())
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]  # valid steps first, as they were played

    def lay_out(values: Tensor) -> Tensor:
        flat = values.flatten(1, 2)
        index = order if flat.ndim == 2 else order.unsqueeze(-1).expand(-1, -1, flat.shape[-1])
        return flat.gather(1, index)

    starts = torch.zeros_like(trajectories.valid)
    starts[..., 0] = True
    actions, rewards = lay_out(trajectories.actions), lay_out(trajectories.rewards)
    inputs = RecurrentInput(
        lay_out(trajectories.observations), _one_step_later(actions), _one_step_later(rewards), lay_out(starts)
    )
    return Trials(inputs, actions, lay_out(trajectories.log_probs), rewards, lay_out(trajectories.valid))


def linear_values(trials: Trials, discount: float, per_task: bool) -> Float[Tensor, "task time"]:
    """The linear baseline, fitted to the discounted returns of all trials, or to those of each trial by itself."""
    returns = discounted_returns(trials.rewards, trials.valid, discount)
    axis = 1 if per_task else 0  # of [task, episode, step], a trial being an episode of its task, or of the only task
    observations, returns, valid = (x.unsqueeze(axis) for x in (trials.inputs.observations, returns, trials.valid))
    return linear_baseline(observations, returns, valid).squeeze(axis)


def make_samples(trials: Trials, values: Float[Tensor, "task time"], discount: float, gae_lambda: float) -> Samples:
    """Advantages over given values, standardised over the batch, and the returns that values are to predict.

    A trial is one long episode to the learner: returns and advantages run across its episodes, and nothing is earned
    after its last step. So what was earned is known to the end, and values are fitted to that, not to lambda-returns:
    with the small lambdas of short trials those hold little but the values of before.
    """
    valid = trials.valid
    advantages = gae(trials.rewards, values, valid, discount, gae_lambda)
    standardized = standardize(advantages.unsqueeze(0), valid.unsqueeze(0)).squeeze(0)
    returns = discounted_returns(trials.rewards, valid, discount)
    return Samples(trials.inputs, trials.actions, trials.log_probs, standardized, returns, valid)


def cut(samples: Samples, chunk: int) -> Samples:
    """Every row cut into chunks, those of one row following each other; the last ones are padded."""

    def cut_one(values: Tensor) -> Tensor:
        rows, time, *rest = values.shape
        padding = values.new_zeros(rows, -time % chunk, *rest)
        return torch.cat([values, padding], dim=1).reshape(-1, chunk, *rest)

    return Samples(RecurrentInput(*map(cut_one, samples.inputs)), *map(cut_one, samples[1:]))


class PPOTerms(NamedTuple):
    """The parts of PPO's loss, and what one watches it by."""

    policy_loss: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    approximate_kl: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]


def ppo_terms(
    distribution: ActionDistribution, outputs: Float[Tensor, "row time p"], samples: Samples, clip: float
) -> PPOTerms:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), as means over valid steps.

    Args:
        distribution: The action distribution.
        outputs: Distribution parameters of the current policy along the rows.
        samples: What was sampled.
        clip: Half-width of the interval that ratios are clipped to.
    """
    outputs = samples.without_padding(outputs)
    log_ratio = samples.log_ratio(distribution, outputs)
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return PPOTerms(
        policy_loss=-samples.mean(torch.minimum(ratio * samples.advantages, clipped * samples.advantages)),
        entropy=samples.mean(distribution.entropy(outputs)),
        approximate_kl=samples.mean(ratio - 1 - log_ratio).detach(),
        clip_fraction=samples.mean(((ratio - 1).abs() > clip).to(ratio.dtype)).detach(),
    )


def surrogate(
    distribution: ActionDistribution, outputs: Float[Tensor, "row time p"], samples: Samples
) -> Float[Tensor, ""]:
    """TRPO's surrogate loss: minus the mean over valid steps of (pi / pi_old) A."""
    log_ratio = samples.log_ratio(distribution, samples.without_padding(outputs))
    return -samples.mean(torch.exp(log_ratio) * samples.advantages)


def value_loss(values: Float[Tensor, "row time"], targets: Float[Tensor, "row time"], samples: Samples) -> Tensor:
    """The mean squared error of values over valid steps, both in standard units."""
    return samples.mean((values - targets) ** 2)


def _one_step_later(values: Float[Tensor, "task time *n"]) -> Float[Tensor, "task time *n"]:
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
