"""Map from meta-parameters through adaptation to the policies' outputs, linearised at given meta-parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.inner import InnerRule, InnerStep
from metarl.algorithms.maml.losses import subsample_indices
from metarl.optim.vectors import Parameters
from metarl.policies.derivatives import ForwardPass


class PolicyOutputs(NamedTuple):
    """Distribution parameters of the policies that meta-parameters lead to, for all tasks."""

    query: Float[Tensor, "task sample p"]
    """Outputs of the adapted policies on the query samples."""
    supports: tuple[Float[Tensor, "task sample p"], ...]
    """Outputs of the policies before each inner step on that step's support samples."""


class AdaptedChunk(NamedTuple):
    """Adaptation of a chunk of tasks, with all that its derivatives need."""

    tasks: slice
    """The tasks of the chunk, among those of the meta-batch."""
    steps: tuple[InnerStep, ...]
    """The inner steps."""
    adapted: Parameters
    """The adapted parameters."""
    query: ForwardPass
    """The forward pass of the adapted policies on the query samples."""

    @property
    def outputs(self) -> PolicyOutputs:
        """Outputs of the chunk's policies."""
        return PolicyOutputs(self.query.outputs, tuple(step.forward.outputs for step in self.steps))


class Linearization:
    """Outputs of the policies at given meta-parameters theta, and products with J = d outputs / d theta.

    Args:
        inner: The inner rule.
        theta: The meta-parameters; see `InnerRule`.
        chunks: The adaptation from theta, in chunks of tasks.
    """

    def __init__(self, inner: InnerRule, theta: Parameters, chunks: Sequence[AdaptedChunk]) -> None:
        self._inner = inner
        self._theta = theta
        self._chunks = chunks
        self.outputs = concatenate(chunk.outputs for chunk in chunks)

    def jvp(self, direction: Parameters, *, to_supports: bool) -> PolicyOutputs:
        """Jacobian-vector product J v.

        Args:
            direction: v, a direction in the space of theta.
            to_supports: True includes the support outputs' rows of J; false leaves their part of the result empty.
        """
        policy, moved = self._inner.derivatives, []
        for chunk in self._chunks:
            # d phi_0 = v, then step by step d phi_(k+1) = (d phi_(k+1) / d phi_k) d phi_k, and d outputs_k likewise
            along, supports = direction, []
            for step in chunk.steps:
                if to_supports:
                    supports.append(policy.jvp(step.start, step.forward, along))
                along = self._inner.jvp(step, self._theta, along)
            moved.append(PolicyOutputs(policy.jvp(chunk.adapted, chunk.query, along), tuple(supports)))
        return concatenate(moved)

    def vjp(self, output_gradient: PolicyOutputs) -> Parameters:
        """Vector-Jacobian product Jᵀ u.

        Args:
            output_gradient: u, the derivatives of a loss with respect to the outputs; those with respect to the support
                outputs may be left out if they are zero.

        Returns:
            The derivatives of the loss with respect to theta.
        """
        policy, total = self._inner.derivatives, {name: torch.zeros_like(value) for name, value in self._theta.items()}
        from_supports = any(bool(outputs.any()) for outputs in output_gradient.supports)
        for chunk in self._chunks:
            # from phi_K back: dL/dphi_k = (d phi_(k+1) / d phi_k)ᵀ dL/dphi_(k+1) + (d outputs_k / d phi_k)ᵀ u_k
            back = policy.vjp(chunk.adapted, chunk.query, output_gradient.query[chunk.tasks]).parameters
            for index, step in reversed(list(enumerate(chunk.steps))):
                back = self._inner.vjp(step, self._theta, back)
                if from_supports:
                    outputs = output_gradient.supports[index][chunk.tasks]
                    direct = policy.vjp(step.start, step.forward, outputs).parameters
                    back |= {name: back[name] + value for name, value in direct.items()}
            for name, value in back.items():
                total[name] += value.sum(0)
        return total

    def subsampled(self, every: int) -> Linearization:
        """Takes J's rows and the inner steps' Hessians from one of every so many samples."""
        if every == 1:
            return self
        chunks = []
        for chunk in self._chunks:
            steps = tuple(self._inner.subsampled(step, every) for step in chunk.steps)
            at = subsample_indices(chunk.query.outputs.shape[1], every, chunk.query.outputs.device)
            query = ForwardPass(tuple(values[:, at] for values in chunk.query.kept), chunk.query.outputs[:, at])
            chunks.append(chunk._replace(steps=steps, query=query))
        return Linearization(self._inner, self._theta, chunks)


def concatenate(chunks: Iterable[PolicyOutputs]) -> PolicyOutputs:
    """Joins the outputs of chunks of tasks along the axis `task`."""
    chunks = list(chunks)
    supports = zip(*(chunk.supports for chunk in chunks), strict=True)
    return PolicyOutputs(
        torch.cat([chunk.query for chunk in chunks]), tuple(torch.cat(outputs) for outputs in supports)
    )
