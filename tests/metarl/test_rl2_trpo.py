"""TRPO over trials: the curvature and the step, through each core."""

from typing import Any

import pytest
import torch
from rl2_on_counting import CORES, exact, make_rl2, samples_over, trials_of
from torch import Tensor
from torch.func import functional_call

from metarl.algorithms.rl2.chunk_states import input_chunks
from metarl.algorithms.rl2.losses import linear_values, surrogate
from metarl.algorithms.rl2.trpo import TRPO
from metarl.optim.config import TrustRegionConfig
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.config import HypernetworkHeadConfig


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("head", ["linear", "hypernetwork"])
@pytest.mark.parametrize("core", CORES)
def test_trust_region_products_equal_the_jacobian_written_out(core, head, chunk, monkeypatch) -> None:
    settings = {"head": HypernetworkHeadConfig(hidden_size=2)} if head == "hypernetwork" else {}
    rl2, samples = exact(core, outer=TrustRegionConfig(), **settings)
    theta = {name: p.detach() for name, p in rl2.policy.named_parameters()}
    vector = flatten(theta)
    taken: dict[str, Any] = {}

    def spy(
        vector: Tensor, loss: float, gradient: Tensor, curvature_product: Any, evaluate: Any, **settings: Any
    ) -> None:
        probe = torch.randn(vector.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        taken.update(loss=loss, gradient=gradient, probe=probe, product=curvature_product(probe), kl=evaluate(vector))

    monkeypatch.setattr("metarl.algorithms.rl2.trpo.trust_region_step", spy)
    assert isinstance(rl2.outer, TRPO)
    rl2.outer.step(vector, samples, chunk or 8)

    def outputs(vector: Tensor) -> Tensor:  # a step at a time, by the policy's own `step`
        parameters, state, rows = unflatten(vector, theta), rl2.policy.initial_state(3), []
        for t, step in enumerate(input_chunks(samples.inputs, 1)):
            if chunk is not None and t % chunk == 0:
                state = state.detach()
            output, state = functional_call(rl2.policy, parameters, (step, state))
            rows.append(output)
        return torch.cat(rows, dim=1)[samples.valid]

    old = outputs(vector).detach()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        jacobian = torch.autograd.functional.jacobian(outputs, vector)  # type: ignore[no-untyped-call]
    log_std = old[:, 2:]
    fisher = torch.cat([torch.exp(-2 * log_std), torch.full_like(log_std, 2.0)], dim=1)
    dense = torch.einsum("spn,sp,spm->nm", jacobian, fisher, jacobian) / len(old)
    torch.testing.assert_close(taken["product"], dense @ taken["probe"], atol=1e-9, rtol=1e-7)

    log_probs = rl2.distribution.log_prob(old, samples.actions[samples.valid])
    ratio = torch.exp(log_probs - samples.log_probs[samples.valid])
    advantages = samples.advantages[samples.valid]
    assert taken["loss"] == pytest.approx(-(ratio * advantages).mean().item(), rel=1e-9)
    assert taken["kl"][0] == pytest.approx(taken["loss"], rel=1e-9)
    assert taken["kl"][1] == pytest.approx(0.0, abs=1e-12)
    parameters = old.clone().requires_grad_()
    log_probs = rl2.distribution.log_prob(parameters, samples.actions[samples.valid])
    loss = -(torch.exp(log_probs - samples.log_probs[samples.valid]) * advantages).mean()
    (slope,) = torch.autograd.grad(loss, parameters)
    expected = torch.einsum("spn,sp->n", jacobian, slope)
    torch.testing.assert_close(taken["gradient"], expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("core", CORES)
def test_a_trust_region_step_lowers_the_loss_within_its_bound(core, chunk) -> None:
    rl2 = make_rl2(core, outer=TrustRegionConfig(max_kl=0.005), chunk=chunk)
    trials = trials_of(rl2)
    old, _ = rl2.policy.sequence(trials.inputs, rl2.policy.initial_state(3))
    metrics = rl2.learn(trials, torch.Generator().manual_seed(0))
    new, _ = rl2.policy.sequence(trials.inputs, rl2.policy.initial_state(3))
    samples = samples_over(trials, linear_values(trials, 0.99, per_task=False), 0.99, 0.95)
    kl = samples.mean(rl2.distribution.kl(old, new)).item()
    assert metrics["train/line_search_failed"] == 0.0
    assert 1e-6 < kl <= 0.005
    assert kl == pytest.approx(metrics["train/kl"], rel=1e-3)
    assert surrogate(rl2.distribution, new, samples) < surrogate(rl2.distribution, old, samples)
