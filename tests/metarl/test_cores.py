"""Recurrent cores and policies: steps, sequences and chunks are the same computation."""

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from metarl.optim.curvature import twice_differentiable
from metarl.policies.config import (
    CoreConfig,
    EncoderConfig,
    GRUConfig,
    HeadConfig,
    HypernetworkHeadConfig,
    JointEncoderConfig,
    LinearHeadConfig,
    LSTMConfig,
    SeparateEncoderConfig,
    TransformerConfig,
)
from metarl.policies.cores import Core, make_core, rnn
from metarl.policies.cores.transformer import TransformerCore, TransformerLayer
from metarl.policies.distributions import ActionDistribution, Categorical, Gaussian
from metarl.policies.heads import HypernetworkHead
from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import ActorCritic, Critic, RecurrentBody, RecurrentPolicy

M = TypeVar("M", bound=nn.Module)
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=6),
    "lstm": LSTMConfig(hidden_size=5),
    "transformer, all in memory": TransformerConfig(memory=40, model_size=8, layers=2, heads=2),
    "transformer, short memory": TransformerConfig(memory=4, model_size=8, layers=2, heads=2),
    "transformer, memory of one step": TransformerConfig(memory=1, model_size=4, layers=1, heads=1),
}
ENCODERS: dict[str, EncoderConfig] = {
    "raw": JointEncoderConfig(),
    "joint": JointEncoderConfig(hidden_sizes=(7, 5)),
    "separate": SeparateEncoderConfig(observation_sizes=(4,), action_sizes=(3,), reward_sizes=(2,)),
}
HEADS: dict[str, HeadConfig] = {"linear": LinearHeadConfig(), "hypernetwork": HypernetworkHeadConfig(hidden_size=3)}


def exactly(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-10, rtol=0)


def randomize(module: M, scale: float = 0.5) -> M:
    """Biases and weights that start at zero must not hide what they do."""
    rng = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        parameter.data += scale * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)
    return module


def test_units_of_a_gru_start_with_memories_up_to_the_longest() -> None:
    """A unit that is told nothing keeps the share u / (1 + u) of its value in a step, u being its memory in steps."""
    torch.manual_seed(0)
    core = make_core(3, GRUConfig(hidden_size=2000, longest_memory=100)).double()
    for name, parameter in core.named_parameters():
        if "weight" in name:
            parameter.data.zero_()
    _, state = core.sequence(torch.zeros(1, 10, 3, dtype=torch.float64), torch.ones(1, 2000, dtype=torch.float64))
    kept = state[0] ** 0.1
    memories = kept / (1 - kept)  # uniform from 1 to 99
    assert 1 <= memories.min() < 1.5
    assert 98.5 < memories.max() <= 99 + 1e-9
    assert memories.mean().item() == pytest.approx(50, abs=3 * 98 / 12**0.5 / 2000**0.5)


def test_gates_without_a_longest_memory_halve_it_with_every_step() -> None:
    core = make_core(3, GRUConfig(hidden_size=4)).double()
    for name, parameter in core.named_parameters():
        if "weight" in name:
            parameter.data.zero_()
    _, state = core.sequence(torch.zeros(1, 3, 3, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64))
    exactly(state, torch.full((1, 4), 0.125, dtype=torch.float64))


def core_of(name: str, input_size: int = 3) -> Core:
    torch.manual_seed(0)
    return randomize(make_core(input_size, CORES[name]).double(), scale=0.1)


def features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def policy_of(
    core: str = "gru",
    encoder: str = "raw",
    head: str = "linear",
    observation_to_head: bool = False,
    distribution: ActionDistribution | None = None,
) -> RecurrentPolicy:
    torch.manual_seed(0)
    policy = RecurrentPolicy(
        4, distribution or Gaussian(2), ENCODERS[encoder], CORES[core], HEADS[head], observation_to_head, 0.5, 1e-3
    )
    return randomize(policy.double(), scale=0.2)


