"""Guidance by scripted experts: the loss, its weight, who is asked about what, and what is said of such a training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_env import Counting
from rl2_on_counting import CPU, exact, gradients, ppo, sampler, trials_of
from torch import Tensor
from two_classes import TARGETS
from two_classes import family as two_classes

from metarl import checkpoints
from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import ExpertConfig, RL2Config, RL2PPOConfig
from metarl.algorithms.rl2.expert import ExpertGuidance
from metarl.algorithms.rl2.losses import Samples, cut_into_chunks
from metarl.algorithms.skills.algorithm import SkillSearch
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.config import RunConfig
from metarl.evaluation.command import evaluate_run
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.stored import read_evaluation
from metarl.loading import load_agent
from metarl.policies.config import GRUConfig
from metarl.policies.distributions import Gaussian
from metarl.policies.inputs import PolicyInput
from metarl.reporting.command import report_runs
from metarl.runs import RunDirectory
from metarl.seeding import Stream, generator
from metarl.training import Training
from metarl_envs import Task
from metarl_envs.core import Expert, FloatArray, TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation, optimal_return
from metarl_envs.wrapping import VisibleTasks

SAID = "Trained with experts of the training classes"
GRU = GRUConfig(hidden_size=5)


class Guided(Counting):
    """Counting with an expert that answers (base / 100, 0.1 · steps made), beyond the action space from step 10 on."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.asked: list[tuple[Task, ...]] = []

    def expert(self) -> Expert:
        def act(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
            self.asked.append(tuple(tasks))
            bases = np.array([task.parameters[1] for task in tasks])
            return np.stack([bases / 100, observations[:, 0] / 10], axis=-1)

        return act


def guided(family: TaskDistribution, expert: ExpertConfig, **settings: Any) -> RL2:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"meta_batch": 3, "episodes": 2, "core": GRU}
    return RL2Config(**(sizes | settings), expert=expert).build(family, CPU)


def with_expert(rl2: RL2, samples: Samples, actions: Tensor) -> Samples:
    """Samples with an expert's actions, and an algorithm whose outer step knows its weight."""
    rl2.guidance = ExpertGuidance(ExpertConfig(weight=3.0, iterations=4), Guided())
    ppo(rl2)._guidance = rl2.guidance
    return samples._replace(expert_actions=actions)


