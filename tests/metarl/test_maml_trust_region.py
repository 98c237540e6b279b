"""MAML-TRPO: the Gauss-Newton product, the step's invariances, and what a failed step leaves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maml_autodiff import autodiff_outputs
from maml_objectives import INNER_RULES, SPACES, make_maml, random_objective
from torch import Tensor

from metarl.algorithms.maml.config import MAMLTRPOConfig
from metarl.algorithms.maml.inner import InnerRule
from metarl.algorithms.maml.linearization import Linearization, PolicyOutputs
from metarl.algorithms.maml.losses import Batch, importance_ratios, mean_kl, subsample_indices
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.trust_region import TrustRegion
from metarl.optim.trust_region import TrustRegionStep
from metarl.optim.vectors import Parameters, flatten, unflatten

TRUST_REGION = "metarl.algorithms.maml.outer.trust_region.trust_region_step"
EXACT = MAMLTRPOConfig(cg_iterations=200, cg_damping=0.0)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("inner", "credit"),
    [(name, credit) for name in INNER_RULES for credit in (False, True) if not (credit and "ratio" in name)],
)
def test_curvature_product_equals_the_full_hessian_of_the_divergence(
    inner: str, credit: bool, space: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For first-order rules the Hessian is that of the divergence with the inner gradients held constant."""
    maml = make_maml(space, inner=INNER_RULES[inner] | {"steps": steps})
    objective = random_objective(maml, credit)
    vector = flatten(objective.theta)
    old = objective.outputs(objective.theta)
    captured: dict[str, Any] = {}

    def capture(
        vector: Tensor,
        loss: float,
        gradient: Tensor,
        curvature_product: Callable[[Tensor], Tensor],
        evaluate: Callable[[Tensor], tuple[float, float]],
        **_: Any,
    ) -> TrustRegionStep:
        captured.update(product=curvature_product, evaluate=evaluate, loss=loss)
        return TrustRegionStep(vector, loss, 0.0, 0, accepted=False)

    monkeypatch.setattr(TRUST_REGION, capture)
    maml.outer.step(objective)

    def divergence(candidate: Tensor) -> Tensor:
        new = autodiff_outputs(maml, objective, unflatten(candidate, objective.theta), old)
        kl = mean_kl(maml.distribution, old.query, new.query, objective.query.weights)
        if credit:
            for batch, outputs, old_outputs in zip(objective.supports, new.supports, old.supports, strict=True):
                kl = kl + mean_kl(maml.distribution, old_outputs, outputs, batch.weights)
        return kl

    hessian = torch.func.hessian(divergence)(vector)
    for direction in torch.randn(3, len(vector), dtype=torch.float64, generator=torch.Generator().manual_seed(5)):
        torch.testing.assert_close(captured["product"](direction), hessian @ direction, atol=1e-10, rtol=1e-8)
    loss, kl = captured["evaluate"](vector)
    assert (loss, kl) == (pytest.approx(captured["loss"], abs=1e-14), pytest.approx(0.0, abs=1e-14))


