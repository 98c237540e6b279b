"""RL²'s outer steps: chunks, minibatches, trust regions, critics, and what happens when numbers go wrong."""

import logging

import pytest
import torch
from counting_env import Counting
from pydantic import ValidationError
from torch.func import functional_call

from envs.errors import UserError
from metarl.algorithms import make_algorithm
from metarl.algorithms.rl2.algorithm import RL2, RecurrentActor
from metarl.algorithms.rl2.config import PPOConfig, RL2Config, TRPOConfig, ValueBaselineConfig
from metarl.algorithms.rl2.losses import cut, linear_values, make_samples, make_trials, ppo_terms, surrogate
from metarl.algorithms.rl2.unrolling import chunks, unroll
from metarl.errors import RunFailure
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.config import GRUConfig, HypernetworkHeadConfig, LSTMConfig, TransformerConfig
from metarl.policies.inputs import RecurrentInput
from metarl.sampling import Sampler

CPU = torch.device("cpu")
CORES = {
    "gru": GRUConfig(hidden_size=5),
    "lstm": LSTMConfig(hidden_size=4),
    "transformer": TransformerConfig(memory=4, model_size=4, layers=2, heads=1),
}
BASELINES = {
    "linear": {},
    "shared": {"baseline": ValueBaselineConfig(shares_core=True)},
    "own": {"baseline": ValueBaselineConfig()},
}


def make_rl2(core="gru", **settings):
    torch.manual_seed(0)
    distribution = Counting()
    config = RL2Config(**({"meta_batch": 3, "episodes": 2, "core": CORES[core]} | settings))
    return RL2(config, distribution.observation_space, distribution.action_space, CPU)


def sampler(key=(1, 2, 3)):
    distribution = Counting()
    tasks = list(distribution.train_tasks)
    return Sampler(distribution.make_env(len(tasks)), tasks, key, CPU)


def trials_of(rl2, key=(1, 2, 3)):
    rl2.warm_up(sampler())
    return make_trials(sampler(key).collect(RecurrentActor(rl2, 3), 2))


def doubled(trials):
    inputs = RecurrentInput(*(x.double() if x.is_floating_point() else x for x in trials.inputs))
    return type(trials)(inputs, *(x.double() if x.is_floating_point() else x for x in trials[1:]))


def exact(core="gru", **settings):
    """An algorithm in float64, its network away from initial zeros, and samples that its policy has moved away from."""
    rl2 = make_rl2(core, **settings)
    trials = doubled(trials_of(rl2))
    rl2.network.double()
    rng = torch.Generator().manual_seed(3)
    for parameter in rl2.network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return rl2, make_samples(trials, linear_values(trials, 0.9), 0.9, 0.8)


def gradients(module):
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in module.parameters()]
    )


def gradient_of_loss(rl2, samples, states):
    rl2.network.zero_grad()
    rl2.outer.loss(samples, states)[0].backward()
    return gradients(rl2.network)


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("core", CORES)
def test_a_chunk_of_full_length_is_no_chunk_gradients_included(core, baseline):
    rl2, samples = exact(core, outer=PPOConfig(entropy_coefficient=0.1), **BASELINES[baseline])
    whole = gradient_of_loss(rl2, samples, rl2.network.initial_state(3))
    _, states = unroll(rl2.network, samples.inputs, 8)
    close(gradient_of_loss(rl2, cut(samples, 8), states), whole)
    assert whole.abs().max() > 1e-3


@pytest.mark.parametrize("core", CORES)
def test_chunks_give_the_loss_of_whole_trials_and_the_gradient_of_a_detached_state(core):
    rl2, samples = exact(core, baseline=ValueBaselineConfig())
    whole_loss, _ = rl2.outer.loss(samples, rl2.network.initial_state(3))
    _, states = unroll(rl2.network, samples.inputs, 3)
    loss, _ = rl2.outer.loss(cut(samples, 3), states)
    close(loss, whole_loss)
    gradient = gradient_of_loss(rl2, cut(samples, 3), states)
    assert not torch.allclose(gradient, gradient_of_loss(rl2, samples, rl2.network.initial_state(3)))

    # The same step by step, the state being detached after every third step.
    rl2.network.zero_grad()
    state, outputs, values = rl2.network.initial_state(3), [], []
    for t, step in enumerate(chunks(samples.inputs, 1)):
        output, value, state = rl2.network.sequence(step, state.detach() if t % 3 == 0 else state)
        outputs.append(output)
        values.append(value)
    terms = ppo_terms(rl2.distribution, torch.cat(outputs, dim=1), samples, 0.2)
    targets = rl2.network.critic.to_standard(samples.returns)
    errors = ((torch.cat(values, dim=1) - targets) ** 2)[samples.valid]
    (terms.policy_loss + 0.5 * errors.mean()).backward()
    close(gradient, gradients(rl2.network))


