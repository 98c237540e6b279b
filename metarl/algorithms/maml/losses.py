"""Samples that the MAML family learns from, and the outer rules' losses, as pure functions over a meta-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl.data.trajectories import TENSORS, Trajectories
from metarl.policies.distributions import ActionDistribution
from metarl.ranks import ALONE, Ranks
from metarl.returns import discounted_returns, gae, standardize

_SAMPLES_AT_ONCE = {"cpu": 2**12, "cuda": 2**19}
"""Samples that a chunk of tasks has at most, unless a single task has more, by type of device."""


class Batch(NamedTuple):
    """Samples to learn from, all episodes of a task laid end to end."""

    observations: Float[Tensor, "task sample obs"]
    actions: Float[Tensor, "task sample action"]
    advantages: Float[Tensor, "task sample"]
    weights: Float[Tensor, "task sample"]
    """1 / (number of valid samples of the task); 0 in padding."""

    def of(self, tasks: slice) -> Batch:
        """Selects the samples of some tasks."""
        return Batch(*(values[tasks] for values in self))

    def task_chunks(self) -> Iterator[slice]:
        """Chunks of tasks to compute at a time: those that fit a CPU's cache, or a GPU's memory."""
        tasks, samples = self.weights.shape
        size = max(1, _SAMPLES_AT_ONCE[self.weights.device.type] // samples)
        return (slice(first, first + size) for first in range(0, tasks, size))

    def subsampled(self, every: int) -> Batch:
        """Keeps one of every so many samples, the weights of a task scaled to sum to 1; see `subsample_indices`."""
        at = subsample_indices(self.weights.shape[1], every, self.weights.device)
        kept = Batch(*(values[:, at] for values in self))
        share = kept.weights.sum(-1, keepdim=True).clamp(min=torch.finfo(kept.weights.dtype).tiny)
        return kept._replace(weights=kept.weights / share)


def subsample_indices(samples: int, every: int, device: torch.device) -> Int[Tensor, "picked"]:
    """Indices of one sample of every so many, drawn at random within each group, the same in every call.

    Taking the first of each group would take the same steps of all episodes where the episodes' length is a multiple of
    the group's; the curvature then came out at a third of its value (docs/notebook.md).

    Args:
        samples: Number of samples to choose from.
        every: Size of a group.
        device: Device of the result.
    """
    first = torch.arange(0, samples, every)
    width = (samples - first).clamp(max=every)
    drawn = torch.rand(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (first + (drawn * width).long()).to(device)


def trim(trajectories: Trajectories, ranks: Ranks = ALONE) -> Trajectories:
    """Cuts off the padding behind the longest episode of all ranks.

    Sums over more padding add zeros in another order and so differ in the last bits, and `subsample_indices` depends on
    the length.
    """
    length = max(1, int(ranks.largest(float(trajectories.valid.any(0).any(0).sum()))))
    by_step = [name for name in TENSORS if name != "final_observations"]
    return replace(trajectories, **{name: getattr(trajectories, name)[:, :, :length] for name in by_step})


def make_batch(
    trajectories: Trajectories, values: Float[Tensor, "task episode step"], discount: float, gae_lambda: float
) -> Batch:
    """Makes samples with advantages over a baseline, standardised per task.

    The horizon belongs to the task: nothing is earned after the last step, so no value is added there.

    Args:
        trajectories: Episodes of each task.
        values: Baseline of each step.
        discount: Discount factor per step.
        gae_lambda: Lambda of generalised advantage estimation.
    """
    valid = trajectories.valid
    # A = (A_gae - mean) / std over the task's steps
    advantages = standardize(gae(trajectories.rewards, values, valid, discount, gae_lambda), valid)
    # 1/N for each of the task's N steps
    weights = valid / valid.sum((1, 2), keepdim=True).clamp(min=1)
    return Batch(
        trajectories.observations.flatten(1, 2),
        trajectories.actions.flatten(1, 2),
        advantages.flatten(1),
        weights.to(advantages.dtype).flatten(1),
    )


def shrink(batch: Batch, valid: Bool[Tensor, "task episode step"], prior_episodes: float) -> Batch:
    """Shrinks the advantages of tasks with few episodes, as if more without a learning signal had been played.

    Noise lengthens a gradient g_n of n episodes: E|g_n|² = |g|² + v/n, where g is the gradient of infinitely many and v
    the variance of one episode's. The multiple of g_n that is nearest to g in the mean square is that by
    n / (n + n0), n0 = v/|g|².

    Args:
        batch: Samples of the episodes.
        valid: False in padding of the episodes.
        prior_episodes: n0.
    """
    # A <- n / (n + n0) A
    episodes = valid.any(-1).sum(-1, keepdim=True)
    return batch._replace(advantages=batch.advantages * (episodes / (episodes + prior_episodes).clamp(min=1)))


def exploration_credit(
    trajectories: Trajectories,
    values: Float[Tensor, "task episode step"],
    discount: float,
    gae_lambda: float,
    ranks: Ranks = ALONE,
) -> Float[Tensor, "task"]:
    """Credit of a task's support episodes for the query episodes that adaptation to them led to (E-MAML).

    MAML maximises J(theta) = E_D V(U(theta, D)): V is the expected return of a policy, U the adapted parameters, and
    the support episodes D = (tau_1, ..., tau_K) are themselves drawn from pi_theta. Hence

        grad J = E_D [ d/dtheta V(U(theta, D)) + V(U(theta, D)) sum_k sum_t grad log pi_theta(a_kt | s_kt) ],

    of which MAML's surrogate has the first term only (Stadie et al. 2018; Al-Shedivat et al. 2018, equation 4). With
    several inner steps the sum goes over all of their episodes, each under the policy that played it.

    V is estimated by the mean discounted return of the query episodes. The mean of the other tasks, which is
    independent of D, is subtracted to lower the variance. The surrogate is a mean over steps of standardised
    advantages, so the result is divided by the mean length of the task's episodes and by the advantages' scale.

    Args:
        trajectories: The query episodes.
        values: Baseline of their steps.
        discount: Discount factor per step.
        gae_lambda: Lambda of generalised advantage estimation.
        ranks: Ranks that the tasks are divided among; the other tasks, and all steps, are those of all ranks.
    """
    valid = trajectories.valid
    episodes = valid.shape[1]
    # V of each task: mean over its query episodes of the return from the first step
    returns = discounted_returns(trajectories.rewards, valid, discount)[..., 0].mean(-1)
    # scale of the advantages: sigma² = mean over all steps of (A - the task's mean A)²
    advantages = gae(trajectories.rewards, values, valid, discount, gae_lambda).flatten(1)
    steps = valid.sum((1, 2)).clamp(min=1)
    means = advantages.sum(1, keepdim=True) / steps.unsqueeze(1)
    squares = ((advantages - means) ** 2 * valid.flatten(1)).sum()
    sums = returns.sum(), squares, steps.sum(), torch.tensor(len(returns), device=returns.device)
    total, square, count, tasks = ranks.sum(*(x.to(returns.dtype) for x in sums))
    others = (total - returns) / (tasks - 1).clamp(min=1)
    variance = square / count
    # credit = (V - mean V of the other tasks) / (mean episode length * sigma); 0 where no advantage differs
    credit = (returns - others) / ((steps / episodes) * (variance.sqrt() + 1e-8))
    return torch.where(variance > 0, credit, 0.0)


def surrogate(
    distribution: ActionDistribution,
    outputs: Float[Tensor, "task sample p"],
    old_outputs: Float[Tensor, "task sample p"],
    batch: Batch,
    clip: float | None = None,
) -> Float[Tensor, ""]:
    """Surrogate loss: minus the mean over tasks and samples of r A (TRPO) or of min(r A, clip(r, 1 ± clip) A) (PPO).

    r = pi / pi_old is the importance ratio of a sample.

    Args:
        distribution: The action distribution.
        outputs: Distribution parameters of the candidate policies.
        old_outputs: Distribution parameters of the policies that took the samples; no gradient flows through them.
        batch: The samples.
        clip: Half-width of the interval that ratios are clipped to (Schulman et al. 2017, equation 7); None leaves
            them as they are.
    """
    # r = pi(a|s) / pi_old(a|s)
    ratios = importance_ratios(distribution, outputs, old_outputs, batch)
    gains = ratios * batch.advantages
    if clip is not None:
        # min(r A, clip(r, 1 - clip, 1 + clip) A)
        gains = torch.minimum(gains, ratios.clamp(1 - clip, 1 + clip) * batch.advantages)
    return -(batch.weights * gains).sum(-1).mean()


def importance_ratios(
    distribution: ActionDistribution,
    outputs: Float[Tensor, "task sample p"],
    old_outputs: Float[Tensor, "task sample p"],
    batch: Batch,
) -> Float[Tensor, "task sample"]:
    """Importance ratio pi(a|s) / pi_old(a|s) of each sample, no gradient flowing through pi_old; 1 in padding.

    Padding was not drawn from any policy: its ratio may overflow, and infinity times a weight of zero is not zero.
    """
    # r = exp(log pi(a|s) - log pi_old(a|s))
    old_log_probs = distribution.log_prob(old_outputs, batch.actions).detach()
    log_ratios = distribution.log_prob(outputs, batch.actions) - old_log_probs
    return torch.exp(torch.where(batch.weights > 0, log_ratios, 0.0))


def mean_kl(
    distribution: ActionDistribution,
    old_outputs: Float[Tensor, "task sample p"],
    outputs: Float[Tensor, "task sample p"],
    weights: Float[Tensor, "task sample"],
) -> Float[Tensor, ""]:
    """Mean KL(old || new) over the samples of each task and over tasks, in nats."""
    return (weights * distribution.kl(old_outputs, outputs)).sum(-1).mean()