@pytest.mark.parametrize("inner", INNER_RULES)
def test_curvature_from_every_second_sample_is_exact_where_samples_come_in_pairs(
    inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maml = make_maml(inner=INNER_RULES[inner] | {"steps": 2})
    objective = random_objective(maml)

    def double(batch: Batch) -> Batch:
        twice = type(batch)(*(values.repeat_interleave(2, dim=1) for values in batch))
        return twice._replace(weights=twice.weights / 2)

    doubled = replace(
        objective, supports=[double(batch) for batch in objective.supports], query=double(objective.query)
    )
    products, gradients = [], []

    def capture(
        vector: Tensor,
        loss: float,
        gradient: Tensor,
        curvature_product: Callable[[Tensor], Tensor],
        evaluate: Callable[[Tensor], tuple[float, float]],
        **_: Any,
    ) -> TrustRegionStep:
        products.append(curvature_product(torch.ones_like(vector)))
        gradients.append(gradient)
        return TrustRegionStep(vector, loss, 0.0, 0, accepted=False)

    monkeypatch.setattr(TRUST_REGION, capture)
    TrustRegion(MAMLTRPOConfig()).step(objective)
    TrustRegion(MAMLTRPOConfig(fisher_subsample=0.5)).step(doubled)
    assert products[0].norm() > 0
    torch.testing.assert_close(products[1], products[0], atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-12, rtol=1e-9)
    TrustRegion(MAMLTRPOConfig(fisher_subsample=0.5)).step(objective)  # other samples, another curvature
    assert (products[2] - products[0]).norm() > 1e-3 * products[0].norm()
    torch.testing.assert_close(gradients[2], gradients[0], atol=1e-12, rtol=1e-9)


def test_subsampled_indices_are_of_all_steps_of_an_episode_alike() -> None:
    """With every fifth sample of episodes of 100 steps the first step would be taken five times too often."""
    at = subsample_indices(100 * 1000, 5, torch.device("cpu"))
    assert len(at) == 100 * 1000 / 5
    torch.testing.assert_close(at // 5, torch.arange(len(at)))
    counts = torch.bincount(at % 100, minlength=100)
    assert (counts - 200).abs().max() < 5 * (1000 * 0.2 * 0.8) ** 0.5  # five standard deviations
    assert torch.equal(at, subsample_indices(100 * 1000, 5, torch.device("cpu")))


@given(st.integers(1, 200), st.integers(1, 20))
def test_one_of_every_so_many_samples_is_taken(samples: int, every: int) -> None:
    at = subsample_indices(samples, every, torch.device("cpu"))
    assert len(at) == -(-samples // every)
    assert at.max() < samples
    assert torch.equal(at // every, torch.arange(len(at)))


@pytest.mark.parametrize("estimator", ["log_likelihood", "likelihood_ratio"])
@pytest.mark.parametrize("space", SPACES)
def test_importance_ratios_are_exactly_one_before_the_outer_step(space: str, estimator: str) -> None:
    maml = make_maml(space, inner={"steps": 2, "estimator": estimator})
    objective = random_objective(maml)
    old = objective.outputs(objective.theta)
    new = objective.outputs(objective.theta, old)
    ones = torch.ones_like(objective.query.weights)
    assert torch.equal(importance_ratios(maml.distribution, new.query, old.query, objective.query), ones)
    for batch, outputs, old_outputs in zip(objective.supports, new.supports, old.supports, strict=True):
        assert torch.equal(importance_ratios(maml.distribution, outputs, old_outputs, batch), ones)
    expected = -(objective.query.weights * objective.query.advantages).sum(-1).mean()
    assert objective.surrogate(new, old).item() == expected.item()


def test_outer_step_lowers_the_loss_within_the_bound() -> None:
    maml = make_maml()
    objective = random_objective(maml)
    step = maml.outer.step(objective)
    before = -(objective.query.weights * objective.query.advantages).sum(-1).mean().item()
    assert step.metrics["train/line_search_failed"] == 0
    assert step.metrics["train/loss"] < before
    assert 0 < step.metrics["train/kl"] <= MAMLTRPOConfig().max_kl


@pytest.mark.parametrize("learned_lr", [False, True])
def test_a_failed_line_search_leaves_every_parameter_bit_identical(learned_lr: bool) -> None:
    maml = make_maml(inner={"learned_lr": learned_lr}, outer=MAMLTRPOConfig(max_kl=1e6, backtrack_steps=1))
    objective = random_objective(maml)
    before = {name: value.clone() for name, value in maml.state_dict().items()}
    metrics = maml._update(objective)
    assert metrics["train/line_search_failed"] == 1
    assert all(torch.equal(value, before[name]) for name, value in maml.state_dict().items())


@pytest.mark.parametrize("seed", range(3))
def test_step_is_invariant_under_a_linear_reparametrisation(seed: int) -> None:
    """Learning y with theta = M y leads to the same policies as learning theta: the natural gradient's point."""
    maml = make_maml(hidden_sizes=(), outer=EXACT)
    objective = random_objective(maml, samples=20)
    theta = objective.theta
    size = len(flatten(theta))
    rng = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=rng, dtype=torch.float64) + 3 * torch.eye(size, dtype=torch.float64)

    class Composed(Linearization):
        """Products with J M, the Jacobian with respect to y, and with its transpose."""

        def __init__(self, linear: Linearization) -> None:
            self._linear, self.outputs = linear, linear.outputs

        def jvp(self, direction: Parameters, *, to_supports: bool) -> PolicyOutputs:
            return self._linear.jvp(unflatten(matrix @ direction["y"], objective.theta), to_supports=to_supports)

        def vjp(self, output_gradient: PolicyOutputs) -> Parameters:
            return {"y": matrix.T @ flatten(self._linear.vjp(output_gradient))}

        def subsampled(self, every: int) -> Linearization:
            return Composed(self._linear.subsampled(every))

    class Reparametrised(MetaObjective):
        def outputs(self, theta: Parameters, old: PolicyOutputs | None = None) -> PolicyOutputs:
            return objective.outputs(unflatten(matrix @ theta["y"], objective.theta), old)

        def linearize(self, theta: Parameters, old: PolicyOutputs | None = None) -> Linearization:
            return Composed(objective.linearize(unflatten(matrix @ theta["y"], objective.theta), old))

    fields = {name: getattr(objective, name) for name in MetaObjective.__dataclass_fields__}
    other = Reparametrised(**fields | {"theta": {"y": torch.linalg.solve(matrix, flatten(theta))}})
    rule = TrustRegion(EXACT)
    expected, actual = flatten(rule.step(objective).theta), matrix @ rule.step(other).theta["y"]
    assert (expected - flatten(theta)).norm() > 0.01
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("credit", [False, True])
def test_task_order_does_not_matter(credit: bool) -> None:
    outer = MAMLTRPOConfig(cg_iterations=5)  # each iteration multiplies rounding errors, a hundredfold here
    maml = make_maml(inner={"steps": 2, "learned_lr": True}, outer=outer)
    objective = random_objective(maml, credit)
    order = torch.tensor([2, 0, 1])

    def reorder(batch: Batch) -> Batch:
        return type(batch)(*(values[order] for values in batch))

    other = replace(
        objective,
        supports=[reorder(batch) for batch in objective.supports],
        query=reorder(objective.query),
        credit=None if objective.credit is None else objective.credit[order],
    )
    steps = maml.outer.step(objective).theta, maml.outer.step(other).theta
    assert flatten(steps[0]).ne(flatten(objective.theta)).any()
    torch.testing.assert_close(flatten(steps[0]), flatten(steps[1]), atol=1e-10, rtol=1e-8)


def test_what_is_in_padding_does_not_matter() -> None:
    """Observations and actions behind an episode's end may be anything, however unlikely."""
    maml = make_maml(inner={"steps": 2, "estimator": "likelihood_ratio"})
    objective = random_objective(maml, credit=True)

    def spoil(batch: Batch) -> Batch:
        padding = batch.weights == 0
        assert padding.any()
        return batch._replace(
            observations=torch.where(padding.unsqueeze(-1), 1e3, batch.observations),
            actions=torch.where(padding.unsqueeze(-1), -1e3, batch.actions),
            advantages=torch.where(padding, 1e3, batch.advantages),
        )

    other = replace(objective, supports=[spoil(batch) for batch in objective.supports], query=spoil(objective.query))
    moved = flatten(maml.outer.step(objective).theta)
    assert moved.ne(flatten(objective.theta)).any()
    torch.testing.assert_close(flatten(maml.outer.step(other).theta), moved, atol=1e-10, rtol=1e-8)


def test_inner_rule_takes_learned_step_sizes_from_the_candidate() -> None:
    maml = make_maml(inner={"learned_lr": True})
    objective = random_objective(maml)
    doubled = {name: 2 * value if name.startswith("step_sizes.") else value for name, value in objective.theta.items()}
    rule: InnerRule = maml.inner
    once = rule.step(maml.parameters, objective.theta, objective.supports[0]).end
    twice = rule.step(maml.parameters, doubled, objective.supports[0]).end
    for name, value in maml.parameters.items():
        torch.testing.assert_close(twice[name] - value, 2 * (once[name] - value), atol=1e-12, rtol=1e-9)
    assert len(objective.theta) == 2 * len(maml.parameters)
