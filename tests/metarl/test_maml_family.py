"""Whole meta-iterations of the MAML family: what they draw on, what they keep, and what they do with bad input."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting_env import Counting, CountingEnv
from maml_objectives import make_maml, random_objective
from torch import Tensor

from metarl import checkpoints
from metarl.acting.sampler import Sampler
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import (
    InnerConfig,
    MAMLConfig,
    MAMLPPOConfig,
    MAMLTRPOConfig,
    MAMLValueBaselineConfig,
    ProMPConfig,
    ReptileConfig,
    VPGConfig,
)
from metarl.algorithms.maml.losses import exploration_credit, make_batch, shrink
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer import NonFiniteError
from metarl.algorithms.maml.outer.base import OuterRule, OuterStep
from metarl.checkpoints import Manifest
from metarl.data.steps import Array
from metarl.data.trajectories import Trajectories
from metarl.errors import RunFailure
from metarl.loading import restore
from metarl.metrics import common_metrics
from metarl.optim.adam import AdamState, adam_start, adam_step
from metarl.optim.vectors import unflatten
from metarl.ranks import Ranks
from metarl.seeding import Stream, generator
from metarl_envs.core import StepResult, TaskDistribution
from metarl_envs.errors import UserError

CPU = torch.device("cpu")
RATIO = InnerConfig(estimator="likelihood_ratio")
MEMBERS: dict[str, dict[str, Any]] = {
    "trpo": {},
    "two steps": {"inner": InnerConfig(steps=2)},
    "meta-sgd": {"inner": InnerConfig(learned_lr=True)},
    "anil": {"inner": InnerConfig(adapted="head")},
    "fomaml": {"inner": InnerConfig(first_order=True)},
    "e-maml": {"exploration_credit": 1.0},
    "value baseline": {"baseline": MAMLValueBaselineConfig(hidden_sizes=(4,), epochs=3)},
    "ppo": {"outer": MAMLPPOConfig()},
    "ppo value": {"outer": MAMLPPOConfig(), "baseline": MAMLValueBaselineConfig(hidden_sizes=(4,), epochs=3)},
    "promp": {"outer": ProMPConfig(), "inner": RATIO},
    "vpg meta-sgd": {"outer": VPGConfig(), "inner": InnerConfig(learned_lr=True)},
    "reptile": {"outer": ReptileConfig()},
}


def make_member(name: str, distribution: TaskDistribution, **changes: Any) -> MAML:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"meta_batch": 3, "episodes": 4, "parallel_episodes": 2, "hidden_sizes": (4,)}
    config = MAMLConfig(**(settings | {"normalize_observations": False} | MEMBERS[name] | changes))
    return MAML(config, distribution.observation_space, distribution.action_space, CPU)


def iterate(maml: MAML, distribution: TaskDistribution, iterations: int, start: int = 0) -> list[dict[str, float]]:
    """Metrics of some iterations."""
    env = distribution.make_env(maml.num_envs)
    metrics = []
    for iteration in range(start, start + iterations):
        tasks = distribution.sample(maml.config.meta_batch, generator(1, Stream.TASKS, iteration))
        sampler = Sampler([env], tasks, (1, Stream.SAMPLING, iteration), CPU)
        metrics.append(common_metrics(maml.meta_iteration(sampler, torch.Generator().manual_seed(iteration))))
    return metrics


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert torch.equal(tensor, second[name]), name


def copy_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize(("name", "discrete"), [*((name, False) for name in MEMBERS), ("ppo value", True)])
def test_a_resumed_run_equals_an_uninterrupted_one(name, discrete) -> None:
    distribution = Counting(discrete=discrete)
    whole, first, second = (make_member(name, distribution) for _ in range(3))
    expected = iterate(whole, distribution, 4)
    iterate(first, distribution, 2)
    state = copy_of(first.state_dict())
    iterate(first, distribution, 1)  # what was saved must not change when training goes on
    second.load_state_dict(state)
    assert iterate(second, distribution, 2, start=2) == expected[2:]
    assert_same(second.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_changes_what_it_learns_and_tells(name) -> None:
    distribution = Counting()
    maml = make_member(name, distribution)
    before = copy_of(maml.state_dict())
    layout = {key: value.shape for key, value in before.items()}
    [metrics] = iterate(maml, distribution, 1)
    after = maml.state_dict()
    assert {key: value.shape for key, value in after.items()} == layout
    assert not torch.equal(after["body.0.weight"], before["body.0.weight"])
    assert any(key.startswith("step_sizes.") for key in after) == maml.config.inner.learned_lr
    for key in after:
        if key.startswith(("step_sizes.", "outer.", "baseline.network.layers")):
            assert not torch.equal(after[key], before[key]), key
    assert metrics["train/skipped_updates"] == 0
    assert metrics["train/grad_norm"] > 0
    assert metrics["train/action_std"] == pytest.approx(after["head.log_std"].exp().mean().item())
    assert ("train/kl" in metrics) == (name != "reptile")
    assert ("train/value_loss" in metrics) == ("value" in name)


class Padded(Counting):
    """The same episodes in a record that has room for longer ones."""

    def make_env(self, num_envs: int, render_mode: str | None = None) -> CountingEnv:
        return CountingEnv(num_envs, self.horizon + 9, self._discrete)


@pytest.mark.parametrize("name", MEMBERS)
def test_longer_padding_changes_nothing_bit_for_bit(name) -> None:
    short, long = make_member(name, Counting()), make_member(name, Padded())
    assert iterate(short, Counting(), 2) == iterate(long, Padded(), 2)
    assert_same(short.state_dict(), long.state_dict())


def test_state_of_other_settings_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    distribution = Counting()
    maml = make_member("ppo", distribution)
    before = copy_of(maml.state_dict())
    for other, message in (
        (make_member("trpo", distribution), "it lacks tensor 'outer.mean'"),
        (make_member("ppo value", distribution), "it has an unexpected tensor 'baseline.adam.mean'"),
        (
            make_member("ppo", distribution, hidden_sizes=(5,)),
            r"'body.0.weight' is float32 \[5, 2\], should be",
        ),
    ):
        manifest = Manifest(iteration=0, env_steps=0, config={}, task_fingerprint=distribution.fingerprint, versions={})
        path = checkpoints.save(tmp_path, other.state_dict(), manifest)
        with pytest.raises(UserError, match=message):
            restore(maml, distribution, path)
        assert_same(maml.state_dict(), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"outer": ProMPConfig()}, "algorithm.outer.kind: promp needs algorithm.inner.estimator = likelihood_ratio"),
        (
            {"outer": ReptileConfig(), "inner": InnerConfig(learned_lr=True)},
            "algorithm.outer.kind: reptile cannot go with algorithm.inner.learned_lr",
        ),
        (
            {"outer": ReptileConfig(), "inner": InnerConfig(adapted="head")},
            "algorithm.outer.kind: reptile cannot go with algorithm.inner.adapted = head",
        ),
        (
            {"outer": ReptileConfig(), "exploration_credit": 1.0},
            "algorithm.outer.kind: reptile cannot go with algorithm.exploration_credit",
        ),
        (
            {"exploration_credit": 1.0, "inner": RATIO},
            "algorithm.exploration_credit: cannot go with algorithm.inner.estimator = likelihood_ratio",
        ),
        ({"parallel_episodes": 3}, "algorithm.parallel_episodes: 3 does not divide algorithm.episodes = 4"),
    ],
)
def test_rules_that_do_not_combine_are_named(settings, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_member("trpo", Counting(), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "outer", [MAMLTRPOConfig(), MAMLPPOConfig(), VPGConfig(), ReptileConfig()], ids=lambda x: x.kind
)
@pytest.mark.parametrize("where", ["support", "query"])
def test_an_update_that_is_not_finite_changes_nothing_and_several_stop_the_run(outer, where) -> None:
    maml = make_maml(outer=outer)
    objective = random_objective(maml)
    maml._update(objective)  # so that there is something to remember
    before = copy_of(maml.state_dict())
    bad = objective.query._replace(advantages=torch.full_like(objective.query.advantages, torch.nan))
    spoiled = replace(objective, supports=[bad]) if where == "support" else replace(objective, query=bad)
    if where == "support":  # then the adapted parameters are not finite either
        nothing = {name: torch.full_like(value, torch.nan) for name, value in objective.adapted.items()}
        spoiled = replace(spoiled, adapted=nothing)
    for count in range(1, 5):
        assert maml._update(spoiled) == {}
        assert maml.guard.skipped == 1
        assert maml.state_dict()["skipped_in_a_row"] == count
        assert_same({**maml.state_dict(), "skipped_in_a_row": before["skipped_in_a_row"]}, before)
    with pytest.raises(RunFailure, match=r"not finite, 5 updates in a row; lower algorithm\.inner\.lr"):
        maml._update(spoiled)
    assert maml._update(objective)  # a good one ends the row
    assert maml.guard.skipped == 0
    assert maml._update(spoiled) == {}
    assert maml.guard.skipped == 1


def test_ppo_that_fails_in_a_later_epoch_forgets_the_earlier_ones(monkeypatch) -> None:
    maml = make_maml(outer=MAMLPPOConfig())
    objective = random_objective(maml)
    before = copy_of(maml.state_dict())
    calls: list[None] = []

    def failing(vector: Tensor, gradient: Tensor, *arguments: Any) -> tuple[Tensor, AdamState]:
        calls.append(None)
        moved, state = adam_step(vector, gradient, *arguments)
        return (moved * torch.nan if len(calls) == 3 else moved), state

    monkeypatch.setattr("metarl.algorithms.maml.outer.clipped.adam_step", failing)
    with pytest.raises(NonFiniteError):
        maml.outer.step(objective)
    assert len(calls) == 3
    assert_same(maml.state_dict(), before)


def test_inner_steps_that_are_not_finite_are_survived_and_then_stop_the_run(monkeypatch) -> None:
    distribution = Counting()
    maml = make_member("trpo", distribution)
    before = copy_of(maml.state_dict())
    monkeypatch.setattr(maml.baseline, "values", lambda record: torch.full_like(record.rewards, torch.nan))
    [metrics] = iterate(maml, distribution, 1)
    assert metrics["train/skipped_updates"] == 1
    assert metrics["rollout/ep_rew_mean"] > 0  # played by the policy as it was
    with pytest.raises(RunFailure, match="5 updates in a row"):
        iterate(maml, distribution, 9, start=1)
    after = maml.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name != "skipped_in_a_row")


class Unrewarding(CountingEnv):
    """Pays nothing to tasks whose base is in `flat`."""

    flat: tuple[float, ...] = ()

    def step(self, actions: Array) -> StepResult:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        paying = [task.parameters[1] not in self.flat for task in self.tasks]
        return observations, rewards * paying, terminated, truncated, infos


@pytest.mark.parametrize(("flat", "count", "warned"), [((), 0, False), ((10, 20), 2, False), ((10, 20, 30), 3, True)])
def test_tasks_without_anything_to_adapt_to_are_counted(flat, count, warned, caplog, monkeypatch) -> None:
    distribution = Counting()
    monkeypatch.setattr(Unrewarding, "flat", flat)
    monkeypatch.setattr(distribution, "make_env", lambda num_envs: Unrewarding(num_envs, 4))
    maml = make_member("trpo", distribution)
    with caplog.at_level(logging.WARNING):
        [metrics] = iterate(maml, distribution, 1)
    assert metrics["meta/tasks_without_signal"] == count
    assert ("nothing to adapt to" in caplog.text) == warned
    assert metrics["train/skipped_updates"] == 0
    assert all(torch.isfinite(value).all() for value in maml.state_dict().values())


def record(
    rewards: Sequence[Sequence[Sequence[float]]], lengths: Sequence[Sequence[int]] | None = None
) -> Trajectories:
    """Trajectories with the given rewards `(task, episode, step)` and episode lengths `(task, episode)`."""
    paid = torch.tensor(rewards, dtype=torch.float32)
    tasks, episodes, steps = paid.shape
    valid = torch.arange(steps) < torch.tensor(lengths).unsqueeze(-1) if lengths else torch.ones(paid.shape).bool()
    nothing = torch.zeros_like(valid)
    observations = torch.zeros(tasks, episodes, steps, 2)
    flags = (nothing, nothing, nothing, valid)
    return Trajectories(observations, observations, paid * valid, paid * 0, *flags, observations[:, :, 0])


def test_exploration_credit_by_hand() -> None:
    """Returns 3, 1, -1 per task over the others' means 0, 1, 2; mean lengths 2, 1.5, 2; advantages' variances 1, 0, 1.

    Without discount and baseline the rewards to go are, task by task, (4, 2 | 2, 0), (2, 2 | 0) and (0, -2 | -2, -4).
    """
    rewards = [[[2.0, 2.0], [2.0, 0.0]], [[0.0, 2.0], [0.0, 9.0]], [[2.0, -2.0], [2.0, -4.0]]]
    trajectories = record(rewards, [[2, 2], [2, 1], [2, 2]])
    to_go = [[4, 2, 2, 0], [2, 2, 0], [0, -2, -2, -4]]
    squares = sum(((torch.tensor(x).float() - torch.tensor(x).float().mean()) ** 2).sum().item() for x in to_go)
    scale = (squares / 11) ** 0.5
    credit = exploration_credit(trajectories, torch.zeros(3, 2, 2), 1.0, 1.0)
    returns = [3.0, 1.0, -1.0]
    lengths = [2.0, 1.5, 2.0]
    others = [0.0, 1.0, 2.0]
    expected = [(a - b) / (n * scale) for a, b, n in zip(returns, others, lengths, strict=True)]
    torch.testing.assert_close(credit, torch.tensor(expected))


def test_exploration_credit_of_indifferent_episodes_is_zero() -> None:
    trajectories = record([[[0.0, 0.0]], [[0.0, 0.0]]])
    assert exploration_credit(trajectories, torch.zeros(2, 1, 2), 1.0, 1.0).tolist() == [0, 0]


def test_a_task_without_a_single_step_weighs_nothing() -> None:
    """Such as when the simulation diverged in the first step of every episode."""
    trajectories = record([[[1.0, 2.0]], [[1.0, 2.0]]], [[2], [0]])
    batch = make_batch(trajectories, torch.zeros(2, 1, 2), 1.0, 1.0)
    assert batch.weights.tolist() == [[0.5, 0.5], [0, 0]]
    assert all(torch.isfinite(values).all() for values in batch)


def test_steps_on_few_episodes_are_shrunk_by_hand() -> None:
    """Three, one and no episodes, with one of no signal added: advantages times 3/4, 1/2 and 0."""
    trajectories = record([[[2.0, 1.0]] * 3] * 3, [[2, 1, 2], [2, 0, 0], [0, 0, 0]])
    whole = make_batch(trajectories, torch.zeros(3, 3, 2), 1.0, 1.0)
    shrunk = shrink(whole, trajectories.valid, 1.0)
    torch.testing.assert_close(shrunk.advantages, whole.advantages * torch.tensor([[0.75], [0.5], [0.0]]))
    assert all(left is right for left, right in zip(shrunk[:2], whole[:2], strict=True))
    assert torch.equal(shrink(whole, trajectories.valid, 0.0).advantages, whole.advantages)


def test_support_episodes_are_shrunk_and_query_episodes_are_not() -> None:
    trajectories = record([[[2.0, 1.0], [3.0, 5.0]]] * 2)
    batches, objectives = [], []
    for prior in (0.0, 6.0):
        maml = MAML(
            MAMLConfig(meta_batch=2, inner=InnerConfig(prior_episodes=prior)),
            Counting().observation_space,
            Counting().action_space,
            CPU,
        )
        batches.append(maml.make_batch(trajectories).advantages)
        adapted = maml.replicate(maml.parameters, 2)
        objectives.append(maml._meta_objective(adapted, [], trajectories).query.advantages)
    # 2 / (2 + 6) = 1/4
    torch.testing.assert_close(batches[1], batches[0] / 4)
    assert batches[0].any()
    assert torch.equal(*objectives)


def test_value_baseline_learns_what_follows_a_step() -> None:
    """Rewards of 1 over 4 steps: the return depends on time only, 4, 3, 2, 1."""
    distribution = Counting()
    baseline = make_member(
        "value baseline", distribution, discount=1.0, baseline=MAMLValueBaselineConfig(hidden_sizes=(8,), epochs=100)
    ).baseline
    trajectories = record([[[1.0] * 4] * 3] * 2)
    losses = [baseline.fit([trajectories])["train/value_loss"] for _ in range(8)]
    assert losses[-1] < 0.1 * losses[0]
    values = baseline.values(record([[[0.0] * 4] * 2], [[4, 2]]))
    torch.testing.assert_close(values[0, 0], torch.tensor([4.0, 3, 2, 1]), atol=0.2, rtol=0)
    torch.testing.assert_close(values[0, 1], torch.tensor([4.0, 3, 0, 0]), atol=0.2, rtol=0)
    assert values[0, 1, 2:].tolist() == [0, 0]


def test_value_baseline_is_used_before_it_is_fitted(monkeypatch) -> None:
    distribution = Counting()
    maml = make_member("value baseline", distribution)
    seen: list[str | int] = []
    values, fit = maml.baseline.values, maml.baseline.fit

    def note_values(record: Trajectories) -> Tensor:
        seen.append("values")
        return values(record)

    def note_fit(records: Sequence[Trajectories], ranks: Ranks) -> dict[str, float]:
        seen.append(len(records))
        return fit(records, ranks)

    monkeypatch.setattr(maml.baseline, "values", note_values)
    monkeypatch.setattr(maml.baseline, "fit", note_fit)
    iterate(maml, distribution, 1)
    assert seen == ["values", "values", 2]


def test_adam_equals_the_one_of_pytorch() -> None:
    rng = torch.Generator().manual_seed(0)
    vector = torch.randn(5, generator=rng, dtype=torch.float64)
    leaf = vector.clone().requires_grad_()
    optimizer, state = torch.optim.Adam([leaf], lr=0.05), adam_start(vector)
    for _ in range(20):
        gradient = torch.randn(5, generator=rng, dtype=torch.float64) * 3
        leaf.grad = gradient.clone()
        optimizer.step()
        vector, state = adam_step(vector, gradient, state, 0.05)
        torch.testing.assert_close(vector, leaf.detach(), atol=1e-14, rtol=1e-12)


def test_a_standard_deviation_that_fell_below_its_floor_is_put_back_and_can_rise_again() -> None:
    maml = make_maml(min_std=0.6)
    floor = maml.policy.head.min_log_std
    objective = random_objective(maml)
    below = objective.theta | {"head.log_std": torch.full((2,), floor - 0.5, dtype=torch.float64)}

    class Falls(OuterRule):
        def step(self, objective: MetaObjective) -> OuterStep:
            return OuterStep(below, {})

    maml.outer = Falls()
    maml._update(objective)
    assert maml.parameters["head.log_std"].tolist() == [floor, floor]
    gradient, _ = (objective := random_objective(maml)).gradient(
        lambda new: new.query.sum(), objective.linearize(objective.theta)
    )
    assert (unflatten(gradient, objective.theta)["head.log_std"] != 0).all()
