"""Adaptation as one function of the meta-parameters, for `torch.func` to differentiate: a slow reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.linearization import PolicyOutputs
from metarl.algorithms.maml.losses import Batch
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.optim.vectors import Parameters


def autodiff_outputs(
    maml: MAML, objective: MetaObjective, theta: Parameters, old: PolicyOutputs | None = None
) -> PolicyOutputs:
    """Computes `objective.outputs` task by task, differentiable with respect to `theta` by any of `torch.func`.

    A loop, since derivatives of `vmap` over inner gradients are wrong for layer norm (torch 2.13).
    """
    queries, supports = [], []
    for task in range(len(objective.query.weights)):
        parameters, outputs = maml.inner.policy_parameters(theta), []
        for index, batch in enumerate(objective.supports):
            old_outputs = None if old is None else old.supports[index][task]
            samples = Batch(*(values[task] for values in batch))
            parameters, output = adapted(maml, parameters, theta, samples, old_outputs)
            outputs.append(output)
        queries.append(functional_call(maml.policy, parameters, (objective.query.observations[task],)))
        supports.append(outputs)
    return PolicyOutputs(torch.stack(queries), tuple(map(torch.stack, zip(*supports, strict=True))))


def adapted(
    maml: MAML, parameters: Parameters, theta: Parameters, batch: Batch, old_outputs: Tensor | None
) -> tuple[Parameters, Tensor]:
    """Takes one inner step of one task; returns the parameters after it and the outputs before it."""
    config = maml.config.inner
    moving = {name: value for name, value in parameters.items() if config.adapted == "all" or name.startswith("head.")}

    def loss(moving: Parameters) -> tuple[Tensor, Tensor]:
        outputs = functional_call(maml.policy, parameters | moving, (batch.observations,))
        scores = maml.distribution.log_prob(outputs, batch.actions)
        if config.estimator == "likelihood_ratio":
            old = outputs if old_outputs is None else old_outputs
            scores = torch.exp(scores - maml.distribution.log_prob(old, batch.actions).detach())
        return -(batch.weights * scores * batch.advantages).sum(), outputs

    gradient, outputs = torch.func.grad(loss, has_aux=True)(moving)
    if config.first_order:
        gradient = {name: value.detach() for name, value in gradient.items()}
    sizes = {name: theta.get(f"step_sizes.{name}", config.lr) for name in moving}
    return parameters | {name: value - sizes[name] * gradient[name] for name, value in moving.items()}, outputs
