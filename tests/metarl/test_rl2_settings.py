"""RL²'s critics and normalisers, what is saved, and what happens when numbers or settings are wrong."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from counting_env import Counting
from pydantic import ValidationError
from rl2_on_counting import (
    BASELINES,
    CPU,
    make_rl2,
    ppo,
    sampler,
    samples_over,
    trials_of,
)
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.base import IterationResult
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.chunk_states import values_and_chunk_states
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig, RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import Samples
from metarl.cli import main
from metarl.errors import RunFailure
from metarl.optim.config import TrustRegionConfig
from metarl.optim.vectors import flatten
from metarl.policies.config import HypernetworkHeadConfig, LinearHeadConfig, TransformerConfig
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

NAVIGATION = Path(__file__).parents[2] / "configs" / "navigation-rl2.yaml"
SMALL = ["--tasks.horizon", "5", "--tasks.num-train-tasks", "4", "--tasks.num-test-tasks", "2", "--threads", "1"]
SMALL += ["--algorithm.meta-batch", "2", "--iterations", "1", "--evaluation.every", "0", "--device", "cpu"]


@pytest.mark.parametrize("outer", [RL2PPOConfig(epochs=60, lr=3e-3), TrustRegionConfig()], ids=["ppo", "trpo"])
def test_a_critic_learns_the_returns_and_policy_gradients_pass_it_by(outer) -> None:
    baseline = RL2ValueBaselineConfig(epochs=60, lr=3e-3)
    rl2 = make_rl2(outer=outer, baseline=baseline)
    trials = trials_of(rl2)
    losses = [rl2.learn(trials, torch.Generator().manual_seed(0))["train/value_loss"] for _ in range(4)]
    assert losses[-1] < 0.2 * losses[0]
    critic = rl2.network.critic
    assert critic is not None
    assert critic.return_normalizer.mean.item() > 30  # trials' returns are in the hundreds, not in standard units
    values, _ = values_and_chunk_states(rl2.network, trials.inputs, 8)
    assert values is not None
    samples = samples_over(trials, torch.where(trials.valid, critic.to_returns(values), 0.0), 0.99, 1.0)
    mean = samples.returns[trials.valid]
    assert (critic.to_returns(values)[trials.valid] - mean).std() < 0.5 * mean.std()


@pytest.mark.parametrize("head", [LinearHeadConfig(), HypernetworkHeadConfig()], ids=["linear", "hypernetwork"])
def test_a_standard_deviation_that_fell_below_its_floor_is_put_back_onto_it(head) -> None:
    rl2 = make_rl2(head=head, min_std=0.5)
    log_std = rl2.policy.head.action.log_std
    assert log_std is not None
    with torch.no_grad():
        log_std.add_(torch.tensor([-3.0, 0.2]))
    rl2.learn(trials_of(rl2), torch.Generator().manual_seed(0))
    assert log_std[0].exp().item() == pytest.approx(0.5)
    assert log_std[1] > -0.5


def test_returns_are_learned_raw_if_wanted() -> None:
    rl2 = make_rl2(baseline=RL2ValueBaselineConfig(normalize_returns=False))
    rl2.learn(trials_of(rl2), torch.Generator().manual_seed(0))
    assert rl2.network.critic is not None
    assert rl2.network.critic.return_normalizer.count == 0


@pytest.mark.parametrize("observations", [False, True])
@pytest.mark.parametrize("rewards", [False, True])
def test_observations_and_reward_inputs_are_standardised_apart(observations, rewards) -> None:
    rl2 = make_rl2(normalize_observations=observations, normalize_reward_input=rewards)
    rl2.warm_up(sampler())
    rl2.meta_iteration(sampler(), torch.Generator().manual_seed(0))
    steps = 9 + 18 if observations else 0
    assert rl2.policy.observation_normalizer.count == steps
    assert rl2.policy.reward_normalizer.count == (9 + 18 if rewards else 0)


def spoil(rl2: RL2, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Makes the loss not a number for the first so many updates."""
    original = ppo(rl2).loss
    left = [times]

    def spoiled(rows: Samples, states: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = original(rows, states)
        left[0] -= 1
        return (loss * float("nan") if left[0] >= 0 else loss), metrics

    monkeypatch.setattr(rl2.outer, "loss", spoiled)


def test_updates_that_are_not_finite_are_skipped_and_counted(monkeypatch) -> None:
    rl2 = make_rl2(outer=RL2PPOConfig(epochs=6))
    trials = trials_of(rl2)
    spoil(rl2, monkeypatch, 4)
    rl2.learn(trials, torch.Generator().manual_seed(0))
    assert rl2.guard.skipped == 4
    assert all(torch.isfinite(p).all() for p in rl2.policy.parameters())
    assert {int(tensor) for name, tensor in rl2.state_dict().items() if name.endswith(".step")} == {2}
    rl2.learn(trials, torch.Generator().manual_seed(0))
    assert rl2.guard.skipped == 0


def test_five_in_a_row_end_the_run_also_across_iterations_and_a_resume(monkeypatch) -> None:
    rl2 = make_rl2(outer=RL2PPOConfig(epochs=3))
    trials = trials_of(rl2)
    spoil(rl2, monkeypatch, 100)
    before = flatten(dict(rl2.policy.named_parameters())).clone()
    rl2.learn(trials, torch.Generator().manual_seed(0))
    resumed = make_rl2(outer=RL2PPOConfig(epochs=3))
    resumed.load_state_dict(rl2.state_dict())
    for each in (rl2, resumed):
        spoil(each, monkeypatch, 100)
        with pytest.raises(RunFailure, match="5 updates in a row"):
            each.learn(trials, torch.Generator().manual_seed(0))
    assert torch.equal(before, flatten(dict(rl2.policy.named_parameters())))


def test_a_trust_region_step_from_numbers_that_are_not_finite_is_skipped() -> None:
    rl2 = make_rl2(outer=TrustRegionConfig())
    trials = trials_of(rl2)
    broken = trials._replace(log_probs=torch.where(trials.valid, -torch.inf, 0.0))
    before = flatten(dict(rl2.policy.named_parameters())).clone()
    for _ in range(4):
        rl2.learn(broken, torch.Generator().manual_seed(0))
        assert rl2.guard.skipped == 1
    assert torch.equal(before, flatten(dict(rl2.policy.named_parameters())))
    with pytest.raises(RunFailure, match="5 updates in a row"):
        rl2.learn(broken, torch.Generator().manual_seed(0))


def test_probabilities_that_are_not_finite_end_the_run() -> None:
    """Parameters that a step left finite but so large that what they make is not."""
    distribution = Counting(discrete=True)
    rl2 = RL2(RL2Config(meta_batch=3, episodes=2), distribution.observation_space, distribution.action_space, CPU)
    with torch.no_grad():
        rl2.policy.head.action.linear.bias.add_(torch.tensor([torch.inf, torch.inf, 0.0]))
    tasks = list(distribution.train_tasks)
    with pytest.raises(RunFailure, match="action probabilities are not finite") as caught:
        rl2.meta_iteration(Sampler([distribution.make_env(3)], tasks, (1,), CPU), torch.Generator())
    assert "\n" not in str(caught.value)


RESUMED: dict[str, dict[str, Any]] = {
    "gru": {"core": "gru"},
    "lstm, own critic": {"core": "lstm", "chunk": 3, **BASELINES["own"]},
    "transformer, shared critic": {"core": "transformer", **BASELINES["shared"]},
    "trpo, own critic": {"outer": TrustRegionConfig(), **BASELINES["own"]},
    "hypernetwork": {"head": HypernetworkHeadConfig(hidden_size=2)},
}


@pytest.mark.parametrize("settings", RESUMED.values(), ids=RESUMED)
def test_what_is_saved_is_all_there_is(settings) -> None:
    def iterate(rl2: RL2, iteration: int) -> IterationResult:
        return rl2.meta_iteration(sampler((7, iteration)), torch.Generator().manual_seed(iteration))

    settings = {"outer": RL2PPOConfig(epochs=2, minibatches=2)} | settings
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
        ({"outer": RL2PPOConfig(minibatches=4)}, "minibatches: 4 is more than algorithm.meta_batch = 3"),
        ({"chunk": 9}, r"algorithm.chunk: 9 is more than the 8 steps of a trial \(2 episodes of 4\)"),
    ],
)
def test_contradictory_settings_are_named(settings, message) -> None:
    config = RL2Config(**({"meta_batch": 3, "episodes": 2} | settings))
    with pytest.raises(UserError, match=message):
        config.build(Counting(), CPU)


