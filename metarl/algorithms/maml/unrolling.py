"""From meta-parameters through adaptation to the adapted policies' outputs, and the Jacobian J of all that.

Tasks are taken some at a time: on a CPU, so that what a pass works on stays in its cache; on a GPU, for its memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.inner import InnerRule, InnerStep
from metarl.algorithms.maml.losses import Batch, thin
from metarl.optim.vectors import Parameters
from metarl.policies.passes import Trace

_SAMPLES_AT_ONCE = {"cpu": 2**12, "cuda": 2**19}
"""That a pass takes, or a task's if that is more."""


class Unrolled(NamedTuple):
    """Distribution parameters that meta-parameters lead to, all tasks at once."""

    query: Float[Tensor, "task sample p"]
    """Of the adapted policies, on the query samples."""
    supports: tuple[Float[Tensor, "task sample p"], ...]
    """Of the policy before each inner step, on the step's support samples."""


class _Part(NamedTuple):
    """Some tasks' way."""

    tasks: slice
    steps: tuple[InnerStep, ...]
    adapted: Parameters
    query: Trace

    @property
    def outputs(self) -> Unrolled:
        return Unrolled(self.query.outputs, tuple(step.trace.outputs for step in self.steps))


class Unrolling:
    """The way from given meta-parameters to outputs, kept so that it can be differentiated.

    Args:
        inner: The inner rule.
        theta: The meta-parameters; see `InnerRule`.
        parts: Of the way, for some tasks each.
    """

    def __init__(self, inner: InnerRule, theta: Parameters, parts: Sequence[_Part]) -> None:
        self._inner = inner
        self._theta = theta
        self._parts = parts
        self.outputs = _together([part.outputs for part in parts])

    def push_forward(self, tangents: Parameters, *, to_supports: bool) -> Unrolled:
        """J times a direction in the space of theta; as far as the query outputs go, or to the supports' too."""
        passes, moved = self._inner.passes, []
        for part in self._parts:
            along, supports = tangents, []
            for step in part.steps:
                if to_supports:
                    supports.append(passes.tangent(step.start, step.trace, along))
                along = self._inner.tangent(step, self._theta, along)
            moved.append(Unrolled(passes.tangent(part.adapted, part.query, along), tuple(supports)))
        return _together(moved)

    def pull_back(self, cotangents: Unrolled) -> Parameters:
        """Jᵀ times derivatives with respect to the outputs: those with respect to theta.

        Args:
            cotangents: The derivatives; those with respect to the supports may be left out if they are zero.
        """
        passes, total = self._inner.passes, {name: torch.zeros_like(value) for name, value in self._theta.items()}
        from_supports = any(bool(outputs.any()) for outputs in cotangents.supports)
        for part in self._parts:
            back = passes.backward(part.adapted, part.query, cotangents.query[part.tasks]).parameters
            for index, step in reversed(list(enumerate(part.steps))):
                back = self._inner.cotangent(step, self._theta, back)
                if from_supports:
                    outputs = cotangents.supports[index][part.tasks]
                    direct = passes.backward(step.start, step.trace, outputs).parameters
                    back |= {name: back[name] + value for name, value in direct.items()}
            for name, value in back.items():
                total[name] += value.sum(0)
        return total

    def thinned(self, every: int) -> Unrolling:
        """The same way, J's rows and the inner steps' Hessians taken from one of every so many samples."""
        if every == 1:
            return self
        parts = []
        for part in self._parts:
            steps = tuple(self._inner.thinned(step, every) for step in part.steps)
            at = thin(part.query.outputs.shape[1], every, part.query.outputs.device)
            query = Trace(tuple(values[:, at] for values in part.query.inputs), part.query.outputs[:, at])
            parts.append(part._replace(steps=steps, query=query))
        return Unrolling(self._inner, self._theta, parts)


def linearize(
    inner: InnerRule, theta: Parameters, supports: Sequence[Batch], query: Batch, old: Unrolled | None = None
) -> Unrolling:
    """Adapts from `theta` on the support samples, and keeps the way.

    Args:
        inner: The inner rule.
        theta: The meta-parameters.
        supports: The samples of each inner step.
        query: The samples of the adapted policies.
        old: What the meta-parameters that the samples were taken with lead to; left out if `theta` is these.
    """
    return Unrolling(inner, theta, list(_parts(inner, theta, supports, query, old)))


def unroll(
    inner: InnerRule, theta: Parameters, supports: Sequence[Batch], query: Batch, old: Unrolled | None = None
) -> Unrolled:
    """The outputs of `linearize`, with nothing else kept."""
    return _together([part.outputs for part in _parts(inner, theta, supports, query, old)])


def adapt(inner: InnerRule, parameters: Parameters, theta: Parameters, batch: Batch) -> Parameters:
    """The policies' parameters, with a leading axis `task`, after one inner step on samples of theirs."""
    ends = []
    for some in _slices(batch):
        start = {name: value[some] for name, value in parameters.items()}
        ends.append(inner.step(start, theta, batch.of(some)).end)
    return {name: torch.cat([end[name] for end in ends]) for name in parameters}


def _slices(batch: Batch) -> Iterator[slice]:
    tasks, samples = batch.weights.shape
    size = max(1, _SAMPLES_AT_ONCE[batch.weights.device.type] // samples)
    return (slice(first, first + size) for first in range(0, tasks, size))


def _parts(
    inner: InnerRule, theta: Parameters, supports: Sequence[Batch], query: Batch, old: Unrolled | None
) -> Iterator[_Part]:
    for some in _slices(query):
        parameters, steps = inner.policy_parameters(theta), []
        for index, batch in enumerate(supports):
            old_outputs = None if old is None else old.supports[index][some]
            steps.append(inner.step(parameters, theta, batch.of(some), old_outputs))
            parameters = steps[-1].end
        yield _Part(some, tuple(steps), parameters, inner.passes.forward(parameters, query.observations[some]))


def _together(parts: Sequence[Unrolled]) -> Unrolled:
    supports = zip(*(part.supports for part in parts), strict=True)
    return Unrolled(torch.cat([part.query for part in parts]), tuple(torch.cat(outputs) for outputs in supports))