@pytest.mark.parametrize("core", CORES)
def test_padding_order_and_company_of_trials_change_no_gradient(core):
    rl2, samples = exact(core, baseline=ValueBaselineConfig())
    state = rl2.network.initial_state
    whole = gradient_of_loss(rl2, samples, state(3))
    order = torch.tensor([2, 0, 1])
    close(gradient_of_loss(rl2, samples.select(order), state(3)), whole)
    close(gradient_of_loss(rl2, cut(samples, 11), state(3)), whole)  # three more steps of padding
    garbage = samples._replace(
        inputs=samples.inputs._replace(
            observations=torch.where(samples.valid.unsqueeze(-1), samples.inputs.observations, 5.0)
        )
    )
    close(gradient_of_loss(rl2, garbage, state(3)), whole)
    shares = samples.valid.double().sum(1) / samples.valid.sum()
    alone = [gradient_of_loss(rl2, samples.select(torch.tensor([row])), state(1)) for row in range(3)]
    close(sum(share * each for share, each in zip(shares, alone, strict=True)), whole)


def test_states_at_chunk_starts_are_those_of_acting():
    rl2 = make_rl2("lstm")
    recorded = []
    original = rl2.policy.step

    def spy(inputs, state):
        recorded.append(state)
        return original(inputs, state)

    rl2.policy.step = spy
    trials = make_trials(sampler().collect(RecurrentActor(rl2, 3), 2))
    _, states = unroll(rl2.network, trials.inputs, 2)
    states = states.reshape(3, 4, 8)
    assert not states[:, 0].any()  # a trial begins from nothing, a later episode does not
    assert states[:, 1].abs().min() > 0
    for task, steps in enumerate([4, 6, 8]):
        for index in range(steps // 2):
            torch.testing.assert_close(states[task, index], recorded[2 * index][task], atol=1e-6, rtol=0)


def updates_of(rl2, trials):
    """Parameters before each gradient step."""
    seen = []
    rl2.outer._descent.step = lambda loss: seen.append(loss.item())
    rl2.learn(trials, torch.Generator().manual_seed(0))
    return seen


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"outer": PPOConfig(epochs=2, minibatches=3)}, 6),
        # of 3 trials of 4, 6 and 8 steps, chunks of 3: 2 + 2 + 3, the empty ones left out
        ({"outer": PPOConfig(epochs=2, minibatches=7), "chunk": 3}, 14),
        ({"outer": PPOConfig(epochs=2, minibatches=50), "chunk": 3}, 14),
        ({"outer": PPOConfig(epochs=3), "chunk": 100}, 3),
    ],
)
def test_number_of_gradient_steps(settings, steps):
    rl2 = make_rl2(**settings)
    assert len(updates_of(rl2, trials_of(rl2))) == steps


