"""What one meta-iteration gives an outer rule to work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.inner import InnerRule
from metarl.algorithms.maml.losses import Batch, mean_kl, surrogate
from metarl.algorithms.maml.unrolling import Unrolled, Unrolling, adapt, linearize, unroll
from metarl.optim.vectors import Parameters, flatten
from metarl.policies.distributions import ActionDistribution


@dataclass(frozen=True)
class Problem:
    """Samples of a meta-batch, and functions of the meta-parameters on them."""

    distribution: ActionDistribution
    """What its outputs are the parameters of."""
    inner: InnerRule
    """How it adapts."""
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

    def unroll(self, theta: Parameters, old: Unrolled | None = None) -> Unrolled:
        """Adapts from `theta` on the support samples, for each task.

        Args:
            theta: Candidate meta-parameters.
            old: What the meta-parameters that the samples were taken with lead to; left out if `theta` is these.
        """
        return unroll(self.inner, theta, self.supports, self.query, old)

    def linearize(self, theta: Parameters, old: Unrolled | None = None) -> Unrolling:
        """The same, kept so that it can be differentiated with respect to `theta`."""
        return linearize(self.inner, theta, self.supports, self.query, old)

    def gradient(
        self, loss: Callable[[Unrolled], Tensor], theta: Parameters, old: Unrolled | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, ""]]:
        """A loss of what `theta` leads to and its gradient with respect to `theta`, as one vector; see `unroll`."""
        way = self.linearize(theta, old)
        cotangents, value = torch.func.grad_and_value(loss)(way.outputs)
        return flatten(way.pull_back(cotangents)), value

    def surrogate(self, new: Unrolled, old: Unrolled, clip: float | None = None) -> Float[Tensor, ""]:
        """The surrogate loss of the query samples and, with E-MAML's credit c, minus the mean over tasks of c sum r.

        The sum goes over the samples of all supports, r being the importance ratio of the policy that took each.
        """
        loss = surrogate(self.distribution, new.query, old.query, self.query, clip)
        if self.credit is None:
            return loss
        for batch, outputs, old_outputs in zip(self.supports, new.supports, old.supports, strict=True):
            valid = (batch.weights > 0).to(batch.weights.dtype)
            credited = batch._replace(advantages=self.credit.unsqueeze(-1) * valid, weights=valid)
            loss = loss + surrogate(self.distribution, outputs, old_outputs, credited, clip)
        return loss

    def query_kl(self, new: Unrolled, old: Unrolled) -> Float[Tensor, ""]:
        """KL(old || new) of the adapted policies."""
        return mean_kl(self.distribution, old.query, new.query, self.query.weights)

    def support_kl(self, new: Unrolled, old: Unrolled) -> Float[Tensor, ""]:
        """KL(old || new) of the policies before each inner step, summed over the steps."""
        steps = zip(self.supports, new.supports, old.supports, strict=True)
        return sum(
            (mean_kl(self.distribution, old_outputs, outputs, batch.weights) for batch, outputs, old_outputs in steps),
            start=self.query.weights.new_zeros(()),
        )

    def divergence(self, new: Unrolled, old: Unrolled) -> Float[Tensor, ""]:
        """What a trust region bounds: the KL divergence of all policies whose samples the surrogate is made of.

        These are the adapted ones and, with exploration credit, also those before each inner step.
        """
        kl = self.query_kl(new, old)
        return kl if self.credit is None else kl + self.support_kl(new, old)

    def fisher_product(self, old: Unrolled, tangent: Unrolled) -> Unrolled:
        """The Hessian of `divergence` with respect to `new`, at new = old, times a tangent."""

        def product(batch: Batch, old_outputs: Tensor, tangent: Tensor) -> Tensor:
            fisher = self.distribution.fisher_product(old_outputs, tangent)
            return batch.weights.unsqueeze(-1) * fisher / len(batch.weights)

        supports = () if self.credit is None else tuple(map(product, self.supports, old.supports, tangent.supports))
        return Unrolled(product(self.query, old.query, tangent.query), supports)

    def thinned(self, every: int) -> Problem:
        """The same with one of every so many samples; see `Unrolling.thinned`."""
        if every == 1:
            return self
        supports = [batch.thinned(every) for batch in self.supports]
        return replace(self, supports=supports, query=self.query.thinned(every))

    def adapt_further(self) -> Parameters:
        """The adapted parameters after one more inner step, on the query samples; with a leading axis `task`."""
        return adapt(self.inner, self.adapted, self.theta, self.query)
