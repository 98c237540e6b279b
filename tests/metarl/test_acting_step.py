"""Prepared steps of recurrent policies: the same outputs as `step`, whatever the core, encoder and inputs."""

import pytest
import torch
from torch import Tensor

from metarl.policies.acting import ActingStep
from metarl.policies.config import (
    CoreConfig,
    EncoderConfig,
    GRUConfig,
    JointEncoderConfig,
    LinearHeadConfig,
    LSTMConfig,
    SeparateEncoderConfig,
    TransformerConfig,
)
from metarl.policies.distributions import Categorical, Gaussian
from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import RecurrentPolicy

OBSERVATIONS, ACTIONS = 5, 3
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=8),
    "lstm": LSTMConfig(hidden_size=8),
    "transformer": TransformerConfig(),
}


def make_policy(core: CoreConfig, encoder: EncoderConfig | None = None, discrete: bool = False) -> RecurrentPolicy:
    torch.manual_seed(0)
    distribution = Categorical(ACTIONS) if discrete else Gaussian(ACTIONS)
    policy = RecurrentPolicy(
        OBSERVATIONS, distribution, encoder or JointEncoderConfig(), core, LinearHeadConfig(), True, 1.0, 1e-3
    )
    policy.observation_normalizer.update(3 + 2 * torch.randn(50, OBSERVATIONS), torch.ones(50, dtype=torch.bool))
    policy.reward_normalizer.update(40 * torch.randn(50, 1), torch.ones(50, dtype=torch.bool))
    with torch.no_grad():  # so that inputs matter
        policy.head.action.linear.weight.normal_()
    return policy


def inputs(batch: int, spread: float = 2.0) -> PolicyInput:
    return PolicyInput(
        3 + spread * torch.randn(batch, OBSERVATIONS, dtype=torch.float64),
        torch.randn(batch, ACTIONS),
        40 * torch.randn(batch),
        torch.rand(batch) < 0.5,
    )


@torch.no_grad()
def largest_difference(policy: RecurrentPolicy, seen: list[PolicyInput]) -> float:
    """Of outputs and states along steps."""
    step = policy.prepare_step()
    state = other = policy.initial_state(len(seen[0].observations))
    differences: list[Tensor] = []
    for each in seen:
        (outputs, state), (expected, other) = step(each, state), policy.step(each, other)
        differences += [(outputs - expected).abs().max(), (state - other).abs().max()]
    return float(torch.stack(differences).max())


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    "encoder", [JointEncoderConfig(), JointEncoderConfig(hidden_sizes=(6,)), SeparateEncoderConfig()]
)
@pytest.mark.parametrize("discrete", [False, True])
def test_prepared_step_equals_step(core: str, encoder: EncoderConfig, discrete: bool) -> None:
    policy = make_policy(CORES[core], encoder, discrete)
    assert largest_difference(policy, [inputs(4) for _ in range(5)]) < 1e-6


def test_inputs_far_out_are_compressed() -> None:
    policy = make_policy(CORES["gru"])
    seen = [inputs(4, spread=1000.0) for _ in range(3)]
    assert policy.observation_normalizer.compressed(seen[0].observations).any()
    assert largest_difference(policy, [*seen, inputs(4)]) < 1e-6


class Backwards(RecurrentPolicy):
    """Sees the elements of an observation in the opposite order."""

    def standardize(self, inputs: PolicyInput) -> PolicyInput:
        return super().standardize(inputs._replace(observations=inputs.observations.flip(-1)))


def test_policy_of_another_class_takes_its_own_step() -> None:
    policy = make_policy(CORES["gru"])
    assert isinstance(policy.prepare_step(), ActingStep)
    policy.__class__ = Backwards
    assert not isinstance(policy.prepare_step(), ActingStep)
    assert largest_difference(policy, [inputs(4) for _ in range(3)]) == 0.0


def test_batch_may_change() -> None:
    policy = make_policy(CORES["gru"])
    step = policy.prepare_step()
    with torch.no_grad():
        for batch in (3, 1, 4):
            seen, state = inputs(batch), policy.initial_state(batch)
            torch.testing.assert_close(step(seen, state), policy.step(seen, state))
