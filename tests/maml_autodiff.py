"""Adaptation as one function of the meta-parameters for `torch.func` to differentiate: a reference for products."""

import torch
from torch.func import functional_call, vmap

from metarl.algorithms.maml.linearization import PolicyOutputs


def autodiff_outputs(maml, objective, theta, old=None):
    """Computes `objective.outputs`, differentiable with respect to `theta` by any of `torch.func`."""
    initial = maml.inner.policy_parameters(theta)

    def one_task(supports, observations, old_outputs):
        parameters, outputs = initial, []
        for index, batch in enumerate(supports):
            parameters, output = adapted(maml, parameters, theta, batch, old_outputs[index] if old_outputs else None)
            outputs.append(output)
        return PolicyOutputs(functional_call(maml.policy, parameters, (observations,)), tuple(outputs))

    return vmap(one_task)(tuple(objective.supports), objective.query.observations, () if old is None else old.supports)


def adapted(maml, parameters, theta, batch, old_outputs):
    """One inner step of one task, and the outputs it started from."""
    config = maml.config.inner
    moving = {name: value for name, value in parameters.items() if config.adapted == "all" or name.startswith("head.")}

    def loss(moving):
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