def test_every_row_is_learned_from_once_an_epoch_in_an_order_drawn_anew(monkeypatch):
    rl2 = make_rl2(outer=PPOConfig(epochs=3, minibatches=3))
    trials = trials_of(rl2)
    seen = []
    original = rl2.outer.loss

    def spy(rows, states):
        seen.append(int(rows.valid.sum()))
        return original(rows, states)

    monkeypatch.setattr(rl2.outer, "loss", spy)
    rl2.learn(trials, torch.Generator().manual_seed(0))
    epochs = [tuple(seen[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(epoch) == [4, 6, 8] for epoch in epochs)
    assert len(set(epochs)) > 1


@pytest.mark.parametrize("recompute", [False, True])
def test_states_are_recomputed_each_epoch_if_wanted(recompute):
    rl2 = make_rl2(outer=PPOConfig(epochs=3, learning_rate=0.1, recompute_state=recompute), chunk=4)
    trials = trials_of(rl2)
    used, expected = [], []
    original = rl2.outer.loss

    def spy(rows, states):
        used.append(states)
        expected.append(unroll(rl2.network, trials.inputs, 4)[1])  # all rows
        return original(rows, states)

    rl2.outer.loss = spy
    rl2.learn(trials, torch.Generator().manual_seed(0))

    def same(one, other):
        return torch.allclose(one.sort(0).values, other.sort(0).values, atol=1e-6)

    played = cut(make_samples(trials, torch.zeros_like(trials.rewards), 0.9, 0.8), 4).valid.any(1)
    assert same(used[0], expected[0][played])
    assert same(used[2], expected[2][played]) == recompute
    assert same(used[2], used[0]) != recompute


def test_epochs_end_when_the_policy_has_moved_too_far():
    free, bound = (make_rl2(outer=PPOConfig(epochs=20, learning_rate=0.02, max_kl=max_kl)) for max_kl in (None, 0.01))
    metrics = [rl2.learn(trials_of(rl2), torch.Generator().manual_seed(0)) for rl2 in (free, bound)]
    assert metrics[0]["train/minibatches"] == 20
    assert 1 < metrics[1]["train/minibatches"] < 20
    seen = []
    original = bound.outer.loss

    def spy(rows, states):
        loss, watched = original(rows, states)
        seen.append(watched["train/approx_kl"].item())
        return loss, watched

    bound.outer.loss = spy
    before = flatten(dict(bound.policy.named_parameters())).clone()
    bound.outer._config = bound.outer._config.model_copy(update={"max_kl": 1e-12})
    bound.learn(trials_of(bound, (5,)), torch.Generator().manual_seed(0))
    moved = [kl for kl in seen if kl > 1e-12]
    assert seen[-1:] == moved  # the minibatch that shows it is not stepped on, and is the last
    assert (len(seen) == 1) == torch.equal(before, flatten(dict(bound.policy.named_parameters())))


@pytest.mark.parametrize("outer", [PPOConfig(epochs=60, learning_rate=3e-3), TRPOConfig()], ids=["ppo", "trpo"])
def test_a_critic_learns_the_returns_and_policy_gradients_pass_it_by(outer):
    baseline = ValueBaselineConfig(epochs=60, learning_rate=3e-3)
    rl2 = make_rl2(outer=outer, baseline=baseline)
    trials = trials_of(rl2)
    losses = [rl2.learn(trials, torch.Generator().manual_seed(0))["train/value_loss"] for _ in range(4)]
    assert losses[-1] < 0.2 * losses[0]
    critic = rl2.network.critic
    assert critic.return_normalizer.mean.item() > 30  # trials' returns are in the hundreds, not in standard units
    values, _ = unroll(rl2.network, trials.inputs, 8)
    samples = make_samples(trials, torch.where(trials.valid, critic.to_returns(values), 0.0), 0.99, 1.0)
    mean = samples.returns[trials.valid]
    assert (critic.to_returns(values)[trials.valid] - mean).std() < 0.5 * mean.std()


def test_returns_are_learned_raw_if_wanted():
    rl2 = make_rl2(baseline=ValueBaselineConfig(normalize_returns=False))
    rl2.learn(trials_of(rl2), torch.Generator().manual_seed(0))
    assert rl2.network.critic.return_normalizer.count == 0


@pytest.mark.parametrize("observations", [False, True])
@pytest.mark.parametrize("rewards", [False, True])
def test_observations_and_reward_inputs_are_standardised_apart(observations, rewards):
    rl2 = make_rl2(normalize_observations=observations, normalize_reward_input=rewards)
    rl2.warm_up(sampler())
    rl2.meta_iteration(sampler(), torch.Generator().manual_seed(0))
    steps = 9 + 18 if observations else 0
    assert rl2.policy.observation_normalizer.count == steps
    assert rl2.policy.reward_normalizer.count == (9 + 18 if rewards else 0)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("head", ["linear", "hypernetwork"])
@pytest.mark.parametrize("core", CORES)
def test_trust_region_products_equal_the_jacobian_written_out(core, head, chunk, monkeypatch):
    settings = {"head": HypernetworkHeadConfig(hidden_size=2)} if head == "hypernetwork" else {}
    rl2, samples = exact(core, outer=TRPOConfig(), **settings)
    theta = {name: p.detach() for name, p in rl2.policy.named_parameters()}
    vector = flatten(theta)
    taken = {}

    def spy(vector, loss, gradient, curvature_product, evaluate, **settings):
        probe = torch.randn(vector.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
        taken.update(loss=loss, gradient=gradient, probe=probe, product=curvature_product(probe), kl=evaluate(vector))

    monkeypatch.setattr("metarl.algorithms.rl2.trpo.trust_region_step", spy)
    rl2.outer.step(vector, samples, chunk or 8)

    def outputs(vector):  # a step at a time, by the policy's own `step`
        parameters, state, rows = unflatten(vector, theta), rl2.policy.initial_state(3), []
        for t, step in enumerate(chunks(samples.inputs, 1)):
            if chunk is not None and t % chunk == 0:
                state = state.detach()
            output, state = functional_call(rl2.policy, parameters, (step, state))
            rows.append(output)
        return torch.cat(rows, dim=1)[samples.valid]

    old = outputs(vector).detach()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        jacobian = torch.autograd.functional.jacobian(outputs, vector)
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
def test_a_trust_region_step_lowers_the_loss_within_its_bound(core, chunk):
    rl2 = make_rl2(core, outer=TRPOConfig(max_kl=0.005), chunk=chunk)
    trials = trials_of(rl2)
    old, _ = rl2.policy.sequence(trials.inputs, rl2.policy.initial_state(3))
    metrics = rl2.learn(trials, torch.Generator().manual_seed(0))
    new, _ = rl2.policy.sequence(trials.inputs, rl2.policy.initial_state(3))
    samples = make_samples(trials, linear_values(trials, 0.99), 0.99, 0.95)
    kl = samples.mean(rl2.distribution.kl(old, new)).item()
    assert metrics["train/line_search_failed"] == 0.0
    assert 1e-6 < kl <= 0.005
    assert kl == pytest.approx(metrics["train/kl"], rel=1e-3)
    assert surrogate(rl2.distribution, new, samples) < surrogate(rl2.distribution, old, samples)


def spoil(rl2, monkeypatch, times):
    """Makes the loss not a number for the first so many updates."""
    original = rl2.outer.loss
    left = [times]

    def spoiled(rows, states):
        loss, metrics = original(rows, states)
        left[0] -= 1
        return (loss * float("nan") if left[0] >= 0 else loss), metrics

    monkeypatch.setattr(rl2.outer, "loss", spoiled)


def test_updates_that_are_not_finite_are_skipped_and_counted(monkeypatch):
    rl2 = make_rl2(outer=PPOConfig(epochs=6))
    trials = trials_of(rl2)
    spoil(rl2, monkeypatch, 4)
    metrics = rl2.learn(trials, torch.Generator().manual_seed(0))
    assert metrics["train/skipped_updates"] == 4.0
    assert all(torch.isfinite(p).all() for p in rl2.policy.parameters())
    assert {int(tensor) for name, tensor in rl2.state_dict().items() if name.endswith(".step")} == {2}
    assert rl2.learn(trials, torch.Generator().manual_seed(0))["train/skipped_updates"] == 0.0


def test_five_in_a_row_end_the_run_also_across_iterations_and_a_resume(monkeypatch):
    rl2 = make_rl2(outer=PPOConfig(epochs=3))
    trials = trials_of(rl2)
    spoil(rl2, monkeypatch, 100)
    before = flatten(dict(rl2.policy.named_parameters())).clone()
    rl2.learn(trials, torch.Generator().manual_seed(0))
    resumed = make_rl2(outer=PPOConfig(epochs=3))
    resumed.load_state_dict(rl2.state_dict())
    for each in (rl2, resumed):
        spoil(each, monkeypatch, 100)
        with pytest.raises(RunFailure, match="5 updates in a row"):
            each.learn(trials, torch.Generator().manual_seed(0))
    assert torch.equal(before, flatten(dict(rl2.policy.named_parameters())))


def test_a_trust_region_step_from_numbers_that_are_not_finite_is_skipped():
    rl2 = make_rl2(outer=TRPOConfig())
    trials = trials_of(rl2)
    broken = trials._replace(log_probs=torch.where(trials.valid, -torch.inf, 0.0))
    before = flatten(dict(rl2.policy.named_parameters())).clone()
    for _ in range(4):
        assert rl2.learn(broken, torch.Generator().manual_seed(0))["train/skipped_updates"] == 1.0
    assert torch.equal(before, flatten(dict(rl2.policy.named_parameters())))
    with pytest.raises(RunFailure, match="5 updates in a row"):
        rl2.learn(broken, torch.Generator().manual_seed(0))


RESUMED = {
    "gru": {"core": "gru"},
    "lstm, own critic": {"core": "lstm", "chunk": 3, **BASELINES["own"]},
    "transformer, shared critic": {"core": "transformer", **BASELINES["shared"]},
    "trpo, own critic": {"outer": TRPOConfig(), **BASELINES["own"]},
    "hypernetwork": {"head": HypernetworkHeadConfig(hidden_size=2)},
}


@pytest.mark.parametrize("settings", RESUMED.values(), ids=RESUMED)
def test_what_is_saved_is_all_there_is(settings):
    def iterate(rl2, iteration):
        return rl2.meta_iteration(sampler((7, iteration)), torch.Generator().manual_seed(iteration))

    settings = {"outer": PPOConfig(epochs=2, minibatches=2)} | settings
    rl2 = make_rl2(**settings)
    rl2.warm_up(sampler())
    iterate(rl2, 0)
    torch.manual_seed(99)
    resumed = make_rl2(**settings)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in rl2.state_dict().items()})
    assert iterate(resumed, 1) == iterate(rl2, 1)
    state = resumed.state_dict()
    assert state.keys() == rl2.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in rl2.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outer": PPOConfig(minibatches=4)}, "minibatches: 4 is more than algorithm.meta_batch = 3"),
        ({"chunk": 9}, r"algorithm.chunk: 9 is more than the 8 steps of a trial \(2 episodes of 4\)"),
    ],
)
def test_contradictory_settings_are_named(settings, message):
    config = RL2Config(**({"meta_batch": 3, "episodes": 2} | settings))
    with pytest.raises(UserError, match=message):
        make_algorithm(config, Counting(), CPU)


