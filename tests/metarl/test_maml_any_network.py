"""MAML over networks other than the MLP: derivatives by `torch.func`, equal to the MLP's kernel where both apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maml_autodiff import autodiff_outputs
from maml_objectives import INNER_RULES, SPACES, make_maml, random_objective
from residual_policy import residual_policy
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig, MAMLPPOConfig
from metarl.algorithms.maml.linearization import PolicyOutputs
from metarl.algorithms.maml.losses import mean_kl
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.trust_region import curvature_product
from metarl.evaluation.protocol import evaluate
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.derivatives.functional import FunctionalDerivatives
from metarl.policies.derivatives.mlp import MLPDerivatives
from metarl.policies.distributions import ActionDistribution, action_distribution
from metarl.policies.feedforward import FeedForwardPolicy
from metarl.seeding import Stream, generator
from metarl_envs.navigation import Navigation

RULES = [
    pytest.param(name, credit, id=f"{name}{'-credit' * credit}")
    for name in INNER_RULES
    for credit in (False, True)
    if not (credit and "ratio" in name)
]


def small_residual_policy(observation_size: int, distribution: ActionDistribution) -> FeedForwardPolicy:
    return residual_policy(observation_size, distribution, (4, 4))


def products(objective: MetaObjective) -> dict[str, Tensor]:
    """Gradients at theta and at another candidate, where ratios are not 1, and products with the curvature."""
    theta, old = objective.theta, objective.outputs(objective.theta)
    draw = torch.Generator().manual_seed(5)
    direction = torch.randn(len(flatten(theta)), generator=draw, dtype=torch.float64)
    candidate = unflatten(flatten(theta) + 0.1 * direction, theta)

    def loss_and_penalty(new: PolicyOutputs) -> Tensor:
        return objective.surrogate(new, old, clip=0.2) + 0.7 * objective.support_kl(new, old)

    linear = objective.linearize(theta)
    some = objective.subsampled(2), linear.subsampled(2)
    return {
        "direction": direction,
        "query": linear.outputs.query,
        "gradient": objective.gradient(lambda new: objective.surrogate(new, old), linear)[0],
        "gradient elsewhere": objective.gradient(loss_and_penalty, objective.linearize(candidate, old))[0],
        "curvature": curvature_product(objective, linear)(direction),
        "curvature of some samples": curvature_product(*some)(direction),
        "reptile": flatten(objective.inner.adapt(objective.adapted, theta, objective.query)),
    }


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("inner", "credit"), RULES)
def test_the_kernel_of_the_mlp_equals_torch_func(inner: str, credit: bool, space: str, steps: int) -> None:
    maml = make_maml(space, inner=INNER_RULES[inner] | {"steps": steps}, hidden_sizes=(4, 3))
    objective = random_objective(maml, credit)
    assert isinstance(maml.inner.derivatives, MLPDerivatives)
    by_kernel = products(objective)
    maml.inner.derivatives = FunctionalDerivatives(maml.policy)
    for name, value in products(objective).items():
        assert value.norm() > 0
        torch.testing.assert_close(by_kernel[name], value, atol=1e-12, rtol=1e-11)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("inner", [name for name in INNER_RULES if "fixed" in name])
def test_gradient_and_curvature_of_a_residual_network(inner: str, space: str, steps: int) -> None:
    """Against the gradient and the Hessian of the whole way from theta to loss and divergence, by reverse mode only."""
    maml = make_maml(space, inner=INNER_RULES[inner] | {"steps": steps}, make_policy=small_residual_policy)
    assert isinstance(maml.inner.derivatives, FunctionalDerivatives)
    objective = random_objective(maml)
    theta, old = objective.theta, objective.outputs(objective.theta)
    vector = flatten(theta)

    def outputs(candidate: Tensor) -> PolicyOutputs:
        return autodiff_outputs(maml, objective, unflatten(candidate, theta), old)

    def divergence(candidate: Tensor) -> Tensor:
        return mean_kl(maml.distribution, old.query, outputs(candidate).query, objective.query.weights)

    got = products(objective)
    expected = torch.func.grad(lambda candidate: objective.surrogate(outputs(candidate), old))(vector)
    torch.testing.assert_close(got["gradient"], expected, atol=1e-12, rtol=1e-10)
    direction = got["direction"]
    expected = torch.func.vjp(torch.func.grad(divergence), vector)[1](direction)[0]
    torch.testing.assert_close(got["curvature"], expected, atol=1e-10, rtol=1e-8)


def test_head_only_adaptation_of_a_residual_network_leaves_the_body() -> None:
    maml = make_maml(inner={"adapted": "head"}, make_policy=small_residual_policy)
    adapted = random_objective(maml).adapted
    for name, value in maml.parameters.items():
        assert torch.equal(adapted[name], value.expand_as(adapted[name])) == (not name.startswith("head.")), name


@pytest.mark.learning
def test_a_residual_network_learns_to_find_goals_that_no_single_policy_finds() -> None:
    torch.manual_seed(0)
    distribution = Navigation(num_test_tasks=40, horizon=50)
    config = MAMLConfig(
        meta_batch=10,
        episodes=20,
        parallel_episodes=20,
        outer=MAMLPPOConfig(lr=3e-3, epochs=3),
        normalize_observations=False,
    )
    policy = residual_policy(2, action_distribution(distribution.action_space), (32, 32), init_std=1.0, min_std=0.5)
    maml = MAML(config, distribution.observation_space, distribution.action_space, torch.device("cpu"), policy)
    env = distribution.make_env(maml.num_envs)
    for iteration in range(25):
        tasks = distribution.sample(config.meta_batch, generator(1, Stream.TASKS, iteration))
        sampler = Sampler([env], tasks, (1, Stream.SAMPLING, iteration), maml.device)
        maml.meta_iteration(sampler, torch.Generator())
    held_out = distribution.test_tasks
    agent = maml.make_agent(seed=1)
    evaluation = evaluate(agent, distribution, held_out, adaptation_episodes=(0, 20), episodes=1, seed=1)
    adapted = evaluation.overall[1]
    # Standing still in the middle is the best that a policy can do without knowing the goal.
    standing_still = -50 * np.mean([np.linalg.norm(task.parameters) for task in held_out])
    assert adapted.return_gain is not None
    assert adapted.return_gain.low > 0
    assert adapted.returns.low > 0.7 * standing_still
