"""What the MAML family learns from, and the outer rules' losses, as pure functions over a meta-batch."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl.data.trajectories import TENSORS, Trajectories
from metarl.policies.distributions import ActionDistribution
from metarl.returns import discounted_returns, gae, standardize


class Batch(NamedTuple):
    """Samples to learn from."""

    observations: Float[Tensor, "task sample obs"]
    actions: Float[Tensor, "task sample action"]
    advantages: Float[Tensor, "task sample"]
    weights: Float[Tensor, "task sample"]
    """1 / (number of valid samples of the task); 0 in padding."""

    def of(self, tasks: slice) -> Batch:
        """Some tasks' samples."""
        return Batch(*(values[tasks] for values in self))

    def thinned(self, every: int) -> Batch:
        """One of every so many samples; see `thin`."""
        at = thin(self.weights.shape[1], every, self.weights.device)
        part = Batch(*(values[:, at] for values in self))
        share = part.weights.sum(-1, keepdim=True).clamp(min=torch.finfo(part.weights.dtype).tiny)
        return part._replace(weights=part.weights / share)


def thin(samples: int, every: int, device: torch.device) -> Int[Tensor, "picked"]:
    """Which samples to take to have one of every so many, at a place among them drawn at random, the same each time.

    Every so many-th would be the same steps of all episodes where their length is a multiple; among these are the
    first ones, which are alike, and curvature came out at a third of what it is (docs/notebook.md).
    """
    first = torch.arange(0, samples, every)
    width = (samples - first).clamp(max=every)
    drawn = torch.rand(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (first + (drawn * width).long()).to(device)


def trim(trajectories: Trajectories) -> Trajectories:
    """The same record without the padding behind the longest episode.

    Sums over padding add zeros, but in another order, and so come out different in the last bits.
    """
    length = max(1, int(trajectories.valid.any(0).any(0).sum()))
    by_step = [name for name in TENSORS if name != "final_observations"]
    return replace(trajectories, **{name: getattr(trajectories, name)[:, :, :length] for name in by_step})


def make_batch(
    trajectories: Trajectories, values: Float[Tensor, "task episode step"], discount: float, gae_lambda: float
) -> Batch:
    """Advantages over a baseline, standardised per task, episodes laid end to end.

    The horizon belongs to the task: nothing is earned after the last step, so no value is added there.

    Args:
        trajectories: What was played.
        values: The baseline.
        discount: Discount factor per step.
        gae_lambda: Lambda of generalised advantage estimation.
    """
    valid = trajectories.valid
    nothing = torch.zeros_like(values[..., 0])
    advantages = standardize(gae(trajectories.rewards, values, nothing, valid, discount, gae_lambda), valid)
    weights = valid / valid.sum((1, 2), keepdim=True).clamp(min=1)
    return Batch(
        trajectories.observations.flatten(1, 2),
        trajectories.actions.flatten(1, 2),
        advantages.flatten(1),
        weights.to(advantages.dtype).flatten(1),
    )


def exploration_credit(
    trajectories: Trajectories, values: Float[Tensor, "task episode step"], discount: float, gae_lambda: float
) -> Float[Tensor, "task"]:
    """What a task's support episodes are credited with for the query episodes that adapting to them led to (E-MAML).

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
        values: Their baseline.
        discount: Discount factor per step.
        gae_lambda: Lambda of generalised advantage estimation.
    """
    valid = trajectories.valid
    tasks, episodes, _ = valid.shape
    returns = discounted_returns(trajectories.rewards, valid, discount)[..., 0].mean(-1)
    others = (returns.sum() - returns) / max(1, tasks - 1)
    nothing = torch.zeros_like(values[..., 0])
    advantages = gae(trajectories.rewards, values, nothing, valid, discount, gae_lambda).flatten(1)
    steps = valid.sum((1, 2)).clamp(min=1)
    means = advantages.sum(1, keepdim=True) / steps.unsqueeze(1)
    variance = ((advantages - means) ** 2 * valid.flatten(1)).sum() / steps.sum()
    credit = (returns - others) / ((steps / episodes) * (variance.sqrt() + 1e-8))
    return torch.where(variance > 0, credit, 0.0)  # the scale of nothing is no scale


def surrogate(
    distribution: ActionDistribution,
    outputs: Float[Tensor, "task sample p"],
    old_outputs: Float[Tensor, "task sample p"],
    batch: Batch,
    clip: float | None = None,
) -> Float[Tensor, ""]:
    """Minus the mean over tasks and samples of r A, r = pi / pi_old (TRPO), or of min(r A, clip(r, 1 ± clip) A) (PPO).

    Args:
        distribution: The action distribution.
        outputs: Distribution parameters of the policies that the candidate initial parameters lead to.
        old_outputs: The same for those that took the samples; no gradient flows through them.
        batch: The samples.
        clip: Half-width of the interval that ratios are clipped to (Schulman et al. 2017, equation 7); None clips none.
    """
    ratios = importance_ratios(distribution, outputs, old_outputs, batch)
    gains = ratios * batch.advantages
    if clip is not None:
        gains = torch.minimum(gains, ratios.clamp(1 - clip, 1 + clip) * batch.advantages)
    return -(batch.weights * gains).sum(-1).mean()


def importance_ratios(
    distribution: ActionDistribution,
    outputs: Float[Tensor, "task sample p"],
    old_outputs: Float[Tensor, "task sample p"],
    batch: Batch,
) -> Float[Tensor, "task sample"]:
    """pi(a|s) / pi_old(a|s) of each sample, no gradient flowing through pi_old; 1 in padding.

    Padding was not drawn from any policy: its ratio may overflow, and infinity times a weight of zero is no zero.
    """
    old_log_probs = distribution.log_prob(old_outputs, batch.actions).detach()
    log_ratios = distribution.log_prob(outputs, batch.actions) - old_log_probs
    return torch.exp(torch.where(batch.weights > 0, log_ratios, 0.0))


def mean_kl(
    distribution: ActionDistribution,
    old_outputs: Float[Tensor, "task sample p"],
    outputs: Float[Tensor, "task sample p"],
    weights: Float[Tensor, "task sample"],
) -> Float[Tensor, ""]:
    """KL(old || new) of each task's policies, averaged over its samples' states and over tasks."""
    return (weights * distribution.kl(old_outputs, outputs)).sum(-1).mean()