def test_a_shared_core_is_refused_to_a_trust_region():
    with pytest.raises(ValidationError, match="would leave TRPO's trust region"):
        RL2Config(outer=TRPOConfig(), baseline=ValueBaselineConfig(shares_core=True))


@pytest.mark.parametrize(("memory", "warned"), [(7, True), (8, False)])
def test_a_memory_shorter_than_the_trial_is_warned_of(memory, warned, caplog):
    config = RL2Config(meta_batch=3, episodes=2, core=TransformerConfig(memory=memory, model_size=4, heads=1))
    with caplog.at_level(logging.WARNING):
        make_algorithm(config, Counting(), CPU)
    assert ("remembers 7 steps, fewer than the 8 steps of a trial (2 episodes of 4)" in caplog.text) == warned


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({}, "raise algorithm.outer.minibatches from 1 to 2"),
        ({"outer": PPOConfig(minibatches=2)}, "lower algorithm.meta_batch from 3 to 1"),
        ({"outer": PPOConfig(minibatches=2), "chunk": 2}, "raise algorithm.outer.minibatches from 2 to 4"),
        ({"outer": TRPOConfig()}, "lower algorithm.meta_batch from 3 to 1"),
        ({"meta_batch": 6, "outer": PPOConfig(minibatches=3)}, "raise algorithm.outer.minibatches from 3 to 6"),
    ],
)
def test_short_memory_of_the_device_is_said_with_what_to_change(settings, advice, monkeypatch):
    rl2 = make_rl2(**settings)

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(rl2, "learn", full)
    distribution = Counting(train=tuple((2, base) for base in range(rl2.config.meta_batch)))
    tasks = list(distribution.train_tasks)
    with pytest.raises(RunFailure, match=f"memory of cpu: {advice}"):
        rl2.meta_iteration(Sampler(distribution.make_env(len(tasks)), tasks, (1,), CPU), torch.Generator())
