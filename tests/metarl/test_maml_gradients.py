"""MAML's meta-gradient and curvature in float64 against finite differences and full Hessians."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.maml.losses import Batch, mean_kl, surrogate
from metarl.optim.trust_region import TrustRegionStep
from metarl.optim.vectors import flatten, unflatten

TASKS, SAMPLES = 3, 7
SPACES = {
    "gaussian": gym.spaces.Box(-1.0, 1.0, (2,), np.float64),
    "categorical": gym.spaces.Discrete(3),
}


def tiny_maml(space: gym.Space, inner_steps: int) -> MAML:
    torch.manual_seed(0)
    config = MAMLConfig(hidden_sizes=(4,), inner_steps=inner_steps, inner_lr=0.3, init_std=0.7, meta_batch=TASKS)
    maml = MAML(config, gym.spaces.Box(-np.inf, np.inf, (3,)), space, torch.device("cpu"))
    maml.policy.double()
    return maml


def random_batch(maml: MAML, seed: int) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    observations = torch.randn(TASKS, SAMPLES, 3, generator=rng, dtype=torch.float64)
    outputs = maml.outputs(maml.replicate(maml.parameters, TASKS), observations)
    actions = maml.distribution.sample(outputs, rng)
    advantages = torch.randn(TASKS, SAMPLES, generator=rng, dtype=torch.float64)
    weights = torch.full((TASKS, SAMPLES), 1 / SAMPLES, dtype=torch.float64)
    weights[0] = torch.tensor([0.2] * 5 + [0.0] * 2)  # task 0 has two samples of padding
    return Batch(observations, actions, advantages, weights)


def paper_objective(maml: MAML, vector, supports, query, old_outputs) -> torch.Tensor:
    """Algorithm 3 task by task with `torch.autograd`, written without `vmap` or the library's losses."""
    theta = unflatten(vector, maml.parameters)
    total = torch.zeros((), dtype=torch.float64)
    for task in range(TASKS):
        parameters = {name: value.clone().requires_grad_() for name, value in theta.items()}
        for batch in supports:
            log_probs = task_log_probs(maml, parameters, batch, task)
            loss = -(batch.weights[task] * batch.advantages[task] * log_probs).sum()
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            parameters = {
                name: (value - 0.3 * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
            }
        log_ratio = task_log_probs(maml, parameters, query, task) - maml.distribution.log_prob(
            old_outputs[task], query.actions[task]
        )
        total -= (query.weights[task] * query.advantages[task] * log_ratio.exp()).sum().detach()
    return total / TASKS


def task_log_probs(maml: MAML, parameters, batch, task):
    outputs = torch.func.functional_call(maml.policy, parameters, (batch.observations[task],))
    return maml.distribution.log_prob(outputs, batch.actions[task])


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_meta_gradient_equals_finite_differences_of_the_papers_objective(space, inner_steps):
    maml = tiny_maml(space, inner_steps)
    supports = [random_batch(maml, seed) for seed in range(inner_steps)]
    query = random_batch(maml, 10)
    vector = flatten(maml.parameters)
    old_outputs = maml._adapted_outputs(maml.parameters, supports, query.observations).detach()

    def loss(candidate):
        outputs = maml._adapted_outputs(unflatten(candidate, maml.parameters), supports, query.observations)
        return surrogate(maml.distribution, outputs, old_outputs, query)

    gradient = torch.func.grad(loss)(vector)
    step = 1e-6
    for index in range(len(vector)):
        offset = torch.zeros_like(vector)
        offset[index] = step
        above = paper_objective(maml, vector + offset, supports, query, old_outputs)
        below = paper_objective(maml, vector - offset, supports, query, old_outputs)
        assert gradient[index].item() == pytest.approx((above - below).item() / (2 * step), abs=1e-8, rel=1e-6)


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_curvature_product_equals_the_full_hessian_of_the_divergence(space, inner_steps, monkeypatch):
    maml = tiny_maml(space, inner_steps)
    supports = [random_batch(maml, seed) for seed in range(inner_steps)]
    query = random_batch(maml, 10)
    theta = maml.parameters
    vector = flatten(theta)
    old_outputs = maml._adapted_outputs(theta, supports, query.observations).detach()

    def divergence(candidate):
        outputs = maml._adapted_outputs(unflatten(candidate, theta), supports, query.observations)
        return mean_kl(maml.distribution, old_outputs, outputs, query.weights)

    hessian = torch.func.hessian(divergence)(vector)
    captured = {}

    def capture(vector, loss, gradient, curvature_product, evaluate, **_):
        captured.update(gradient=gradient, product=curvature_product, evaluate=evaluate, loss=loss)
        return TrustRegionStep(vector, loss, 0.0, 0, accepted=False)

    monkeypatch.setattr("metarl.algorithms.maml.algorithm.trust_region_step", capture)
    maml.outer_step(theta, supports, query)
    tangents = torch.randn(4, len(vector), dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for tangent in tangents:
        torch.testing.assert_close(captured["product"](tangent), hessian @ tangent, atol=1e-10, rtol=1e-8)
    loss, kl = captured["evaluate"](vector)
    assert kl == pytest.approx(0.0, abs=1e-12)
    assert loss == pytest.approx(captured["loss"], abs=1e-12)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_importance_ratios_are_one_before_the_outer_step(space):
    maml = tiny_maml(space, 1)
    supports, query = [random_batch(maml, 1)], random_batch(maml, 2)
    outputs = maml._adapted_outputs(maml.parameters, supports, query.observations).detach()
    expected = -(query.weights * query.advantages).sum(-1).mean()
    torch.testing.assert_close(surrogate(maml.distribution, outputs, outputs, query), expected)


def test_outer_step_lowers_the_loss_within_the_bound():
    maml = tiny_maml(SPACES["gaussian"], 1)
    supports, query = [random_batch(maml, 1)], random_batch(maml, 2)
    step = maml.outer_step(maml.parameters, supports, query)
    before = -(query.weights * query.advantages).sum(-1).mean().item()
    assert step.accepted
    assert step.loss < before
    assert 0 < step.kl <= maml.config.outer.max_kl


def test_batched_adaptation_equals_a_loop_over_tasks():
    maml = tiny_maml(SPACES["gaussian"], 1)
    batch = random_batch(maml, 1)
    adapted = maml.adapt(maml.replicate(maml.parameters, TASKS), [batch])
    for task in range(TASKS):
        parameters = {name: value.clone().requires_grad_() for name, value in maml.parameters.items()}
        loss = -(batch.weights[task] * batch.advantages[task] * task_log_probs(maml, parameters, batch, task)).sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
            torch.testing.assert_close(adapted[name][task], value.detach() - 0.3 * gradient)
