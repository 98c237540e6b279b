"""Imitation: losses by hand, gradients, what is drawn, and walks to held-out goals after a demonstration."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from shown_goals import HORIZON, collect_walks, walks_config
from torch import Tensor
from training_runs import train

import metarl
from metarl.acting.sampler import Sampler
from metarl.algorithms.imitation.agent import ImitationAgent
from metarl.algorithms.imitation.algorithm import Imitation
from metarl.algorithms.imitation.attention import Attentive
from metarl.algorithms.imitation.cloning import Cloning, clone_alone
from metarl.algorithms.imitation.config import (
    AttentionConfig,
    ByGradientConfig,
    EmbeddingConfig,
    ImitationConfig,
    InContextConfig,
    WayConfig,
)
from metarl.algorithms.imitation.fine_tuning import PRACTISED, FineTuned
from metarl.algorithms.imitation.library import Lesson, Library, Steps, looked_at
from metarl.algorithms.imitation.losses import cloning_loss, metric_loss
from metarl.algorithms.imitation.ways import InContext, make_way
from metarl.algorithms.inner_rules.config import GradientRuleConfig, MetaLSTMConfig, MetaNetConfig
from metarl.algorithms.recognition.config import PooledEncoderConfig
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.cli import main
from metarl.demonstrations import Demonstration, Demonstrations, load
from metarl.evaluation.protocol import evaluate
from metarl.policies.config import GRUConfig
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs import registry
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import optimal_return

IN_CONTEXT = InContextConfig(core=GRUConfig(hidden_size=32), hidden_sizes=(32,), window=5)
BY_GRADIENT = ByGradientConfig(rule=GradientRuleConfig(steps=3), hidden_sizes=(32,), bias_size=4)
EMBEDDED = EmbeddingConfig(encoder=PooledEncoderConfig(parts=4, embedding_size=8), hidden_sizes=(32,))
ATTENTIVE = AttentionConfig(heads=2, key_size=4, hidden_sizes=(32,))
WAYS: dict[str, WayConfig] = {
    "attention": ATTENTIVE,
    "in-context": IN_CONTEXT,
    "gradient": BY_GRADIENT,
    "embedding": EMBEDDED,
}
RULES: dict[str, WayConfig] = {
    "metanet": ByGradientConfig(rule=MetaNetConfig(), hidden_sizes=(16,)),
    "meta-lstm": ByGradientConfig(rule=MetaLSTMConfig(steps=2), hidden_sizes=(16,)),
}
NOTHING_PLAYED = Sampler((), [Task("none", [])], (1,), torch.device("cpu"))


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect_walks(tmp_path_factory.mktemp("walks"))


def build(dataset: Path, way: WayConfig, **changes: Any) -> Imitation:
    torch.manual_seed(0)
    config = walks_config(dataset, way=way.model_dump(), **changes)
    algorithm = config.algorithm.build(config.tasks.build(), torch.device("cpu"))
    assert isinstance(algorithm, Imitation)
    return algorithm


def steps_of(*shape: int, seed: int) -> Steps:
    generator = torch.Generator().manual_seed(seed)
    return Steps(*(torch.randn(*shape, 2, generator=generator, dtype=torch.float64) for _ in range(2)))


def test_cloning_loss_by_hand() -> None:
    loss = cloning_loss(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]]))
    assert loss.tolist() == [2.5, 0.5]


def test_metric_loss_by_hand() -> None:
    sentences, queries = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # task 0: 0.5 - 1 + 0 < 0; task 1: 0.5 - 0.8 + 0.6 = 0.3
    assert metric_loss(sentences, queries, 0.5).item() == pytest.approx(0.15)
    assert metric_loss(sentences[:1], queries[:1], 0.5).item() == 0


@pytest.mark.parametrize("config", WAYS.values(), ids=WAYS)
def test_gradients_are_those_of_differences(config: WayConfig) -> None:
    torch.manual_seed(0)
    way = make_way(2, 2, config).double()
    lesson = Lesson(*(steps_of(3, shots, looks, seed=i) for i, (shots, looks) in enumerate([(2, 4), (1, 4), (2, 5)])))
    parameters = dict(way.named_parameters())
    gradients = torch.autograd.grad(way.loss(lesson)[0], list(parameters.values()))
    direction = [torch.randn_like(value) for value in parameters.values()]

    def moved(step: float) -> float:
        with torch.no_grad():
            for value, along in zip(parameters.values(), direction, strict=True):
                value.add_(step * along)
        return way.loss(lesson)[0].item()

    size = 1e-6
    above, below = moved(size), moved(-2 * size)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((above - below) / (2 * size), rel=1e-5)


def test_the_steps_looked_at_are_evenly_spaced_up_to_the_last() -> None:
    assert looked_at(torch.tensor([5, 9]), 3).tolist() == [[0, 2, 4], [0, 4, 8]]
    assert looked_at(torch.tensor([5]), 3, torch.tensor([0.5])).tolist() == [[2, 3, 4]]


def test_what_is_shown_and_what_is_cloned_are_different_demonstrations_of_one_task(walks: Path) -> None:
    library = build(walks, IN_CONTEXT, meta_batch=20).library
    lesson, sampled = library.draw(1, 5, torch.Generator().manual_seed(0))
    assert sampled == 20 * 2 * HORIZON
    assert lesson.cloned.observations.shape == (20, 20, 5, 2)
    first, other = lesson.shown.observations[:, 0], lesson.other.observations[:, 0]
    assert (first != other).any(-1).any(-1).all()
    # the walks of a task end at one goal, those of different tasks at others
    ends = first[:, -1], other[:, -1]
    assert (torch.cdist(*ends).argmin(1) == torch.arange(20)).all()
    # all that is cloned is of the other demonstration, whose end is among it
    gap = (lesson.cloned.observations.flatten(1, 2) - ends[1].unsqueeze(1)).norm(dim=-1).amin(1)
    assert (gap < 0.05).all()


def test_each_step_is_cloned_as_often_as_any_other(walks: Path) -> None:
    library = build(walks, IN_CONTEXT, queries=20_000).library
    drawn = library._pieces(torch.zeros(1, dtype=torch.int64), 1, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn.flatten(), minlength=HORIZON)
    assert (counts - 20_000 / HORIZON).abs().max() < 5 * (20_000 / HORIZON) ** 0.5


def test_the_core_goes_back_to_what_it_was_shown_after_each_window() -> None:
    way = make_way(2, 2, IN_CONTEXT)
    assert isinstance(way, InContext)
    memory = way.watch(Steps(*(each.float() for each in steps_of(3, 2, 4, seed=0))))
    seen = torch.randn(3, 2 * way.window, 2)
    acted = []
    for observations in seen.unbind(1):
        actions, memory = way.act(observations, memory)
        acted.append(actions)
    cloned = way.clone(seen.unflatten(1, (2, way.window)), memory)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(torch.stack(acted, 1), cloned.flatten(1, 2))


def test_attention_reads_the_moments_that_are_alike_relative_to_its_own() -> None:
    torch.manual_seed(0)
    way = make_way(2, 2, ATTENTIVE).double()
    assert isinstance(way, Attentive)
    shown, asked = steps_of(1, 2, 3, seed=0), steps_of(1, 1, 1, seed=1).observations[0, 0, 0]
    maps = way.likeness.weight.reshape(2, 4, 2)
    inputs = []
    for head in maps:
        weights, reads = [], []
        for observations, actions in zip(shown.observations[0], shown.actions[0], strict=True):
            for now, after in enumerate((1, 2, 2)):
                weights.append(torch.exp(-(head @ (observations[now] - asked)).square().sum()))
                reads.append(torch.cat([observations[now] - asked, observations[after] - asked, actions[now]]))
        total = torch.stack(weights).sum()
        inputs.append(torch.stack([w / total * r for w, r in zip(weights, reads, strict=True)]).sum(0))
    torch.testing.assert_close(way.act(asked[None], way.watch(shown))[0][0], way.policy(torch.cat(inputs)))


def test_attention_without_demonstrations_reads_nothing() -> None:
    way = make_way(2, 2, ATTENTIVE).double()
    assert isinstance(way, Attentive)
    asked = steps_of(1, 1, 3, seed=1).observations[0, 0]
    read = torch.zeros(3, 2 * 6, dtype=torch.float64)
    torch.testing.assert_close(way.act(asked, way.watch(steps_of(3, 0, 4, seed=0)))[0], way.policy(read))


def test_attention_does_the_same_wherever_the_demonstration_was() -> None:
    way = make_way(2, 2, ATTENTIVE).double()
    shown, asked = steps_of(2, 1, 4, seed=0), steps_of(2, 1, 5, seed=1).observations
    moved = shown._replace(observations=shown.observations + 3.0)
    torch.testing.assert_close(way.clone(asked + 3.0, way.watch(moved)), way.clone(asked, way.watch(shown)))


@pytest.mark.parametrize(
    "config",
    [ATTENTIVE, BY_GRADIENT, EMBEDDED, RULES["metanet"]],
    ids=["attention", "gradient", "embedding", "metanet"],
)
def test_the_order_of_demonstrations_does_not_matter(config: WayConfig) -> None:
    way = make_way(2, 2, config).double()
    shown, asked = steps_of(2, 3, 4, seed=0), steps_of(2, 1, 5, seed=1).observations
    turned = Steps(*(each.flip(1) for each in shown))
    torch.testing.assert_close(way.clone(asked, way.watch(turned)), way.clone(asked, way.watch(shown)))


def imitate(dataset: Path, way: WayConfig, iterations: int) -> list[float]:
    """Trains, and returns by how much the return misses the optimum on held-out goals after 0 and 1 demonstrations."""
    imitation = build(dataset, way, lr=3e-3, meta_batch=16)
    imitation.warm_up(NOTHING_PLAYED)
    for iteration in range(iterations):
        imitation.meta_iteration(NOTHING_PLAYED, torch.Generator().manual_seed(iteration))
    family = registry.make("navigation", horizon=HORIZON)
    tasks = family.test_tasks[:24]
    result = evaluate(imitation.make_agent(0), family, tasks, adaptation_episodes=(0, 1), episodes=1, seed=1)
    assert result.held_out
    best = np.mean([optimal_return(task, HORIZON) for task in tasks])
    missed: list[float] = (best - result.returns.mean((1, 2))).tolist()
    return missed


@pytest.mark.learning
@pytest.mark.parametrize(
    ("name", "iterations"), [("attention", 200), ("in-context", 200), ("gradient", 100), ("embedding", 300)]
)
def test_held_out_goals_are_reached_after_one_demonstration(name: str, iterations: int, walks: Path) -> None:
    before, after = imitate(walks, WAYS[name], iterations)
    assert after < 0.2 * before


@pytest.mark.parametrize("config", (WAYS | RULES).values(), ids=WAYS | RULES)
def test_training_resumes_exactly_and_acts_without_the_dataset(config: WayConfig, walks: Path, tmp_path: Path) -> None:
    states = []
    for name, parts in {"whole": [3], "parts": [1, 3]}.items():
        run = RunDirectory.create(tmp_path / name, walks_config(walks, parts[0], way=config.model_dump(), shots=[0, 1]))
        train(run)
        for iterations in parts[1:]:
            with Training.resume(tmp_path / name, iterations) as training:
                list(training)
        states.append(metarl.checkpoints.load(RunDirectory.open(tmp_path / name).checkpoint("last"))[0])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][each], states[1][each]) for each in states[0])


@pytest.mark.parametrize(
    ("config", "fine_tuning"),
    [*((config, 0) for config in (WAYS | RULES).values()), (ATTENTIVE, 3), (EMBEDDED, 3)],
    ids=[*WAYS, *RULES, "attention-fine-tuned", "embedding-fine-tuned"],
)
def test_adapting_on_demonstrations_is_being_shown_them(config: WayConfig, fine_tuning: int, walks: Path) -> None:
    imitation = build(walks, config, fine_tuning=fine_tuning)
    imitation.warm_up(NOTHING_PLAYED)
    task = imitation.demonstrations.tasks[0]
    shown, alone = imitation.make_agent(0), imitation.make_agent(0)
    shown.show([task] * 3, 2)
    alone.adapt_on([replace(each, rewards=None) for each in imitation.find(task, 2)])
    observations = np.array([[0.3, -0.2]])
    shown.reset(np.ones(3, dtype=np.bool_))
    actions = shown.eval_action(observations.repeat(3, 0))
    np.testing.assert_allclose(actions, alone.eval_action(observations).repeat(3, 0), rtol=1e-4, atol=1e-7)
    untold = imitation.make_agent(0).eval_action(observations)
    assert np.abs(untold - actions[0]).max() > 1e-6


def agent_of(walks: Path, config: WayConfig, **changes: Any) -> ImitationAgent:
    imitation = build(walks, config, **changes)
    imitation.warm_up(NOTHING_PLAYED)
    agent = imitation.make_agent(0)
    agent.show(imitation.demonstrations.tasks[:2], 1)
    return agent


@pytest.mark.parametrize(
    ("config", "fine_tuning"),
    [*((config, 0) for config in WAYS.values()), (RULES["meta-lstm"], 0), (ATTENTIVE, 3), (EMBEDDED, 3)],
    ids=[*WAYS, "meta-lstm", "attention-fine-tuned", "embedding-fine-tuned"],
)
def test_the_exported_policy_acts_as_the_agent(
    config: WayConfig, fine_tuning: int, walks: Path, tmp_path: Path
) -> None:
    agent = agent_of(walks, config, fine_tuning=fine_tuning)
    agent.export(tmp_path / "policy.onnx", env=1)
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    kept = json.loads(session.get_modelmeta().custom_metadata_map["initial_inputs"])
    memory = {name: np.array(value, dtype=np.int64 if name == "steps" else np.float32) for name, value in kept.items()}
    rng = np.random.default_rng(0)
    agent.reset(np.ones(2, dtype=np.bool_))
    for _ in range(8):
        observations = rng.normal(size=(2, 2)).astype(np.float32)
        action, *after = session.run(None, {"observation": observations[1:], **memory})
        memory = dict(zip(memory, after, strict=True))
        expected = agent.eval_action(observations.astype(np.float64))
        np.testing.assert_allclose(action, expected[1:], rtol=1e-4, atol=1e-6)


def test_a_meta_network_is_not_exported(walks: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metanet makes weights anew"):
        agent_of(walks, RULES["metanet"]).export(tmp_path / "policy.onnx")


def test_playing_teaches_nothing_and_says_so(walks: Path) -> None:
    with pytest.raises(UserError, match="adapts to demonstrations, not by playing"):
        agent_of(walks, EMBEDDED).adapt_action(np.zeros((2, 2)))


@pytest.mark.parametrize("shots", [1, 3])
def test_fine_tuning_is_adam_on_each_task_alone(shots: int) -> None:
    """Torch's own Adam, task by task, with each demonstration cloned after the others."""
    way = make_way(2, 2, ATTENTIVE).double()
    looks = PRACTISED * 5
    shown = steps_of(2, shots, looks, seed=0)
    tuned = FineTuned(way, steps=6, lr=0.01)
    memory = tuned.watch(shown)
    assert all(not value.requires_grad for value in memory.values())
    looked = Steps(*(each[:, :, looked_at(torch.tensor(looks), 5)] for each in shown))
    asked = steps_of(2, 1, 7, seed=1).observations
    for task in range(2):
        alone = deepcopy(way)
        adam = torch.optim.Adam(alone.parameters(), lr=0.01)
        for step in range(6):
            losses = []
            for i in range(shots):
                others = [j for j in range(shots) if j != i] or [i]
                watched = alone.watch(Steps(*(each[task : task + 1, others] for each in looked)))
                practised = Steps(*(each[task, i, step % PRACTISED :: PRACTISED] for each in shown))
                outputs = alone.clone(practised.observations[None, None], watched)[0, 0]
                losses.append(cloning_loss(outputs, practised.actions).mean())
            adam.zero_grad()
            torch.autograd.backward(torch.stack(losses).mean())
            adam.step()
        expected = alone.clone(asked[task : task + 1], alone.watch(Steps(*(each[task : task + 1] for each in looked))))
        torch.testing.assert_close(tuned.clone(asked, memory)[task : task + 1], expected)


