"""Derivatives of policies, by `torch.func` and by the kernel of the MLP, against the module's full Jacobian."""

from __future__ import annotations

import pytest
import torch
from residual_policy import residual_policy
from torch import Tensor
from torch.func import functional_call, grad, jacrev, jvp, vmap

from metarl.optim.vectors import Parameters
from metarl.policies.derivatives import ForwardPass, PolicyDerivatives, policy_derivatives
from metarl.policies.derivatives.functional import FunctionalDerivatives
from metarl.policies.derivatives.mlp import MLPDerivatives
from metarl.policies.distributions import ActionDistribution, Categorical, Gaussian
from metarl.policies.feedforward import FeedForwardPolicy
from metarl.policies.mlp import MLPPolicy

TASKS, SAMPLES, OBSERVATIONS = 3, 5, 4
DISTRIBUTIONS: dict[str, ActionDistribution] = {"Gaussian": Gaussian(2), "Categorical": Categorical(3)}


def make_policy(kind: str, distribution: ActionDistribution) -> FeedForwardPolicy:
    torch.manual_seed(0)
    if kind == "residual":
        policy = residual_policy(OBSERVATIONS, distribution, (6, 6), init_std=0.7, min_std=0.5)
    else:
        policy = MLPPolicy(OBSERVATIONS, distribution, (6, 5), kind, 0.7, 0.5)
    policy = policy.double()
    policy.normalizer.update(3 * torch.randn(50, OBSERVATIONS) + 1, torch.ones(50, dtype=torch.bool))
    return policy


class Case:
    """A policy, its derivatives, parameters of each task (or shared by all) and a direction in their space.

    Args:
        kind: "residual", or the activation of a multi-layer perceptron.
        distribution: The action distribution.
        shared: Names that begin with one of these are shared by all tasks.
        functional: True takes the derivatives by `torch.func`.
    """

    def __init__(
        self, kind: str, distribution: ActionDistribution, shared: tuple[str, ...], functional: bool, log_std: float
    ) -> None:
        self.policy = make_policy(kind, distribution)
        self.derivatives: PolicyDerivatives = (
            FunctionalDerivatives(self.policy) if functional else policy_derivatives(self.policy)
        )
        assert isinstance(self.derivatives, FunctionalDerivatives if functional else MLPDerivatives)
        draw = torch.Generator().manual_seed(1)

        def values() -> Parameters:
            return {
                name: torch.randn(
                    *(() if name.startswith(shared) else (TASKS,)), *value.shape, generator=draw, dtype=torch.float64
                )
                for name, value in self.policy.named_parameters()
            }

        self.parameters, self.direction = values(), values()
        if "head.log_std" in self.parameters:  # one of the components is held by its floor, log 0.5
            self.parameters["head.log_std"][..., 0] = log_std
            self.parameters["head.log_std"][..., 1] = -2.0
        shape = (TASKS, SAMPLES)
        self.observations = torch.randn(*shape, OBSERVATIONS, generator=draw, dtype=torch.float64)
        self.output_gradient = torch.randn(*shape, distribution.parameter_size, generator=draw, dtype=torch.float64)

    def per_task(self, values: Parameters) -> Parameters:
        return {name: values[name].expand(TASKS, *like.shape) for name, like in self.policy.named_parameters()}

    def outputs(self, parameters: Parameters, observations: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.policy, parameters, (observations,))
        return outputs

    def forward(self) -> ForwardPass:
        return self.derivatives.forward(self.parameters, self.observations)


KINDS = [("tanh", False), ("relu", False), ("tanh", True), ("relu", True), ("residual", True)]
SHARED = {"shared": ("body.", "head."), "per task": ("none",), "shared body": ("body.",)}


@pytest.fixture(params=[(*kind, d, s) for kind in KINDS for d in DISTRIBUTIONS for s in SHARED], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    kind, functional, distribution, shared = request.param
    return Case(kind, DISTRIBUTIONS[distribution], SHARED[shared], functional, log_std=-0.3)


def assert_same(got: Parameters, expected: Parameters) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-12, rtol=1e-10)


def test_forward_equals_the_module(case: Case) -> None:
    expected = vmap(case.outputs)(case.per_task(case.parameters), case.observations)
    torch.testing.assert_close(case.forward().outputs, expected, atol=1e-14, rtol=1e-12)


def test_vjp_equals_reverse_differentiation(case: Case) -> None:
    def inner_product(parameters: Parameters, observations: Tensor, output_gradient: Tensor) -> Tensor:
        return (case.outputs(parameters, observations) * output_gradient).sum()

    got = case.derivatives.vjp(case.parameters, case.forward(), case.output_gradient).parameters
    arguments = (case.per_task(case.parameters), case.observations, case.output_gradient)
    assert_same(got, vmap(jacrev(inner_product))(*arguments))


def test_jvp_equals_forward_differentiation(case: Case) -> None:
    def moved(parameters: Parameters, direction: Parameters, observations: Tensor) -> Tensor:
        product: Tensor = jvp(lambda p: case.outputs(p, observations), (parameters,), (direction,))[1]
        return product

    other = {"step_sizes.body.0.bias": torch.ones(1)}  # names that are not the policy's are ignored
    got = case.derivatives.jvp(case.parameters, case.forward(), case.direction | other)
    expected = vmap(moved)(case.per_task(case.parameters), case.per_task(case.direction), case.observations)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)


def test_hessian_product_equals_the_hessian_of_a_loss_times_the_direction(case: Case) -> None:
    """The loss is sum(u o + o³ / 6), whose derivative is u + o² / 2 and whose second derivative is o."""

    def loss(parameters: Parameters, observations: Tensor, output_gradient: Tensor) -> Tensor:
        outputs = case.outputs(parameters, observations)
        return (output_gradient * outputs + outputs**3 / 6).sum()

    def product(
        parameters: Parameters, direction: Parameters, observations: Tensor, output_gradient: Tensor
    ) -> Parameters:
        # not torch.func.hessian, whose forward mode is wrong for layer norm within vmap (torch 2.13)
        full = jacrev(grad(loss))(parameters, observations, output_gradient)
        return {
            row: torch.stack(
                [torch.tensordot(blocks[name], direction[name], direction[name].ndim) for name in direction]
            ).sum(0)
            for row, blocks in full.items()
        }

    forward = case.forward()
    gradient = case.derivatives.vjp(case.parameters, forward, case.output_gradient + forward.outputs**2 / 2)
    got = case.derivatives.hessian_product(
        case.parameters, forward, gradient, case.direction, lambda moved: forward.outputs * moved
    )
    expected = vmap(product)(
        case.per_task(case.parameters), case.per_task(case.direction), case.observations, case.output_gradient
    )
    assert_same(got, expected)


def test_the_kernel_is_for_the_mlp_itself_and_for_no_subclass() -> None:
    """A subclass may compute something else in its forward pass."""

    class Doubled(MLPPolicy):
        def forward(self, observations: Tensor) -> Tensor:
            return 2 * super().forward(observations)

    settings = (OBSERVATIONS, Categorical(3), (6,), "tanh", 0.7, 0.5)
    assert isinstance(policy_derivatives(MLPPolicy(*settings)), MLPDerivatives)
    doubled = Doubled(*settings)
    observations = torch.randn(1, SAMPLES, OBSERVATIONS)
    parameters = {name: value.detach() for name, value in doubled.named_parameters()}
    outputs = policy_derivatives(doubled).forward(parameters, observations).outputs
    torch.testing.assert_close(outputs, doubled(observations).detach())