def test_a_shared_core_is_refused_to_a_trust_region() -> None:
    with pytest.raises(ValidationError, match="would leave TRPO's trust region"):
        RL2Config(outer=TrustRegionConfig(), baseline=RL2ValueBaselineConfig(shares_core=True))


@pytest.mark.parametrize(("memory", "warned"), [(7, True), (8, False)])
def test_a_memory_shorter_than_the_trial_is_warned_of(memory, warned, caplog) -> None:
    config = RL2Config(meta_batch=3, episodes=2, core=TransformerConfig(memory=memory, model_size=4, heads=1))
    with caplog.at_level(logging.WARNING):
        config.build(Counting(), CPU)
    assert ("remembers 7 steps, fewer than the 8 steps of a trial (2 episodes of 4); take 8" in caplog.text) == warned


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            ["--algorithm.chunk", "11"],
            "chunk: 11 is more than the 10 steps of a trial (2 episodes of 5)",
        ),
        (
            ["--algorithm.meta-batch", "5"],
            "meta_batch: meta-batch of 5 is larger than the 4 training tasks",
        ),
        (["--algorithm.outer.minibatches", "3"], "minibatches: 3 is more than algorithm.meta_batch = 2"),
    ],
)
def test_a_user_is_told_in_one_line(mistake, message, capsys) -> None:
    pairs = zip(SMALL[::2], SMALL[1::2], strict=True)
    others = [each for option, value in pairs if option != mistake[0] for each in (option, value)]
    assert main(["train", str(NAVIGATION), "--run", "run", *others, *mistake]) == 2
    error = capsys.readouterr().err
    assert error.startswith("metarl: error: algorithm.")
    assert error.count("\n") == 1
    assert message in error
    assert os.listdir() == []


