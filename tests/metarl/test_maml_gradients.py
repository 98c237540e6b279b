"""Meta-gradients of every inner x outer rule in float64 against finite differences of the papers' objectives."""

from collections.abc import Callable
from typing import Any

import maml_reference as reference
import pytest
import torch
from maml_objectives import INNER_RULES, SPACES, TASKS, make_maml, outer_goes_with, random_objective
from torch import Tensor

from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLPPOConfig, MAMLTRPOConfig, ProMPConfig, ReptileConfig, VPGConfig
from metarl.algorithms.maml.losses import importance_ratios
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.optim.trust_region import TrustRegionStep
from metarl.optim.vectors import flatten, unflatten

OUTER_RULES = {
    "trpo": MAMLTRPOConfig(),
    "ppo": MAMLPPOConfig(lr=0.05, clip=0.1, epochs=3),
    "promp": ProMPConfig(lr=0.05, clip=0.1, epochs=3, inner_kl_penalty=0.7),
    "vpg": VPGConfig(),
}
MODULES = {"trpo": "trust_region", "ppo": "clipped", "promp": "clipped", "vpg": "policy_gradient"}
COMBINATIONS = [
    pytest.param(inner, outer, credit, id=f"{inner}-{outer}{'-credit' * credit}")
    for inner, settings in INNER_RULES.items()
    for outer, config in OUTER_RULES.items()
    for credit in (False, True)
    if outer_goes_with(config, settings, credit)
]
STEP = 1e-6
Loss = Callable[[Tensor], float]


def captured_gradients(
    maml: MAML, objective: MetaObjective, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Tensor, Tensor]]:
    """Pairs of the point and the gradient taken there, for each of the outer rule's gradient steps."""
    taken = []
    module = f"metarl.algorithms.maml.outer.{MODULES[maml.config.outer.kind]}"
    if maml.config.outer.kind == "trpo":

        def capture(vector: Tensor, loss: Any, gradient: Tensor, *_: Any, **__: Any) -> Any:
            taken.append((vector, gradient))
            return TrustRegionStep(vector, loss, 0.0, 0, accepted=False)

        monkeypatch.setattr(f"{module}.trust_region_step", capture)
    else:
        from metarl.optim.adam import adam_step

        def capture_adam(vector: Tensor, gradient: Tensor, *arguments: Any) -> Any:
            taken.append((vector, gradient))
            return adam_step(vector, gradient, *arguments)

        monkeypatch.setattr(f"{module}.adam_step", capture_adam)
    maml.outer.step(objective)
    return taken


def reference_loss(maml: MAML, objective: MetaObjective) -> Callable[[Tensor], Loss]:
    """The paper's objective as a function of the flat meta-parameters."""
    inner, outer = maml.config.inner, maml.config.outer
    batches = (objective.supports, objective.query)
    old = reference.sampling_outputs(inner, objective.theta, *batches)
    terms: dict[str, Any] = {"credit": objective.credit, "clip": getattr(outer, "clip", None)}
    terms["penalty"] = getattr(outer, "inner_kl_penalty", 0.0)

    def loss_near(base: Tensor) -> Loss:
        """First-order rules take the inner gradients of `base`, the point that is differentiated at."""
        constants = None
        if inner.first_order:
            constants = reference.inner_gradients(inner, unflatten(base, objective.theta), objective.supports, old[1])
        return lambda vector: reference.objective(
            inner, unflatten(vector, objective.theta), *batches, old, constants=constants, **terms
        )

    return loss_near


def assert_is_gradient(loss: Loss, vector: Tensor, gradient: Tensor, directions: int = 3) -> None:
    """Compares with central differences along random directions."""
    rng = torch.Generator().manual_seed(7)
    for _ in range(directions):
        direction = torch.randn(len(vector), generator=rng, dtype=torch.float64)
        difference = (loss(vector + STEP * direction) - loss(vector - STEP * direction)) / (2 * STEP)
        assert (gradient @ direction).item() == pytest.approx(difference, abs=2e-8, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("inner", "outer", "credit"), COMBINATIONS)
