"""The explicit passes equal `torch.func` on the policy module, in float64."""

import pytest
import torch
from torch.func import functional_call, hessian, jacrev, jvp, vmap

from metarl.policies.distributions import Categorical, Gaussian
from metarl.policies.mlp import MLPPolicy
from metarl.policies.passes import MLPPasses

TASKS, SAMPLES = 3, 5


class Case:
    """A policy, its passes, parameters of each task (or shared by all) and a direction in their space."""

    def __init__(self, distribution, activation, shared, log_std=-0.3):
        torch.manual_seed(0)
        self.policy = MLPPolicy(4, distribution, (6, 5), activation, 0.7, 0.5).double()
        self.policy.normalizer.update(3 * torch.randn(50, 4) + 1, torch.ones(50, dtype=torch.bool))
        self.passes = MLPPasses(self.policy)
        draw = torch.Generator().manual_seed(1)

        def values(axis):
            return {
                name: torch.randn(*axis, *value.shape, generator=draw, dtype=torch.float64)
                for name, value in self.policy.named_parameters()
            }

        axis = () if shared else (TASKS,)
        self.parameters, self.direction = values(axis), values(axis)
        if "head.log_std" in self.parameters:  # one of the components is held by its floor, log 0.5
            self.parameters["head.log_std"][..., 0] = log_std
            self.parameters["head.log_std"][..., 1] = -2.0
        self.observations = torch.randn(TASKS, SAMPLES, 4, generator=draw, dtype=torch.float64)
        self.cotangents = torch.randn(TASKS, SAMPLES, distribution.parameter_size, generator=draw, dtype=torch.float64)

    def per_task(self, values):
        return {name: value.expand(TASKS, *like.shape) for name, value, like in self._with_shapes(values)}

    def _with_shapes(self, values):
        return [(name, values[name], like) for name, like in self.policy.named_parameters()]

    def outputs(self, parameters, observations):
        return functional_call(self.policy, parameters, (observations,))


@pytest.fixture(
    params=[(d, a, s) for d in (Gaussian(2), Categorical(3)) for a in ("tanh", "relu") for s in (True, False)],
    ids=lambda p: f"{type(p[0]).__name__}-{p[1]}-{'shared' if p[2] else 'per task'}",
)
def case(request):
    return Case(*request.param)


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-12, rtol=1e-10)


def test_forward_equals_the_module(case) -> None:
    expected = vmap(case.outputs)(case.per_task(case.parameters), case.observations)
    torch.testing.assert_close(case.passes.forward(case.parameters, case.observations).outputs, expected)


def test_backward_equals_reverse_differentiation(case) -> None:
    def inner_product(parameters, observations, cotangents):
        return (case.outputs(parameters, observations) * cotangents).sum()

    trace = case.passes.forward(case.parameters, case.observations)
    got = case.passes.backward(case.parameters, trace, case.cotangents).parameters
    assert_same(got, vmap(jacrev(inner_product))(case.per_task(case.parameters), case.observations, case.cotangents))


def test_tangent_equals_forward_differentiation(case) -> None:
    def moved(parameters, direction, observations):
        return jvp(lambda p: case.outputs(p, observations), (parameters,), (direction,))[1]

    trace = case.passes.forward(case.parameters, case.observations)
    got = case.passes.tangent(case.parameters, trace, case.direction)
    expected = vmap(moved)(case.per_task(case.parameters), case.per_task(case.direction), case.observations)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)


def test_second_equals_the_hessian_of_a_loss_times_the_direction(case) -> None:
    """The loss is sum(u o + o³ / 6), whose derivative is u + o² / 2 and whose curvature is o."""

    def loss(parameters, observations, cotangents):
        outputs = case.outputs(parameters, observations)
        return (cotangents * outputs + outputs**3 / 6).sum()

    def product(parameters, direction, observations, cotangents):
        full = hessian(loss)(parameters, observations, cotangents)
        return {
            row: sum(torch.tensordot(blocks[column], direction[column], direction[column].ndim) for column in direction)
            for row, blocks in full.items()
        }

    trace = case.passes.forward(case.parameters, case.observations)
    gradient = case.passes.backward(case.parameters, trace, case.cotangents + trace.outputs**2 / 2)
    got = case.passes.second(case.parameters, trace, gradient, case.direction, lambda tangent: trace.outputs * tangent)
    expected = vmap(product)(
        case.per_task(case.parameters), case.per_task(case.direction), case.observations, case.cotangents
    )
    assert_same(got, expected)