def test_a_run_whose_loss_is_not_finite_ends_with_its_checkpoint_as_it_was(capsys, monkeypatch) -> None:
    assert main(["train", str(NAVIGATION), "--run", "run", *SMALL]) == 0
    (kept,) = RunDirectory.open(Path("run")).checkpoints.iterdir()
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    monkeypatch.setattr(Samples, "mean", lambda samples, values: values.sum() * torch.nan)
    capsys.readouterr()
    assert main(["train", "--resume", "run", "--iterations", "3"]) == 1
    end = capsys.readouterr().err.splitlines()[-1]
    assert end.startswith("metarl: failed: a loss, gradient or parameter was not finite, 5 updates in a row")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        # trials of 8 steps
        ({}, "from 24 to 8,"),
        ({"outer": RL2PPOConfig(minibatches=2), "chunk": 3}, "from 15 to 6,"),
        ({"outer": RL2PPOConfig(steps_at_once=23)}, "from 16 to 8,"),
        ({"outer": RL2PPOConfig(steps_at_once=15)}, None),  # the training loop's own advice: fewer tasks
        ({"outer": RL2PPOConfig(minibatches=3)}, None),
        ({"outer": TrustRegionConfig()}, None),
    ],
)
def test_short_memory_of_the_device_is_said_with_what_to_change(settings, advice, monkeypatch) -> None:
    rl2 = make_rl2(**settings)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(rl2, "learn", full)
    distribution = Counting(train=tuple((2, base) for base in range(rl2.config.meta_batch)))
    tasks = list(distribution.train_tasks)
    expected = (
        pytest.raises(RunFailure, match=rf"memory of cpu: lower algorithm\.outer\.steps_at_once {advice}")
        if advice
        else pytest.raises(torch.OutOfMemoryError)
    )
    with expected:
        rl2.meta_iteration(Sampler([distribution.make_env(len(tasks))], tasks, (1,), CPU), torch.Generator())