def test_the_error_by_hand() -> None:
    # two steps and a step of padding; means (0.5, 0), (1, 1); experts (1, 0), (0, -1)
    outputs = torch.tensor([[[0.5, 0.0, 0, 0], [1.0, 1.0, 9, 9], [torch.inf, 7.0, 0, 0]]], requires_grad=True)
    valid = torch.tensor([[True, True, False]])
    nothing = torch.zeros(1, 3)
    inputs = PolicyInput(torch.zeros(1, 3, 1), torch.zeros(1, 3, 2), nothing, valid & False)
    experts = torch.tensor([[[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]])
    samples = Samples(inputs, experts, nothing, nothing, nothing, valid, experts)
    guidance = ExpertGuidance(ExpertConfig(), Guided())
    error = guidance.error(Gaussian(2), outputs, samples)
    # 0.5² + 0² and 1² + 2², their mean over two steps
    assert error.item() == pytest.approx((0.25 + 5) / 2)
    error.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    # 2 (mu - a*) / 2; nothing for the noise, nor in padding
    wanted = [[-0.5, 0.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(outputs.grad[0], wanted)


def test_the_weight_falls_to_zero_linearly() -> None:
    guidance = ExpertGuidance(ExpertConfig(weight=2.0, iterations=4), Guided())
    weights = []
    for _ in range(6):
        weights.append(guidance.weight)
        guidance.finish_iteration()
    assert weights == [2.0, 1.5, 1.0, 0.5, 0.0, 0.0]


def test_the_loss_has_the_weighted_error_of_whole_trials_and_of_chunks() -> None:
    rl2, plain = exact(outer=RL2PPOConfig(entropy_coefficient=0.1))
    actions = torch.randn(plain.actions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = with_expert(rl2, plain, actions)
    assert rl2.guidance is not None
    rl2.guidance.finish_iteration()  # c_1 = 3 (1 - 1/4)
    states = rl2.network.initial_state(3)
    without, _ = ppo(rl2).loss(plain, states)
    loss, metrics = ppo(rl2).loss(samples, states)
    outputs, _, _ = rl2.network.sequence(plain.inputs, states)
    errors = [
        ((outputs[row, t, 0] - actions[row, t, 0]) ** 2 + (outputs[row, t, 1] - actions[row, t, 1]) ** 2).item()
        for row, t in plain.valid.nonzero().tolist()
    ]
    assert metrics["train/expert_error"].item() == pytest.approx(np.mean(errors), rel=1e-12)
    assert (loss - without).item() == pytest.approx(2.25 * np.mean(errors), rel=1e-10)
    in_chunks, _ = ppo(rl2).loss(cut_into_chunks(samples, 8), states)
    assert in_chunks.item() == pytest.approx(loss.item(), rel=1e-12)


def test_the_gradient_is_that_of_the_loss() -> None:
    rl2, plain = exact()
    samples = with_expert(rl2, plain, torch.ones_like(plain.actions) / 3)
    states = rl2.network.initial_state(3)

    def gradient(of: Samples) -> Tensor:
        rl2.network.zero_grad()
        ppo(rl2).loss(of, states)[0].backward()  # type: ignore[no-untyped-call]
        return gradients(rl2.network)

    of_expert = gradient(samples) - gradient(plain)
    parameters = list(rl2.network.parameters())
    rng = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, dtype=torch.float64, generator=rng) for p in parameters]
    step, losses = 1e-5, []
    for sign in (1, -2):
        for parameter, change in zip(parameters, direction, strict=True):
            parameter.data += sign * step * change
        losses.append([ppo(rl2).loss(each, states)[0].item() for each in (samples, plain)])
    (up, up_plain), (down, down_plain) = losses
    # (L(θ + e v) - L(θ - e v)) / 2e = g·v
    slope = ((up - up_plain) - (down - down_plain)) / (2 * step)
    flat = torch.cat([change.flatten() for change in direction])
    assert slope == pytest.approx((of_expert @ flat).item(), rel=1e-6)
    assert abs(slope) > 1e-2


def test_labels_are_the_experts_actions_in_the_states_visited_within_the_action_space() -> None:
    family = Guided(train=[(2, 10), (3, 20), (4, 130)])
    family.action_space = gym.spaces.Box(np.array([-1.0, 0.0]), np.array([1.0, 4.0]), dtype=np.float64)
    rl2 = guided(family, ExpertConfig())
    trials = trials_of(rl2)._replace(tasks=family.train_tasks)
    assert rl2.guidance is not None
    labels = rl2.guidance.label(trials)
    counts = trials.inputs.observations[..., 0].float()  # steps made
    bases = torch.tensor([0.1, 0.2, 1.0])[:, None].expand_as(counts)  # 1.3 is beyond the action space
    # a policy's action of -1 is the lower bound, 1 the upper one: a = (a_env - 2) / 2 in [0, 4]
    wanted = torch.where(trials.valid.unsqueeze(-1), torch.stack([bases, (counts / 10 - 2) / 2], -1), 0.0)
    torch.testing.assert_close(labels, wanted)
    # a task for each step that was made, in one call
    assert [[tasks.count(task) for task in family.train_tasks] for tasks in family.asked] == [[4, 6, 8]]


def test_only_training_tasks_are_labelled() -> None:
    family = Guided()
    rl2 = guided(family, ExpertConfig())
    trials = trials_of(rl2)._replace(tasks=(*family.train_tasks[:2], *family.test_tasks))
    assert rl2.guidance is not None
    with pytest.raises(ValueError, match="experts are for training tasks only"):
        rl2.guidance.label(trials)
    assert family.asked == []


def test_the_expert_is_asked_until_its_weight_is_zero_and_never_to_act() -> None:
    family = Guided()
    rl2 = guided(family, ExpertConfig(weight=0.5, iterations=2), outer=RL2PPOConfig(epochs=2))
    rl2.warm_up(sampler((0,)))
    rng = torch.Generator().manual_seed(0)
    metrics = [rl2.meta_iteration(sampler((iteration,)), rng).metrics for iteration in range(3)]
    assert [each["train/expert_weight"] for each in metrics] == [0.5, 0.25, 0.0]
    assert ["train/expert_error" in each for each in metrics] == [True, True, False]
    assert len(family.asked) == 2
    assert set().union(*family.asked) == set(family.train_tasks)
    evaluate(rl2.make_agent(seed=1), family, family.test_tasks, adaptation_episodes=(0, 2), episodes=1, seed=1)
    assert len(family.asked) == 2


def test_skills_are_labelled_by_what_the_environment_showed() -> None:
    """Also with a code beside the observation and positions that are moved."""
    family = two_classes()
    asked: list[FloatArray] = []

    def act(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
        asked.append(observations)
        return np.array([[TARGETS[task.name]] for task in tasks])

    family.expert = lambda: act  # type: ignore[method-assign]
    torch.manual_seed(0)
    config = SkillSearchConfig(
        meta_batch=20,
        core=GRU,
        init_std=0.5,
        expert=ExpertConfig(weight=10.0, iterations=20),
        outer=RL2PPOConfig(epochs=5, minibatches=2, lr=1e-2),
    )
    algorithm = config.build(family, CPU)
    assert isinstance(algorithm, SkillSearch)
    tasks = Sampler([family.make_env(20)], list(family.train_tasks), (1,), CPU)
    algorithm.warm_up(tasks)
    rng = torch.Generator().manual_seed(0)
    errors = [algorithm.meta_iteration(tasks, rng).metrics["train/expert_error"] for _ in range(8)]
    assert asked[0].shape == (20 * 8, 1)
    assert errors[0] > 0.1
    assert errors[-1] < 0.03


def test_a_guided_policy_comes_near_the_optimum_where_reward_alone_does_not() -> None:
    """On navigation with visible goals, whose expert reaches the highest return there is."""
    family = VisibleTasks(Navigation(num_train_tasks=60, num_test_tasks=20, horizon=10))

    def learned(**settings: Any) -> float:
        torch.manual_seed(0)
        config = RL2Config(
            **settings,
            meta_batch=60,
            episodes=1,
            core=GRUConfig(hidden_size=16),
            observation_to_head=True,
            init_std=0.5,
            outer=RL2PPOConfig(epochs=10, minibatches=4, lr=1e-2),
        )
        rl2 = config.build(family, CPU)
        env = family.make_env(60)
        for iteration in range(7):
            tasks = family.sample(60, generator(1, Stream.TASKS, iteration))
            rl2.meta_iteration(Sampler([env], tasks, (1, iteration), CPU), torch.Generator().manual_seed(iteration))
        agent = rl2.make_agent(seed=1)
        return (
            evaluate(agent, family, family.test_tasks, adaptation_episodes=(0,), episodes=1, seed=1)
            .overall[0]
            .returns.mean
        )

    optimum = np.mean([optimal_return(task, 10) for task in family.test_tasks])
    standing_still = -10 * np.mean([np.linalg.norm(task.parameters) for task in family.test_tasks])
    alone, helped = (
        (value - standing_still) / (optimum - standing_still)
        for value in (learned(), learned(expert=ExpertConfig(iterations=20)))
    )
    assert helped > 0.9
    assert alone < helped - 0.1


RUN: dict[str, Any] = {
    "iterations": 4,
    "threads": 1,
    "device": "cpu",
    "tasks": {"kind": "navigation", "horizon": 4, "num_train_tasks": 10, "num_test_tasks": 3},
    "algorithm": {
        "kind": "rl2",
        "meta_batch": 2,
        "episodes": 2,
        "core": {"kind": "gru", "hidden_size": 4},
        "expert": {"weight": 2.0, "iterations": 3},
    },
    "evaluation": {"every": 0},
    "checkpoint": {"every": 1, "keep_last": 4},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("runs") / "guided"
    with Training.start(RunConfig.model_validate(RUN), path) as training:
        list(training)
    return RunDirectory.open(path)


def weights(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["train/expert_weight"] for line in lines]


def test_a_resumed_run_equals_an_uninterrupted_one(run: RunDirectory, tmp_path: Path) -> None:
    path = tmp_path / "interrupted"
    with Training.start(RunConfig.model_validate(RUN), path) as training:
        next(training), next(training)
    with Training.resume(path) as training:
        list(training)
    assert weights(path) == weights(run.path) == pytest.approx([2.0, 4 / 3, 2 / 3, 0.0])
    whole, resumed = (checkpoints.load(each.checkpoint("last"))[0] for each in (run, RunDirectory.open(path)))
    assert whole["guidance.iterations"] == 4
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_an_agent_is_loaded_and_acts_without_asking(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
        raise AssertionError("asked")

    monkeypatch.setattr(Navigation, "expert", lambda self: refuse)
    distribution = run.config.tasks.build()
    agent, _ = load_agent(run.checkpoint("last"), run.config, distribution)
    tasks = distribution.train_tasks[:2]
    assert evaluate(agent, distribution, tasks, adaptation_episodes=(0, 1), episodes=1, seed=1).told_in_training


def test_everything_that_shows_results_says_that_experts_helped(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = evaluate_run(run, run.checkpoint("last"), adaptation_episodes=(0, 1), episodes=1)
    assert SAID in " ".join(capsys.readouterr().out.split())
    assert json.loads(path.read_text())["told_in_training"].startswith(SAID)
    assert read_evaluation(path).evaluation.told_in_training.startswith(SAID)
    page = report_runs([run.path], films=False, projection=False).read_text()
    assert page.count(SAID) == 2  # on top, and in the table
    with Training.resume(run.path) as training:
        assert training.evaluate().told_in_training.startswith(SAID)


def test_a_training_by_reward_alone_says_nothing() -> None:
    assert RL2Config().told_in_training() == ""
    assert SAID not in SkillSearchConfig().told_in_training()
    assert "first 150 iterations" in SkillSearchConfig(expert=ExpertConfig()).told_in_training()


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (Counting(), "algorithm.expert: counting has no scripted expert; set it to None"),
        (two_classes(), "algorithm.expert: push has no scripted expert; set it to None"),
        (Guided(discrete=True), "algorithm.expert: needs actions that are numbers, not Discrete(3); set it to None"),
    ],
)
@pytest.mark.parametrize("algorithm", [RL2Config, SkillSearchConfig])
def test_families_that_offer_no_expert_are_refused(algorithm: Any, family: TaskDistribution, said: str) -> None:
    with pytest.raises(UserError) as caught:
        algorithm(meta_batch=3, core=GRU, expert=ExpertConfig()).build(family, CPU)
    assert str(caught.value) == said
