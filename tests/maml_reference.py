"""The MAML family's objectives as the papers write them, task by task, for checks by finite differences.

Written without `vmap` and without the library's policies, distributions and losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.maml.config import InnerConfig
from metarl.algorithms.maml.losses import Batch
from metarl.optim.vectors import Parameters


def log_prob(outputs: Tensor, actions: Tensor) -> Tensor:
    """Log-probabilities of one task's samples; a Gaussian has twice as many outputs as actions."""
    size = actions.shape[-1]
    if outputs.shape[-1] == size:
        return torch.log_softmax(outputs, -1)[actions.bool()]
    mean, std = outputs[:, :size], torch.exp(outputs[:, size:])
    return torch.log(torch.exp(-((actions - mean) ** 2) / (2 * std**2)) / (math.sqrt(2 * math.pi) * std)).sum(1)


def kl(old: Tensor, new: Tensor, size: int) -> Tensor:
    """KL(old || new) at one task's samples."""
    if old.shape[-1] == size:
        p, q = torch.softmax(old, -1), torch.softmax(new, -1)
        return (p * torch.log(p / q)).sum(1)
    before, after = (torch.distributions.Normal(x[:, :size], torch.exp(x[:, size:])) for x in (old, new))
    return torch.distributions.kl_divergence(before, after).sum(1)


def policy(parameters: Parameters, observations: Tensor) -> Tensor:
    """One hidden layer of tanh; parameters go by the library's names."""
    hidden = torch.tanh(observations @ parameters["body.0.weight"].T + parameters["body.0.bias"])
    output = hidden @ parameters["head.linear.weight"].T + parameters["head.linear.bias"]
    if "head.log_std" not in parameters:
        return output
    return torch.cat([output, parameters["head.log_std"].expand_as(output)], dim=1)


def inner_gradient(
    config: InnerConfig, parameters: Parameters, batch: Batch, task: int, old_outputs: Tensor
) -> Parameters:
    """Gradient of the task's inner loss at `parameters`, by `torch.autograd`; nothing is kept for a second one."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    score = log_prob(policy(leaves, batch.observations[task]), batch.actions[task])
    if config.estimator == "likelihood_ratio":
        score = torch.exp(score) / torch.exp(log_prob(old_outputs, batch.actions[task]))
    loss = -(batch.weights[task] * score * batch.advantages[task]).sum()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def adapt(
    config: InnerConfig,
    theta: Parameters,
    supports: Sequence[Batch],
    task: int,
    old_outputs: Sequence[Tensor],
    constants: Sequence[Parameters] | None = None,
) -> list[Parameters]:
    """The parameters before each inner step and after the last.

    Args:
        config: The inner rule's settings.
        theta: Meta-parameters.
        supports: Batch of each step.
        task: Which task.
        old_outputs: Outputs `(task, sample, p)` of the policies that took each step's samples.
        constants: Gradients to take for the inner ones, by step: FOMAML's, which do not change with theta.
    """
    parameters = {name: value for name, value in theta.items() if not name.startswith("step_sizes.")}
    path = [parameters]
    for step, batch in enumerate(supports):
        gradient = inner_gradient(config, parameters, batch, task, old_outputs[step][task])
        if constants is not None:
            gradient = constants[step]
        moving = [name for name in parameters if config.adapted == "all" or name.startswith("head.")]
        parameters = parameters | {
            name: parameters[name] - theta.get(f"step_sizes.{name}", config.lr) * gradient[name] for name in moving
        }
        path.append(parameters)
    return path


def sampling_outputs(
    config: InnerConfig, theta: Parameters, supports: Sequence[Batch], query: Batch
) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the policies that take the samples: (on the query, on each step's support), each by task."""
    old_supports: list[Tensor] = []
    for step, batch in enumerate(supports):  # the likelihood ratio's denominators: pi itself, as nothing has moved yet
        paths = [adapt(config, theta, supports[:step], task, old_supports) for task in range(len(batch.weights))]
        old_supports.append(torch.stack([policy(p[-1], batch.observations[i]) for i, p in enumerate(paths)]))
    paths = [adapt(config, theta, supports, task, old_supports) for task in range(len(query.weights))]
    old_query = torch.stack([policy(path[-1], query.observations[task]) for task, path in enumerate(paths)])
    return old_query, old_supports


def inner_gradients(
    config: InnerConfig, theta: Parameters, supports: Sequence[Batch], old_supports: list[Tensor]
) -> list[list[Parameters]]:
    """The inner gradients at `theta`, by task and step."""
    gradients = []
    for task in range(len(supports[0].weights)):
        path = adapt(config, theta, supports, task, old_supports)
        gradients.append(
            [
                inner_gradient(config, path[step], batch, task, old_supports[step][task])
                for step, batch in enumerate(supports)
            ]
        )
    return gradients


def objective(
    config: InnerConfig,
    theta: Parameters,
    supports: Sequence[Batch],
    query: Batch,
    old: tuple[Tensor, list[Tensor]],
    *,
    constants: Any = None,
    credit: Tensor | None = None,
    clip: float | None = None,
    penalty: float = 0.0,
) -> float:
    """The loss that an outer rule lowers, as a number.

    Args:
        config: The inner rule's settings.
        theta: Candidate meta-parameters.
        supports: Batch of each inner step.
        query: Batch of the adapted policies.
        old: What `sampling_outputs` gave at the parameters that took the samples.
        constants: What `inner_gradients` gave there, for first-order rules.
        credit: E-MAML's weight of each task's support samples.
        clip: PPO's.
        penalty: ProMP's eta.
    """
    old_query, old_supports = old
    total = torch.zeros((), dtype=torch.float64)
    for task in range(len(query.weights)):
        path = adapt(config, theta, supports, task, old_supports, constants and constants[task])
        for batch, parameters, old_outputs in zip(supports, path, old_supports, strict=False):
            outputs, actions = policy(parameters, batch.observations[task]), batch.actions[task]
            if credit is not None:
                played = batch.weights[task] > 0
                ratios = torch.exp(log_prob(outputs, actions) - log_prob(old_outputs[task], actions))
                total -= _gain(ratios, credit[task], clip)[played].sum()
            total += penalty * (batch.weights[task] * kl(old_outputs[task], outputs, actions.shape[1])).sum()
        outputs, actions = policy(path[-1], query.observations[task]), query.actions[task]
        ratios = torch.exp(log_prob(outputs, actions) - log_prob(old_query[task], actions))
        total -= (query.weights[task] * _gain(ratios, query.advantages[task], clip)).sum()
    return float(total) / len(query.weights)


def _gain(ratios: Tensor, advantages: Tensor, clip: float | None) -> Tensor:
    if clip is None:
        return ratios * advantages
    return torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)