def test_fine_tuning_without_demonstrations_is_the_way_itself() -> None:
    way = make_way(2, 2, ATTENTIVE).double()
    nothing, asked = steps_of(3, 0, 1, seed=0), steps_of(3, 1, 4, seed=1).observations
    tuned = FineTuned(way, steps=5, lr=0.1)
    torch.testing.assert_close(tuned.clone(asked, tuned.watch(nothing)), way.clone(asked, way.watch(nothing)))


def test_fine_tuning_leaves_the_trained_policy_as_it_was(walks: Path) -> None:
    imitation = build(walks, ATTENTIVE, fine_tuning=5)
    imitation.warm_up(NOTHING_PLAYED)
    before = imitation.state_dict()
    imitation.make_agent(0).show(imitation.demonstrations.tasks[:2], 2)
    assert all(torch.equal(value, before[name]) for name, value in imitation.state_dict().items())


@pytest.mark.parametrize("kind", ["in-context", "gradient"])
def test_fine_tuning_of_other_ways_is_refused(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--algorithm.way.kind", kind, "--algorithm.fine_tuning", "5"]
    assert main(["train", "ml1-reach-imitation", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"fine_tuning is for the ways attention and embedding, not for {kind}" in error
    assert error.count("\n") == 1


def test_plain_cloning_fits_each_task_by_itself(walks: Path) -> None:
    agent = agent_of(walks, EMBEDDED)
    alone = clone_alone(agent, 1)
    assert isinstance(alone, ImitationAgent)
    assert not isinstance(agent.way, Cloning)
    shown = Steps(*(each.float() for each in steps_of(2, 1, 4, seed=0)))
    with torch.no_grad():
        before = alone.way.clone(shown.observations, alone.way.watch(Steps(*(each[:, :0] for each in shown))))
        after = alone.way.clone(shown.observations, alone.way.watch(shown))
        second = Steps(*(each[1:] for each in shown))
        torch.testing.assert_close(alone.way.clone(second.observations, alone.way.watch(second)), after[1:])
    assert cloning_loss(after, shown.actions).mean() < 0.01 * cloning_loss(before, shown.actions).mean()
    config = RL2Config(core=GRUConfig(hidden_size=4))
    space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)
    other = RL2(config, space, space, torch.device("cpu")).make_agent(1)
    with pytest.raises(UserError, match="only those that imitate"):
        clone_alone(other, 1)


def changed(walks: Path, **parts: Any) -> Demonstrations:
    original = load(walks)
    spaces = {"observation_space": original.observation_space, "action_space": original.action_space}
    episodes = parts.pop("episodes", original)
    return Demonstrations(episodes, **spaces | parts, name="walks-v0")


def refusal(demonstrations: Demonstrations, walks: Path, shots: int = 1, **algorithm: Any) -> str:
    imitation = build(walks, EMBEDDED, shots=[shots], **algorithm)
    imitation.__dict__.pop("demonstrations", None)

    def use() -> None:
        imitation.warm_up(NOTHING_PLAYED)
        imitation.find(imitation.demonstrations.tasks[0], 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metarl.algorithms.imitation.algorithm.load", lambda _: demonstrations)
        with pytest.raises(UserError) as caught:
            use()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_dataset_lacks_is_told_in_one_line(walks: Path) -> None:
    whole = load(walks)
    assert "3 are needed" in refusal(whole, walks)
    assert "3 demonstrations are needed of each of 8" in refusal(whole, walks, shots=2)
    assert "meta_batch" in refusal(whole, walks, meta_batch=30)
    wide = registry.make("ML1", task="reach-v3").observation_space
    long = [Demonstration(each.task, np.zeros((26, 39), np.float32), each.actions) for each in whole]
    assert "other observations" in refusal(changed(walks, episodes=long, observation_space=wide), walks)
    goals = registry.make("navigation", seed=2).train_tasks
    other = [replace(each, task=goals[index]) for index, each in enumerate(whole)]
    assert "shows no training task" in refusal(changed(walks, episodes=other), walks)
    named = [replace(each, task=type(each.task)("stroll", each.task.parameters)) for each in whole]
    assert re.search("class in .*navigation", refusal(changed(walks, episodes=named), walks))


def test_a_dataset_that_changed_ends_a_resumed_run(walks: Path, tmp_path: Path) -> None:
    train(RunDirectory.create(tmp_path / "run", walks_config(walks, 1, way=EMBEDDED.model_dump())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metarl.algorithms.imitation.algorithm.load", lambda _: load(walks)[2:])
        with (
            Training.resume(tmp_path / "run", 2) as training,
            pytest.raises(UserError, match="no longer what training began with"),
        ):
            next(training)


def test_recorded_tasks_and_discrete_actions_are_refused(capsys: pytest.CaptureFixture[str], walks: Path) -> None:
    config = ImitationConfig(dataset=str(walks))
    with pytest.raises(UserError, match="clones continuous actions"):
        config.build(registry.make("bandit"), torch.device("cpu"))
    assert main(["demos", "inspect", str(walks)]) == 0


def test_shifted_starts_leave_out_the_beginning(walks: Path) -> None:
    def mean_start(share: float) -> Tensor:
        library = build(walks, EMBEDDED, shifted_starts=share, meta_batch=20).library
        first = library.draw(1, 1, torch.Generator().manual_seed(0))[0].shown.observations[:, 0, 0]
        lengths: Tensor = first.square().sum(-1).sqrt()
        return lengths

    assert (mean_start(0.0) < 0.2).all()
    assert (mean_start(0.9) > 0.1).float().mean() > 0.5


def test_a_library_is_all_of_a_dataset(walks: Path) -> None:
    library: Library = build(walks, EMBEDDED).library
    assert (library.lengths == HORIZON).all()
    assert library.steps.actions.abs().max() <= 1
