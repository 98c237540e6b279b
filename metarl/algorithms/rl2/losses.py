"""RL²'s trials, samples and objectives, as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl.data.trajectories import Trajectories
from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import PolicyInput
from metarl.ranks import ALONE, Ranks
from metarl.returns import discounted_returns, linear_baseline, standardize
from metarl_envs.core import Task


class Trials(NamedTuple):
    """One trial per task: its episodes end to end, padded at the end to the length of the longest trial."""

    inputs: PolicyInput
    """Inputs of the policy, with the leading axes `task time`."""
    actions: Float[Tensor, "task time action"]
    log_probs: Float[Tensor, "task time"]
    """Log-probability of each action under the policy that sampled it, log π_old(a_t | h_t), in nats."""
    rewards: Float[Tensor, "task time"]
    """Reward of each step, in the environment's units."""
    valid: Bool[Tensor, "task time"]
    """False for padding."""
    tasks: tuple[Task, ...] = ()
    """Task of each trial; empty if unknown. The policy does not see it."""

    def classes(self, names: Sequence[str]) -> Int[Tensor, "task"]:
        """Index of each task's class, that is, of its name among `names`."""
        return torch.tensor([names.index(task.name) for task in self.tasks], device=self.valid.device)


class Samples(NamedTuple):
    """Samples of the outer step; a row is a whole trial or a chunk of one."""

    inputs: PolicyInput
    """Inputs of the policy, with the leading axes `row time`."""
    actions: Float[Tensor, "row time action"]
    log_probs: Float[Tensor, "row time"]
    """Log-probability of each action under the policy that sampled it, log π_old(a_t | h_t), in nats."""
    advantages: Float[Tensor, "row time"]
    """Advantage estimates Â_t, standardised over the meta-batch or each class; zero in padding."""
    returns: Float[Tensor, "row time"]
    """Discounted return from each step to the end of the trial, in the environment's units; zero in padding."""
    valid: Bool[Tensor, "row time"]
    """False for padding."""
    expert_actions: Float[Tensor, "row time action"] | None = None
    """Action a*_t that an expert would take where the policy was, as a vector of the policy's; None without one."""

    def select(self, rows: Tensor) -> Samples:
        """Samples of the given rows."""
        return self.map(lambda values: values[rows])

    def map(self, change: Callable[[Tensor], Tensor]) -> Samples:
        """Samples with every tensor changed in the same way."""
        changed = {name: change(values) for name, values in self._asdict().items() if isinstance(values, Tensor)}
        return self._replace(inputs=PolicyInput(*map(change, self.inputs)), **changed)

    def mean(self, values: Float[Tensor, "row time"]) -> Float[Tensor, ""]:
        """Mean over valid steps, 1/N Σ_t x_t."""
        return torch.where(self.valid, values, 0.0).sum() / self.valid.sum()

    def without_padding(self, outputs: Float[Tensor, "row time p"]) -> Float[Tensor, "row time p"]:
        """Outputs of a network with zeros in padding."""
        # An infinite log-density of padding would reach the gradient as 0 * inf = NaN, even if the loss masks it.
        return torch.where(self.valid.unsqueeze(-1), outputs, 0.0)

    def log_ratio(
        self, distribution: ActionDistribution, outputs: Float[Tensor, "row time p"]
    ) -> Float[Tensor, "row time"]:
        """Logarithm of the importance ratio r_t = π_θ(a_t | h_t) / π_old(a_t | h_t); zero in padding."""
        return torch.where(self.valid, distribution.log_prob(outputs, self.actions) - self.log_probs, 0.0)


def make_trials(trajectories: Trajectories) -> Trials:
    """Lays the episodes of each task end to end, with the inputs of a recurrent policy (Duan et al. 2016, section 2.2).

    Args:
        trajectories: Episodes of each task in the order in which they were played.
    """
    valid = trajectories.valid.flatten(1)
    longest = int(valid.sum(1).max())
    # A stable sort by "is padding" keeps the steps of all episodes in order and moves the padding behind them.
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]

    def lay_out(values: Tensor) -> Tensor:
        flat = values.flatten(1, 2)
        index = order if flat.ndim == 2 else order.unsqueeze(-1).expand(-1, -1, flat.shape[-1])
        return flat.gather(1, index)

    starts = torch.zeros_like(trajectories.valid)
    starts[..., 0] = True
    actions, rewards = lay_out(trajectories.actions), lay_out(trajectories.rewards)
    # x_t = (o_t, a_{t-1}, r_{t-1}, s_t), s_t being 1 at the first step of an episode; a_{-1} = 0 and r_{-1} = 0.
    inputs = PolicyInput(
        lay_out(trajectories.observations), _delay_one_step(actions), _delay_one_step(rewards), lay_out(starts)
    )
    log_probs, valid = lay_out(trajectories.log_probs), lay_out(trajectories.valid)
    return Trials(inputs, actions, log_probs, rewards, valid, trajectories.tasks)


def linear_values(trials: Trials, discount: float, per_task: bool, ranks: Ranks = ALONE) -> Float[Tensor, "task time"]:
    """Values of the linear baseline, fitted to the discounted returns of all trials together or of each by itself.

    Args:
        trials: Whole trials.
        discount: Discount factor per step.
        per_task: Fit to each trial by itself.
        ranks: Ranks whose trials it is fitted to, unless to each by itself.
    """
    returns = discounted_returns(trials.rewards, trials.valid, discount)
    # `linear_baseline` fits one regression per task of [task, episode, step]: a trial is the only episode of its task
    # (axis 1), or one of the many episodes of a single task (axis 0).
    axis = 1 if per_task else 0
    observations, returns, valid = (x.unsqueeze(axis) for x in (trials.inputs.observations, returns, trials.valid))
    return linear_baseline(observations, returns, valid, ALONE if per_task else ranks).squeeze(axis)