def test_gradient_is_that_of_the_papers_objective(
    inner: str, outer: str, credit: bool, space: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maml = make_maml(
        space, inner=INNER_RULES[inner] | {"steps": steps}, outer=OUTER_RULES[outer], exploration_credit=float(credit)
    )
    objective = random_objective(maml, credit)
    taken = captured_gradients(maml, objective, monkeypatch)
    loss_near = reference_loss(maml, objective)
    assert len(taken) == getattr(OUTER_RULES[outer], "epochs", 1)
    assert torch.equal(taken[0][0], flatten(objective.theta))
    for vector, gradient in (taken[0], taken[-1]):  # the last one where ratios are not 1
        assert_is_gradient(loss_near(vector), vector, gradient)


def test_every_coordinate_of_one_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    maml = make_maml(inner={"steps": 2, "learned_lr": True}, exploration_credit=1.0)
    objective = random_objective(maml, credit=True)
    [(vector, gradient)] = captured_gradients(maml, objective, monkeypatch)
    loss = reference_loss(maml, objective)(vector)
    assert len(vector) == 2 * (2 * 3 + 3 + 3 * 2 + 2 + 2)
    for index in range(len(vector)):
        offset = torch.zeros_like(vector)
        offset[index] = STEP
        difference = (loss(vector + offset) - loss(vector - offset)) / (2 * STEP)
        assert gradient[index].item() == pytest.approx(difference, abs=2e-8, rel=1e-6)


def test_clipping_is_at_work_where_gradients_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    maml = make_maml(outer=OUTER_RULES["ppo"])
    objective = random_objective(maml)
    vector, _ = captured_gradients(maml, objective, monkeypatch)[-1]
    old = objective.outputs(objective.theta)
    new = objective.outputs(unflatten(vector, objective.theta), old)
    ratios = importance_ratios(maml.distribution, new.query, old.query, objective.query)
    assert 0 < ((ratios - 1).abs() > 0.1).sum() < ratios.numel()


@pytest.mark.parametrize("space", SPACES)
def test_first_order_gradient_is_that_of_the_adapted_parameters(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FOMAML as Finn et al. (2017, section 5.2) put it: the mean of the query gradients at the adapted parameters."""
    maml = make_maml(space, inner={"first_order": True, "steps": 2}, outer=VPGConfig())
    objective = random_objective(maml)
    [(_, gradient)] = captured_gradients(maml, objective, monkeypatch)
    query, expected = objective.query, torch.zeros_like(gradient)
    for task in range(TASKS):
        leaves = {name: value[task].clone().requires_grad_() for name, value in objective.adapted.items()}
        log_probs = reference.log_prob(reference.policy(leaves, query.observations[task]), query.actions[task])
        loss = -(query.weights[task] * query.advantages[task] * log_probs).sum() / TASKS
        expected += torch.cat([x.reshape(-1) for x in torch.autograd.grad(loss, list(leaves.values()))])
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("estimator", ["log_likelihood", "likelihood_ratio"])
def test_orders_and_estimators_agree_where_the_inner_step_vanishes(
    estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradient(lr: float, **inner: Any) -> Tensor:
        maml = make_maml(inner={"lr": lr, "steps": 2, "estimator": estimator} | inner, outer=VPGConfig())
        [(_, taken)] = captured_gradients(maml, random_objective(maml), monkeypatch)
        return taken

    def gap(lr: float) -> float:
        return float((gradient(lr) - gradient(lr, first_order=True)).norm())

    torch.testing.assert_close(gradient(1e-14), gradient(1e-14, first_order=True), atol=1e-12, rtol=0)
    assert gap(0.3) > 1e-3
    assert gap(1e-4) / gap(1e-5) == pytest.approx(10, rel=0.01)  # the difference is of first order in the step size


def test_estimators_take_the_same_inner_step_but_differ_in_the_meta_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    objectives, gradients = [], []
    for estimator in ("log_likelihood", "likelihood_ratio"):
        maml = make_maml(inner={"estimator": estimator}, outer=VPGConfig())
        objectives.append(random_objective(maml))
        gradients.append(captured_gradients(maml, objectives[-1], monkeypatch)[0][1])
    for name, value in objectives[0].adapted.items():
        torch.testing.assert_close(value, objectives[1].adapted[name], atol=1e-14, rtol=1e-12)
    assert (gradients[0] - gradients[1]).norm() > 1e-3


@pytest.mark.parametrize("inner", INNER_RULES)
@pytest.mark.parametrize("space", SPACES)
def test_batched_adaptation_equals_a_loop_over_tasks(inner: str, space: str) -> None:
    maml = make_maml(space, inner=INNER_RULES[inner] | {"steps": 2})
    objective = random_objective(maml)
    _, old_supports = reference.sampling_outputs(
        maml.config.inner, objective.theta, objective.supports, objective.query
    )
    for task in range(TASKS):
        path = reference.adapt(maml.config.inner, objective.theta, objective.supports, task, old_supports)
        for name, value in path[-1].items():
            torch.testing.assert_close(objective.adapted[name][task], value, atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("estimator", ["log_likelihood", "likelihood_ratio"])
def test_reptile_goes_to_the_mean_of_parameters_adapted_to_support_and_query(space: str, estimator: str) -> None:
    maml = make_maml(space, inner={"steps": 2, "estimator": estimator}, outer=ReptileConfig(lr=0.4))
    objective = random_objective(maml)
    batches = [*objective.supports, objective.query]
    _, old = reference.sampling_outputs(maml.config.inner, objective.theta, batches, objective.query)
    paths = [reference.adapt(maml.config.inner, objective.theta, batches, task, old) for task in range(TASKS)]
    moved = maml.outer.step(objective).theta
    for name, value in objective.theta.items():
        expected = value + 0.4 * sum(path[-1][name] - value for path in paths) / TASKS
        torch.testing.assert_close(moved[name], expected, atol=1e-13, rtol=1e-11)
