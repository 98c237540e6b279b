import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metarl.optim.conjugate_gradient import conjugate_gradient
from metarl.optim.guard import UpdateGuard
from metarl.optim.module_adam import ModuleAdam
from metarl.optim.trust_region import trust_region_step
from metarl.optim.vectors import flatten, unflatten

SETTINGS: dict[str, Any] = {
    "max_kl": 0.01,
    "cg_iterations": 10,
    "cg_damping": 0.0,
    "backtrack_ratio": 0.8,
    "backtrack_steps": 15,
}


def positive_definite(size: int, seed: int) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(size, dtype=torch.float64)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_conjugate_gradient_equals_solve(size: int, seed: int) -> None:
    matrix = positive_definite(size, seed)
    b = torch.randn(size, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    x = conjugate_gradient(lambda v: matrix @ v, b, iterations=10 * size, tolerance=1e-24)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), atol=1e-7, rtol=1e-7)


def test_conjugate_gradient_of_zero_is_zero() -> None:
    assert conjugate_gradient(lambda v: v, torch.zeros(3), iterations=5).tolist() == [0, 0, 0]


def test_vectors_round_trip() -> None:
    parameters = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7.0])}
    vector = flatten(parameters)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7]
    back = unflatten(vector, parameters)
    assert all(torch.equal(back[name], value) for name, value in parameters.items())


def test_trust_region_step_is_the_natural_gradient_scaled_to_the_bound() -> None:
    # loss g·x, divergence x²F/2: the step must be -sqrt(2 * 0.01 / gF⁻¹g) F⁻¹g
    fisher, gradient = torch.diag(torch.tensor([4.0, 1.0])).double(), torch.tensor([2.0, 1.0]).double()

    def evaluate(x: Tensor) -> tuple[float, float]:
        return (gradient @ x).item(), (x @ fisher @ x / 2).item() * (1 - 1e-9)

    step = trust_region_step(torch.zeros(2).double(), 0.0, gradient, lambda v: fisher @ v, evaluate, **SETTINGS)
    direction = torch.tensor([0.5, 1.0]).double()  # F⁻¹g, and gF⁻¹g = 2
    torch.testing.assert_close(step.vector, -((2 * 0.01 / 2) ** 0.5) * direction)
    assert (step.accepted, step.tried) == (True, 1)


@pytest.mark.parametrize("outcome", [(1.0, 0.001), (-1.0, 0.02), (float("nan"), 0.0), (-1.0, float("nan"))])
def test_failed_line_search_leaves_the_parameters_bit_identical(outcome: tuple[float, float]) -> None:
    vector = torch.randn(4)
    before = vector.clone()
    step = trust_region_step(vector, 0.0, torch.ones(4), lambda v: v, lambda _: outcome, **SETTINGS)
    assert torch.equal(step.vector, before)
    assert (step.accepted, step.tried) == (False, 15)


def test_line_search_shortens_until_the_divergence_fits() -> None:
    lengths: list[float] = []

    def evaluate(x: Tensor) -> tuple[float, float]:
        lengths.append(x.norm().item())
        return -1.0, 0.02 if len(lengths) < 3 else 0.005

    step = trust_region_step(torch.zeros(2), 0.0, torch.tensor([1.0, 0.0]), lambda v: v, evaluate, **SETTINGS)
    assert step.tried == 3
    assert lengths[1] / lengths[0] == pytest.approx(0.8)
    assert step.vector.norm().item() == pytest.approx(0.64 * lengths[0])


def test_no_gradient_no_step() -> None:
    step = trust_region_step(torch.ones(2), 0.5, torch.zeros(2), lambda v: v, lambda _: (0.0, 0.0), **SETTINGS)
    assert not step.accepted
    assert step.vector.tolist() == [1, 1]


@given(st.integers(0, 100))
def test_step_is_invariant_under_a_linear_reparametrisation(seed: int) -> None:
    """x = M y: the step in x equals M times the step in y."""
    size = 3
    fisher, matrix = positive_definite(size, seed), positive_definite(size, seed + 1)
    gradient = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def run(change: Tensor) -> Tensor:
        def evaluate(y: Tensor) -> tuple[float, float]:
            x = change @ y
            return (gradient @ x).item(), (x @ fisher @ x / 2).item() * (1 - 1e-6)

        curvature = change.T @ fisher @ change
        settings = SETTINGS | {"cg_iterations": 50}
        start = torch.zeros(size).double()
        step = trust_region_step(start, 0.0, change.T @ gradient, lambda v: curvature @ v, evaluate, **settings)
        return change @ step.vector

    torch.testing.assert_close(run(matrix), run(torch.eye(size).double()), atol=1e-5, rtol=1e-4)


def test_adam_of_a_module_equals_pytorchs_where_the_loss_reaches_and_leaves_the_rest() -> None:
    torch.manual_seed(0)
    used, idle = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)
    twin, idle_before = copy.deepcopy(used), copy.deepcopy(idle.state_dict())
    guard = UpdateGuard("lr")
    ours = ModuleAdam(torch.nn.ModuleList([used, idle]), 0.1, guard)
    theirs = torch.optim.Adam(twin.parameters(), 0.1)
    for step in range(3):
        inputs = torch.full((4, 3), 1.0 + step)
        theirs.zero_grad()
        twin(inputs).square().mean().backward()
        theirs.step()
        assert ours.step(used(inputs).square().mean())[-6:].eq(0).all()  # the idle layer's gradient
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(used.state_dict()[name], value)
    for name, value in idle_before.items():
        assert torch.equal(idle.state_dict()[name], value)
    before = used.weight.detach().clone()
    ours.step(used(torch.full((4, 3), torch.nan)).mean())
    assert torch.equal(used.weight, before)
    assert guard.skipped == 1