def random_inputs(*shape: int) -> PolicyInput:
    rng = torch.Generator().manual_seed(1)
    return PolicyInput(
        torch.randn(*shape, 4, generator=rng, dtype=torch.float64),
        torch.randn(*shape, 2, generator=rng, dtype=torch.float64),
        torch.randn(*shape, generator=rng, dtype=torch.float64),
        torch.rand(*shape, generator=rng) < 0.3,
    )


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("cuts", [[], [5], [1, 2, 11], [4, 8, 12, 16], [18]], ids=str)
def test_steps_equal_the_sequence_across_chunks(name, cuts) -> None:
    core, time = core_of(name), 19
    inputs = features(3, time, 3)
    outputs, state = [], core.initial_state(3)
    for start, stop in zip([0, *cuts], [*cuts, time], strict=True):
        output, state = core.sequence(inputs[:, start:stop], state)
        outputs.append(output)
    stepped = core.initial_state(3)
    for t in range(time):
        output, stepped = core.step(inputs[:, t], stepped)
        exactly(output, torch.cat(outputs, dim=1)[:, t])
    exactly(stepped, state)


@pytest.mark.parametrize("name", CORES)
def test_steps_and_sequences_take_turns(name) -> None:
    core = core_of(name)
    inputs = features(2, 15, 3)
    whole, last = core.sequence(inputs, core.initial_state(2))
    first, state = core.sequence(inputs[:, :7], core.initial_state(2))
    second, state = core.step(inputs[:, 7], state)
    third, state = core.sequence(inputs[:, 8:], state)
    exactly(torch.cat([first, second.unsqueeze(1), third], dim=1), whole)
    exactly(state, last)


@pytest.mark.parametrize("name", CORES)
def test_rows_at_different_points_of_their_trials_do_not_mix(name) -> None:
    """One state may have gone on while the other waited, as where episodes end early."""
    core = core_of(name)
    inputs = features(2, 12, 3)
    _, state = core.sequence(inputs[:, :6], core.initial_state(2))
    waiting = torch.stack([core.sequence(inputs[:1, :2], core.initial_state(1))[1][0], state[1]])
    output, _ = core.sequence(inputs[:, 6:], waiting)
    short = torch.cat([inputs[:1, :2], inputs[:1, 6:]], dim=1)
    exactly(output[0], core.sequence(short, core.initial_state(1))[0][0, 2:])
    exactly(output[1], core.sequence(inputs[1:], core.initial_state(1))[0][0, 6:])
    stepped, _ = core.step(inputs[:, 6], waiting)
    exactly(stepped, output[:, 0])


@pytest.mark.parametrize("name", CORES)
def test_nothing_depends_on_what_comes_later_or_on_other_rows(name) -> None:
    core = core_of(name)
    inputs = features(3, 10, 3)
    before, _ = core.sequence(inputs, core.initial_state(3))
    changed = inputs.clone()
    changed[0, 6:] = 9.0
    changed[2] = -9.0
    after, _ = core.sequence(changed, core.initial_state(3))
    assert torch.equal(after[0, :6], before[0, :6])
    assert not torch.equal(after[0, 6], before[0, 6])
    exactly(after[1], before[1])
    alone, _ = core.sequence(inputs[1:2], core.initial_state(1))
    exactly(alone[0], before[1])


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer, all in memory"])
def test_the_first_step_is_remembered(name) -> None:
    core = core_of(name)
    inputs = features(1, 12, 3)
    before, _ = core.sequence(inputs, core.initial_state(1))
    inputs[0, 0] += 1.0
    after, _ = core.sequence(inputs, core.initial_state(1))
    assert (after[0, -1] - before[0, -1]).abs().max() > 1e-6


def test_a_transformer_forgets_what_is_older_than_its_memory() -> None:
    """Each of two layers looks back 4 steps, itself included: nothing comes from further than 6 steps back."""
    core = core_of("transformer, short memory")
    inputs = features(1, 12, 3)
    before, _ = core.sequence(inputs, core.initial_state(1))
    inputs[0, 2] += 1.0
    after, _ = core.sequence(inputs, core.initial_state(1))
    changed = (after - before).abs().amax(-1)[0] > 1e-9
    assert changed.tolist() == [False] * 2 + [True] * 7 + [False] * 3


