"""Objective of the outer step: the samples of a meta-batch, and functions of the meta-parameters on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.inner import InnerRule
from metarl.algorithms.maml.linearization import AdaptedChunk, Linearization, PolicyOutputs, concatenate
from metarl.algorithms.maml.losses import Batch, mean_kl, surrogate
from metarl.optim.vectors import Parameters, flatten
from metarl.policies.distributions import ActionDistribution
from metarl.ranks import ALONE, Ranks


@dataclass(frozen=True)
class MetaObjective:
    """Samples of a meta-batch, and losses, divergences and derivatives of the policies that meta-parameters lead to.

    With several ranks the samples, and all that is computed of them, are those of this rank's tasks; `mean` and
    `gradient` lead from there to the whole meta-batch.
    """

    distribution: ActionDistribution
    """The action distribution."""
    inner: InnerRule
    """The inner rule."""
    theta: Parameters
    """The meta-parameters that the samples were taken with; see `InnerRule`."""
    adapted: Parameters
    """The policies' parameters that the query samples were taken with, with a leading axis `task`."""
    supports: Sequence[Batch]
    """The samples of each inner step."""
    query: Batch
    """The samples of the adapted policies."""
    credit: Float[Tensor, "task"] | None = None
    """See `metarl.algorithms.maml.losses.exploration_credit`; None leaves it out."""
    ranks: Ranks = ALONE
    """Ranks among which the tasks are divided, equally many for each."""

    def mean(self, *means: Tensor) -> tuple[Tensor, ...]:
        """Means over all tasks, without a gradient, of means over this rank's tasks; in one message."""
        # 1/N sum_i x_i = 1/R sum_r (1/(N/R) sum of x_i over the tasks i of rank r), for N tasks and R ranks
        return tuple(total / self.ranks.size for total in self.ranks.sum(*means))

    def outputs(self, theta: Parameters, old: PolicyOutputs | None = None) -> PolicyOutputs:
        """Outputs of the policies that `theta` leads to by adaptation on the support samples.

        Args:
            theta: Candidate meta-parameters.
            old: Outputs at the meta-parameters that the samples were taken with; None if `theta` is these.
        """
        return concatenate(chunk.outputs for chunk in self._adapt(theta, old))

    def linearize(self, theta: Parameters, old: PolicyOutputs | None = None) -> Linearization:
        """Outputs as of `outputs`, with products of their Jacobian with respect to `theta`."""
        return Linearization(self.inner, theta, list(self._adapt(theta, old)))

    def gradient(
        self, loss: Callable[[PolicyOutputs], Tensor], linear: Linearization
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, ""]]:
        """Gradient with respect to the meta-parameters, flattened, and value of a loss, both over all tasks.

        Args:
            loss: Mean over this rank's tasks of a loss of their outputs.
            linear: The outputs at the meta-parameters; see `linearize`.
        """
        # dL/dtheta = Jᵀ dL/d outputs
        output_gradient, value = torch.func.grad_and_value(loss)(linear.outputs)
        gradient, value = self.mean(flatten(linear.vjp(output_gradient)), value)
        return gradient, value

    def surrogate(self, new: PolicyOutputs, old: PolicyOutputs, clip: float | None = None) -> Float[Tensor, ""]:
        """Surrogate loss of the query samples and, with E-MAML's credit c, minus the mean over tasks of c sum r.

        The sum goes over the samples of all supports; r is the importance ratio of the policy that took each.
        """
        loss = surrogate(self.distribution, new.query, old.query, self.query, clip)
        if self.credit is None:
            return loss
        for batch, outputs, old_outputs in zip(self.supports, new.supports, old.supports, strict=True):
            # advantage c and weight 1 for every sample
            valid = (batch.weights > 0).to(batch.weights.dtype)
            credited = batch._replace(advantages=self.credit.unsqueeze(-1) * valid, weights=valid)
            loss = loss + surrogate(self.distribution, outputs, old_outputs, credited, clip)
        return loss

    def query_kl(self, new: PolicyOutputs, old: PolicyOutputs) -> Float[Tensor, ""]:
        """Mean KL(old || new) of the adapted policies, in nats."""
        return mean_kl(self.distribution, old.query, new.query, self.query.weights)

    def support_kl(self, new: PolicyOutputs, old: PolicyOutputs) -> Float[Tensor, ""]:
        """Mean KL(old || new) of the policies before each inner step, summed over the steps, in nats."""
        steps = zip(self.supports, new.supports, old.supports, strict=True)
        return sum(
            (mean_kl(self.distribution, old_outputs, outputs, batch.weights) for batch, outputs, old_outputs in steps),
            start=self.query.weights.new_zeros(()),
        )

    def divergence(self, new: PolicyOutputs, old: PolicyOutputs) -> Float[Tensor, ""]:
        """Divergence that a trust region bounds: the KL of all policies whose samples the surrogate is made of.

        These are the adapted ones and, with exploration credit, also those before each inner step.
        """
        kl = self.query_kl(new, old)
        return kl if self.credit is None else kl + self.support_kl(new, old)

    def fisher_product(self, old: PolicyOutputs, direction: PolicyOutputs) -> PolicyOutputs:
        """Product of a direction of the outputs with F, the Hessian of `divergence` in `new` at new = old."""

        def product(batch: Batch, old_outputs: Tensor, direction: Tensor) -> Tensor:
            # F is block-diagonal: each sample's Fisher matrix times its weight 1/N, over the number of tasks
            fisher = self.distribution.fisher_product(old_outputs, direction)
            return batch.weights.unsqueeze(-1) * fisher / len(batch.weights)

        supports = () if self.credit is None else tuple(map(product, self.supports, old.supports, direction.supports))
        return PolicyOutputs(product(self.query, old.query, direction.query), supports)

    def subsampled(self, every: int) -> MetaObjective:
        """Keeps one of every so many samples; see `Linearization.subsampled`."""
        if every == 1:
            return self
        supports = [batch.subsampled(every) for batch in self.supports]
        return replace(self, supports=supports, query=self.query.subsampled(every))

    def _adapt(self, theta: Parameters, old: PolicyOutputs | None) -> Iterator[AdaptedChunk]:
        """Adapts from `theta` on the support samples, a chunk of tasks after the other."""
        for tasks in self.query.task_chunks():
            parameters, steps = self.inner.policy_parameters(theta), []
            for index, batch in enumerate(self.supports):
                old_outputs = None if old is None else old.supports[index][tasks]
                steps.append(self.inner.step(parameters, theta, batch.of(tasks), old_outputs))
                parameters = steps[-1].end
            query = self.inner.derivatives.forward(parameters, self.query.observations[tasks])
            yield AdaptedChunk(tasks, tuple(steps), parameters, query)
