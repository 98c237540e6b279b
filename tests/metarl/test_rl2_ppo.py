"""PPO over trials and their chunks: gradients, minibatches, epochs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import Counting
from rl2_on_counting import (
    BASELINES,
    CORES,
    close,
    exact,
    gradient_of_loss,
    gradients,
    make_rl2,
    ppo,
    sampler,
    samples_over,
    trials_of,
)
from torch import Tensor

from metarl.algorithms.rl2.actor import RecurrentActor, chunk_states
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.chunk_states import input_chunks, values_and_chunk_states
from metarl.algorithms.rl2.config import RL2PPOConfig, RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import Samples, Trials, cut_into_chunks, make_trials, ppo_terms
from metarl.optim.vectors import flatten
from metarl_envs.divergence import Divergence


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("core", CORES)
def test_a_chunk_of_full_length_is_no_chunk_gradients_included(core, baseline) -> None:
    rl2, samples = exact(core, outer=RL2PPOConfig(entropy_coefficient=0.1), **BASELINES[baseline])
    whole = gradient_of_loss(rl2, samples, rl2.network.initial_state(3))
    _, states = values_and_chunk_states(rl2.network, samples.inputs, 8)
    close(gradient_of_loss(rl2, cut_into_chunks(samples, 8), states), whole)
    assert whole.abs().max() > 1e-3


@pytest.mark.parametrize("core", CORES)
def test_chunks_give_the_loss_of_whole_trials_and_the_gradient_of_a_detached_state(core) -> None:
    rl2, samples = exact(core, baseline=RL2ValueBaselineConfig())
    whole_loss, _ = ppo(rl2).loss(samples, rl2.network.initial_state(3))
    _, states = values_and_chunk_states(rl2.network, samples.inputs, 3)
    loss, _ = ppo(rl2).loss(cut_into_chunks(samples, 3), states)
    close(loss, whole_loss)
    gradient = gradient_of_loss(rl2, cut_into_chunks(samples, 3), states)
    assert not torch.allclose(gradient, gradient_of_loss(rl2, samples, rl2.network.initial_state(3)))

    # The same step by step, the state being detached after every third step.
    rl2.network.zero_grad()
    state, outputs, values = rl2.network.initial_state(3), [], []
    for t, step in enumerate(input_chunks(samples.inputs, 1)):
        output, value, state = rl2.network.sequence(step, state.detach() if t % 3 == 0 else state)
        assert value is not None
        outputs.append(output)
        values.append(value)
    terms = ppo_terms(rl2.distribution, torch.cat(outputs, dim=1), samples, 0.2)
    assert rl2.network.critic is not None
    targets = rl2.network.critic.to_standard(samples.returns)
    errors = ((torch.cat(values, dim=1) - targets) ** 2)[samples.valid]
    (terms.policy_loss + 0.5 * errors.mean()).backward()  # type: ignore[no-untyped-call]
    close(gradient, gradients(rl2.network))


@pytest.mark.parametrize("core", CORES)
def test_padding_order_and_company_of_trials_change_no_gradient(core) -> None:
    rl2, samples = exact(core, baseline=RL2ValueBaselineConfig())
    state = rl2.network.initial_state
    whole = gradient_of_loss(rl2, samples, state(3))
    order = torch.tensor([2, 0, 1])
    close(gradient_of_loss(rl2, samples.select(order), state(3)), whole)
    close(gradient_of_loss(rl2, cut_into_chunks(samples, 11), state(3)), whole)  # three more steps of padding
    garbage = samples._replace(
        inputs=samples.inputs._replace(
            observations=torch.where(samples.valid.unsqueeze(-1), samples.inputs.observations, 5.0)
        )
    )
    close(gradient_of_loss(rl2, garbage, state(3)), whole)
    shares = samples.valid.double().sum(1) / samples.valid.sum()
    alone = [gradient_of_loss(rl2, samples.select(torch.tensor([row])), state(1)) for row in range(3)]
    close(sum(share * each for share, each in zip(shares, alone, strict=True)), whole)


def play_trials(rl2: RL2, split: tuple[int, ...]) -> tuple[Trials, Tensor]:
    """Trials, and the states that acting had at the chunks' starts."""
    actors: list[RecurrentActor] = []

    def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> RecurrentActor:
        actors.append(rl2.make_actor(tasks, noise))
        return actors[-1]

    trials = make_trials(sampler(split=split).collect(make_actor, 2))
    return trials, chunk_states(actors)


@pytest.mark.parametrize("split", [(3,), (1, 2), (1, 1, 1)])
@pytest.mark.parametrize("core", CORES)
def test_states_at_chunk_starts_are_those_of_acting(core, split) -> None:
    rl2 = make_rl2(core, chunk=3)
    trials, acted = play_trials(rl2, split)
    _, states = values_and_chunk_states(rl2.network, trials.inputs, 3)
    played = cut_into_chunks(samples_over(trials, torch.zeros_like(trials.rewards), 1.0, 1.0), 3).valid.any(1)
    assert played.tolist() == [True, True, False, True, True, False, True, True, True]  # of 4, 6 and 8 steps
    torch.testing.assert_close(acted[played], states[played], atol=1e-6, rtol=0)
    starts = states.reshape(3, 3, -1)
    assert not starts[:, 0].any()  # a trial begins from nothing, a later episode does not
    assert starts[:, 1].any(1).all()
    _, whole = play_trials(make_rl2(core), (3,))
    assert torch.equal(whole, starts[:, 0])