def test_a_transformer_layer_equals_attention_written_out() -> None:
    core = core_of("transformer, short memory")
    assert isinstance(core, TransformerCore)
    inputs = features(1, 9, 3)
    hidden = core.embedding(inputs)[0]
    for layer in core.layers:
        assert isinstance(layer, TransformerLayer)
        normed = layer.attention_norm(hidden)
        query, key, value = (layer.projection(normed)[:, 8 * i : 8 * i + 8].reshape(9, 2, 4) for i in range(3))
        rows = []
        for t in range(9):
            parts = []
            for h in range(2):
                window = range(max(0, t - 3), t + 1)
                scores = []
                for s in window:
                    score = torch.zeros((), dtype=torch.float64)
                    for pair, speed in ((0, 1.0), (1, 0.01)):  # 10000^(-pair/2)
                        turn = (t - s) * speed
                        q = torch.complex(query[t, h, pair], query[t, h, pair + 2])
                        k = torch.complex(key[s, h, pair], key[s, h, pair + 2])
                        score = score + (q * k.conj() * complex(math.cos(turn), math.sin(turn))).real
                    scores.append(score / math.sqrt(4))
                weights = torch.stack(scores).softmax(0)
                weighted = [w * value[s, h] for w, s in zip(weights, window, strict=True)]
                parts.append(torch.stack(weighted).sum(0))
            rows.append(torch.cat(parts))
        hidden = hidden + layer.output(torch.stack(rows))
        hidden = hidden + layer.feed_forward(hidden)
    exactly(core.sequence(inputs, core.initial_state(1))[0][0], core.norm(hidden))