def standardize_by_class(
    advantages: Float[Tensor, "task time"],
    valid: Bool[Tensor, "task time"],
    classes: Int[Tensor, "task"],
    count: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, "task time"]:
    """Standardises advantages over the trials of each class; zero in padding.

    Classes whose rewards are large, or already earned, then weigh no more in the gradient than those that earn little
    yet (the scale per task of PopArt, Hessel et al. 2019, for advantages).

    Args:
        advantages: Advantage of each step.
        valid: False in padding.
        classes: Index of each trial's class.
        count: Number of classes, of which a rank may have no trial.
        ranks: Ranks whose trials make up a class.
    """
    result = torch.zeros_like(advantages)
    for index in range(count):
        rows = classes == index
        # Â = (A - mean A) / std A over all steps of the class: hence the single leading entry
        result[rows] = standardize(advantages[rows].unsqueeze(0), valid[rows].unsqueeze(0), ranks).squeeze(0)
    return result


def make_samples(
    trials: Trials,
    advantages: Float[Tensor, "task time"],
    discount: float,
    classes: Sequence[str] | None = None,
    ranks: Ranks = ALONE,
) -> Samples:
    """Standardises advantages, and computes the returns that values shall predict.

    A trial counts as one long episode: returns run across its episodes. Values are fitted to discounted returns, not to
    lambda-returns: with the small lambdas of short trials these would be little more than the old values.

    Args:
        trials: Whole trials.
        advantages: Advantage of each step, across the episodes of a trial, in the environment's units.
        discount: Discount factor per step.
        classes: Names of the classes over whose trials advantages are standardised; None is over the meta-batch.
        ranks: Ranks whose trials make up the meta-batch.
    """
    valid = trials.valid
    if classes is None:
        # of all steps, hence the single leading entry
        standardized = standardize(advantages.unsqueeze(0), valid.unsqueeze(0), ranks).squeeze(0)
    else:
        standardized = standardize_by_class(advantages, valid, trials.classes(classes), len(classes), ranks)
    # R_t = Σ_k discount^k r_{t+k}
    returns = discounted_returns(trials.rewards, valid, discount)
    return Samples(trials.inputs, trials.actions, trials.log_probs, standardized, returns, valid)


def cut_into_chunks(samples: Samples, chunk: int) -> Samples:
    """Cuts each row into chunks, which become consecutive rows; the last chunk of each is padded.

    Args:
        samples: Whole trials.
        chunk: Steps of a chunk.
    """

    def cut(values: Tensor) -> Tensor:
        rows, time, *rest = values.shape
        padding = values.new_zeros(rows, -time % chunk, *rest)
        return torch.cat([values, padding], dim=1).reshape(-1, chunk, *rest)

    return samples.map(cut)


class PPOTerms(NamedTuple):
    """Terms of PPO's loss, and its diagnostics."""

    policy_loss: Float[Tensor, ""]
    """Minus the clipped surrogate objective."""
    entropy: Float[Tensor, ""]
    """Mean entropy of the action distributions, in nats."""
    approximate_kl: Float[Tensor, ""]
    """Estimate of the mean KL(π_old || π_θ), in nats; without a gradient."""
    clip_fraction: Float[Tensor, ""]
    """Share of steps with a ratio outside the interval; without a gradient."""


def ppo_terms(
    distribution: ActionDistribution, outputs: Float[Tensor, "row time p"], samples: Samples, clip: float
) -> PPOTerms:
    """PPO's clipped surrogate (Schulman et al. 2017, equation 7), as means over valid steps.

    Args:
        distribution: Action distribution.
        outputs: Distribution parameters of the current policy along the rows.
        samples: Samples of the old policy.
        clip: epsilon, half-width of the interval that ratios are clipped to.
    """
    outputs = samples.without_padding(outputs)
    # r = π_θ(a | h) / π_old(a | h)
    log_ratio = samples.log_ratio(distribution, outputs)
    ratio = torch.exp(log_ratio)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return PPOTerms(
        # -L^CLIP = -1/N Σ min(r Â, clip(r, 1 - epsilon, 1 + epsilon) Â)
        policy_loss=-samples.mean(torch.minimum(ratio * samples.advantages, clipped * samples.advantages)),
        entropy=samples.mean(distribution.entropy(outputs)),
        # KL(π_old || π_θ) = E[-log r] = E[r - 1 - log r] since E[r] = 1 under π_old; this estimate is never negative.
        approximate_kl=samples.mean(ratio - 1 - log_ratio).detach(),
        clip_fraction=samples.mean(((ratio - 1).abs() > clip).to(ratio.dtype)).detach(),
    )


def surrogate(
    distribution: ActionDistribution, outputs: Float[Tensor, "row time p"], samples: Samples
) -> Float[Tensor, ""]:
    """TRPO's surrogate loss (Schulman et al. 2015, equation 14), a mean over valid steps."""
    # L = -1/N Σ r Â,  r = π_θ(a | h) / π_old(a | h)
    log_ratio = samples.log_ratio(distribution, samples.without_padding(outputs))
    return -samples.mean(torch.exp(log_ratio) * samples.advantages)


def value_loss(values: Float[Tensor, "row time"], targets: Float[Tensor, "row time"], samples: Samples) -> Tensor:
    """Mean squared error of values over valid steps.

    Args:
        values: Predicted values, in standard units.
        targets: Returns, in standard units.
        samples: Samples, for their padding.
    """
    # L = 1/N Σ (V_t - R_t)²
    return samples.mean((values - targets) ** 2)


def _delay_one_step(values: Float[Tensor, "task time *n"]) -> Float[Tensor, "task time *n"]:
    """Values of the step before; zero at the first step."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)