@pytest.mark.parametrize("diverged", [False, True])
def test_states_of_acting_are_learned_from_unless_steps_are_missing(diverged, monkeypatch) -> None:
    rl2 = make_rl2(chunk=3)
    handed: list[Tensor | None] = []

    def learn(trials: Trials, generator: torch.Generator, states: Tensor | None) -> dict[str, float]:
        handed.append(states)
        return {}

    monkeypatch.setattr(rl2, "learn", learn)
    playing = sampler()
    if diverged:
        playing.divergences.append(Divergence(Counting().train_tasks[0], np.zeros(1), np.zeros((1, 2))))
    rl2.meta_iteration(playing, torch.Generator())
    assert (handed == [None]) == diverged


def updates_of(rl2: RL2, trials: Trials, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Loss of each gradient step."""
    seen: list[float] = []
    monkeypatch.setattr(ppo(rl2)._optimizer, "step", lambda loss: seen.append(loss.item()))
    rl2.learn(trials, torch.Generator().manual_seed(0))
    return seen


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"outer": RL2PPOConfig(epochs=2, minibatches=3)}, 6),
        # of 3 trials of 4, 6 and 8 steps, chunks of 3: 2 + 2 + 3, the empty ones left out
        ({"outer": RL2PPOConfig(epochs=2, minibatches=7), "chunk": 3}, 14),
        ({"outer": RL2PPOConfig(epochs=2, minibatches=50), "chunk": 3}, 14),
        ({"outer": RL2PPOConfig(epochs=3), "chunk": 100}, 3),
    ],
)
def test_number_of_gradient_steps(settings, steps, monkeypatch) -> None:
    rl2 = make_rl2(**settings)
    assert len(updates_of(rl2, trials_of(rl2), monkeypatch)) == steps


def test_every_row_is_learned_from_once_an_epoch_in_an_order_drawn_anew(monkeypatch) -> None:
    rl2 = make_rl2(outer=RL2PPOConfig(epochs=3, minibatches=3))
    trials = trials_of(rl2)
    seen = []
    original = ppo(rl2).loss

    def spy(rows: Samples, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(int(rows.valid.sum()))
        return original(rows, states)

    monkeypatch.setattr(rl2.outer, "loss", spy)
    rl2.learn(trials, torch.Generator().manual_seed(0))
    epochs = [tuple(seen[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(epoch) == [4, 6, 8] for epoch in epochs)
    assert len(set(epochs)) > 1


@pytest.mark.parametrize(("steps", "parts"), [(None, 1), (7, 4), (3, 7), (1, 7)])
def test_parts_of_a_minibatch_add_up_to_it(steps, parts, monkeypatch) -> None:
    """Of 3 trials of 4, 6 and 8 steps, 7 chunks of 3 are played, of which two have padding."""

    def learn(**settings: Any) -> tuple[dict[str, float], Tensor, int]:
        outer = RL2PPOConfig(epochs=2, entropy_coefficient=0.1, max_grad_norm=1e6, **settings)
        rl2, samples = exact(outer=outer, baseline=RL2ValueBaselineConfig())
        calls: list[Samples] = []
        original = ppo(rl2).loss

        def spy(rows: Samples, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            calls.append(rows)
            return original(rows, states)

        monkeypatch.setattr(rl2.outer, "loss", spy)
        _, states = values_and_chunk_states(rl2.network, samples.inputs, 3)
        metrics = rl2.outer.update(samples, states, 3, torch.Generator().manual_seed(0))
        return metrics, flatten(dict(rl2.network.named_parameters())).detach(), len(calls)

    metrics, whole, _ = learn()
    of_parts, result, calls = learn(steps_at_once=steps)
    assert calls == 2 * parts
    assert of_parts == pytest.approx(metrics, rel=1e-9)
    close(result, whole)


@pytest.mark.parametrize("recompute", [False, True])
def test_states_are_recomputed_each_epoch_if_wanted(recompute, monkeypatch) -> None:
    rl2 = make_rl2(outer=RL2PPOConfig(epochs=3, lr=0.1, recompute_state=recompute), chunk=4)
    trials = trials_of(rl2)
    used, expected = [], []
    original = ppo(rl2).loss

    def spy(rows: Samples, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        used.append(states)
        expected.append(values_and_chunk_states(rl2.network, trials.inputs, 4)[1])  # all rows
        return original(rows, states)

    monkeypatch.setattr(rl2.outer, "loss", spy)
    rl2.learn(trials, torch.Generator().manual_seed(0))

    def same(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one.sort(0).values, other.sort(0).values, atol=1e-6)

    played = cut_into_chunks(samples_over(trials, torch.zeros_like(trials.rewards), 0.9, 0.8), 4).valid.any(1)
    assert same(used[0], expected[0][played])
    assert same(used[2], expected[2][played]) == recompute
    assert same(used[2], used[0]) != recompute


def test_epochs_end_when_the_policy_has_moved_too_far(monkeypatch) -> None:
    free, bound = (make_rl2(outer=RL2PPOConfig(epochs=20, lr=0.02, max_kl=max_kl)) for max_kl in (None, 0.01))
    assert free.learn(trials_of(free), torch.Generator().manual_seed(0))["train/minibatches"] == 20
    seen = []
    original = ppo(bound).loss

    def spy(rows: Samples, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = original(rows, states)
        seen.append(metrics["train/approx_kl"].item())
        return loss, metrics

    monkeypatch.setattr(bound.outer, "loss", spy)
    metrics = bound.learn(trials_of(bound), torch.Generator().manual_seed(0))
    assert metrics["train/minibatches"] == len(seen) < 20
    assert max(seen[:-1]) <= 0.01 < seen[-1]
    steps = {int(tensor) for name, tensor in bound.state_dict().items() if name.endswith(".step")}
    assert steps == {len(seen) - 1}  # the minibatch that shows it is not stepped on