@pytest.mark.parametrize(("steps", "at_once"), [(1, 100), (7, 100), (7, 2), (7, 0)])
def test_a_grus_own_gradients_are_those_of_pytorchs(steps, at_once, monkeypatch) -> None:
    monkeypatch.setattr(rnn, "_MAX_GATE_NUMBERS", at_once * 4 * 6 * 3)
    core = core_of("gru")
    weights = torch.randn(3, steps + 1, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def run(forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> list[Tensor]:
        inputs = [features(3, steps, 3).requires_grad_(), features(3, 6).requires_grad_()]
        outputs, last = forward(*inputs)
        loss = (torch.cat([outputs, last.unsqueeze(1)], dim=1) * weights).sum()
        return [outputs, *torch.autograd.grad(loss, [*inputs, *core.parameters()])]

    with twice_differentiable():
        expected = run(core.sequence)
    for ours, theirs in zip(run(core.sequence), expected, strict=True):
        exactly(ours, theirs)
        assert theirs.abs().max() > 0.01


def test_a_gru_is_differentiated_twice_where_that_is_asked_for() -> None:
    core = core_of("gru")

    def second() -> Tensor:
        x = features(1, 4, 3).requires_grad_()
        (slope,) = torch.autograd.grad(core.sequence(x, core.initial_state(1))[0].sum(), x, create_graph=True)
        return torch.autograd.grad(slope[0, 0, 0], x)[0]

    with twice_differentiable():
        assert second().abs().max() > 1e-4
    with pytest.raises(RuntimeError):  # and never wrongly elsewhere
        second()


def test_heads_must_divide_the_model() -> None:
    with pytest.raises(ValidationError, match="not an even multiple of heads 4"):
        TransformerConfig(model_size=20, heads=4)


def test_a_fresh_lstm_keeps_its_cell() -> None:
    biases = dict(make_core(3, LSTMConfig(hidden_size=2)).named_parameters())
    assert biases["rnn.bias_hh_l0"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert not biases["rnn.bias_ih_l0"].any()


@pytest.mark.parametrize("observation_to_head", [False, True])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("core", ["gru", "lstm", "transformer, short memory"])
def test_a_policys_steps_equal_its_sequence(core, encoder, head, observation_to_head) -> None:
    policy = policy_of(core, encoder, head, observation_to_head)
    inputs = random_inputs(3, 9)
    policy.observation_normalizer.update(inputs.observations * 3 + 1, torch.ones(3, 9, dtype=torch.bool))
    policy.reward_normalizer.update(inputs.previous_rewards.unsqueeze(-1) * 5, torch.ones(3, 9, dtype=torch.bool))
    whole, last = policy.sequence(inputs, policy.initial_state(3))
    state = policy.initial_state(3)
    for t in range(9):
        outputs, state = policy.step(PolicyInput(*(x[:, t] for x in inputs)), state)
        exactly(outputs, whole[:, t])
    exactly(state, last)


@pytest.mark.parametrize("field", PolicyInput._fields)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_input_is_seen(encoder, field) -> None:
    policy = policy_of(encoder=encoder)
    inputs = random_inputs(2, 3)
    value = getattr(inputs, field)
    changed = inputs._replace(**{field: ~value if value.dtype == torch.bool else value + 1})
    before, _ = policy.sequence(inputs, policy.initial_state(2))
    after, _ = policy.sequence(changed, policy.initial_state(2))
    assert (after - before).abs().max() > 1e-6


@pytest.mark.parametrize("observation_to_head", [False, True])
def test_the_current_observation_reaches_a_linear_head_only_if_wanted(observation_to_head) -> None:
    policy = policy_of(observation_to_head=observation_to_head)
    hidden, observations = features(2, 6), features(2, 4)
    changed = not torch.equal(policy.head(hidden, observations), policy.head(hidden, observations + 1))
    assert changed == observation_to_head


def test_a_hypernetwork_starts_as_one_network_for_every_task() -> None:
    torch.manual_seed(0)
    head = HypernetworkHead(6, 4, 3, Gaussian(2), 0.5, 1e-3).double()
    observations = features(2, 4)
    one, other = head(features(2, 6), observations), head(features(2, 6) * 7, observations)
    assert torch.equal(one, other)
    units = torch.tanh(observations @ head.first.weight.T + head.first.bias)
    exactly(one[:, :2], units @ head.action.linear.weight.T + head.action.linear.bias)
    assert one[:, 2:].flatten().tolist() == pytest.approx([math.log(0.5)] * 4)


def test_a_hypernetworks_weights_are_what_the_core_makes_of_them() -> None:
    torch.manual_seed(0)
    head = randomize(HypernetworkHead(6, 4, 3, Categorical(2), 0.5, 1e-3).double())
    hidden, observation = features(6), features(4)
    generated = head.generator.weight @ hidden
    weight = head.first.weight + generated[:12].reshape(3, 4)
    last_weight = head.action.linear.weight + generated[15:21].reshape(2, 3)
    units = torch.tanh(weight @ observation + head.first.bias + generated[12:15])
    exactly(head(hidden, observation), last_weight @ units + head.action.linear.bias + generated[21:])


def test_statistics_of_returns_do_not_change_what_a_critic_says() -> None:
    critic = randomize(Critic(6, 4, None).double())
    hidden, observations = features(5, 6), features(5, 4)
    valid = torch.ones(5, dtype=torch.bool)
    critic.update_statistics(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64), valid)
    before = critic.to_returns(critic(hidden, observations))
    returns = torch.tensor([100.0, 300.0, 200.0, 1e9, 0.0], dtype=torch.float64)
    critic.update_statistics(returns, torch.tensor([True, True, True, False, False]))
    torch.testing.assert_close(critic.to_returns(critic(hidden, observations)), before, rtol=1e-9, atol=1e-9)
    every = torch.tensor([1.0, 2, 3, 4, 5, 100, 300, 200], dtype=torch.float64)
    expected = (returns[:3] - every.mean()) / every.std(correction=0)
    torch.testing.assert_close(critic.to_standard(returns)[:3], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("critic", ["none", "shared", "own"])
@pytest.mark.parametrize("core", ["lstm", "transformer, short memory"])
def test_policy_and_critic_run_together_across_chunks(core, critic) -> None:
    policy = policy_of(core)
    body = randomize(RecurrentBody(4, 2, ENCODERS["joint"], CORES["gru"]).double()) if critic == "own" else None
    size = 6 if critic == "own" else policy.body.output_size
    network = ActorCritic(policy, None if critic == "none" else randomize(Critic(size, 4, body).double()))
    inputs = random_inputs(2, 9)
    outputs, values, last = network.sequence(inputs, network.initial_state(2))
    exactly(outputs, policy.sequence(inputs, policy.initial_state(2))[0])
    _, first_values, state = network.sequence(PolicyInput(*(x[:, :4] for x in inputs)), network.initial_state(2))
    second, second_values, state = network.sequence(PolicyInput(*(x[:, 4:] for x in inputs)), state)
    exactly(second, outputs[:, 4:])
    exactly(state, last)
    if critic == "none":
        assert values is None
    else:
        assert values is not None
        assert first_values is not None
        assert second_values is not None
        assert values.std() > 0.01
        exactly(torch.cat([first_values, second_values], dim=1), values)
