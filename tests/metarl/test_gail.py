"""GAIL: loss and reward by hand, optima that are known, the reward of the task unseen, and the control."""

import io
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from rich.console import Console
from shown_goals import HORIZON, collect_walks, walks_config

from metarl.algorithms.imitation.agent import ImitationAgent
from metarl.algorithms.imitation.algorithm import Imitation
from metarl.algorithms.imitation.library import Steps, to_steps
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.baselines import gail
from metarl.baselines.adversarial import AdversarialVecEnv
from metarl.baselines.discriminator import Discriminator, DiscriminatorLearner, discriminator_loss, imitation_reward
from metarl.baselines.gail import GailLesson, GailPolicy, check_actions, learn_gail
from metarl.config import NavigationTasks
from metarl.errors import RunFailure
from metarl.evaluation import gail as gail_control
from metarl.evaluation.control_table import control_table
from metarl.evaluation.controls import choose_controls, play_control
from metarl.evaluation.gail import GailAgent
from metarl.evaluation.match import Match
from metarl.evaluation.protocol import evaluate
from metarl.policies.config import GRUConfig
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import NavigationVectorEnv, optimal_return

CONFIG = NavigationTasks(horizon=HORIZON, num_test_tasks=40)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect_walks(tmp_path_factory.mktemp("walks"), goals=8)


@pytest.fixture
def agent(walks: Path) -> ImitationAgent:
    config = walks_config(walks)
    made = config.algorithm.build(config.tasks.build(), torch.device("cpu"))
    assert isinstance(made, Imitation)
    return made.make_agent(0)


def match(agent: Any, tasks: int = 3, **changes: Any) -> Match:
    family = CONFIG.build()
    fields: dict[str, Any] = {
        "agent": agent,
        "config": CONFIG,
        "distribution": family,
        "tasks": family.test_tasks[:tasks],
        "adaptation_episodes": (0, 1, 2),
        "episodes": 1,
        "seed": 3,
        "num_envs": 2,
    }
    family.workers = 1
    return Match(**fields | changes)


def lesson(agent: ImitationAgent, steps: int = 1, shots: int = 2, task: int = 0) -> GailLesson:
    family = CONFIG.build()
    return GailAgent(CONFIG, family, agent.find, steps, 1, 1).lesson(family.test_tasks[task], shots)


def test_loss_and_reward_by_hand() -> None:
    own, shown = torch.tensor([0.0, log(3)]).double(), torch.tensor([0.0, -log(3)]).double()
    # D = 1/2, 3/4 on the policy's steps and 1/2, 1/4 on demonstrated ones
    loss = discriminator_loss(own, shown)
    assert loss.item() == pytest.approx(-(log(1 / 2) + log(3 / 4)) / 2 - (log(1 / 2) + log(3 / 4)) / 2)
    assert discriminator_loss(own[:1], shown[:1]).item() == pytest.approx(2 * log(2))
    assert imitation_reward(own).tolist() == pytest.approx([log(2), log(4 / 3)])


def test_the_gradient_is_that_of_differences() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(3, 2).double()
    own, shown = (Steps(torch.randn(5, 3).double(), torch.randn(5, 2).double()) for _ in range(2))
    names, values = zip(*discriminator.named_parameters(), strict=True)

    def loss(*changed: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, changed, strict=True))
        logits = (torch.func.functional_call(discriminator, given, (steps,)) for steps in (own, shown))
        return discriminator_loss(*logits)

    direction = [torch.randn_like(value) for value in values]
    gradient = torch.autograd.grad(loss(*values), values)
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    above, below = (
        loss(*(value + size * along for value, along in zip(values, direction, strict=True))).item()
        for size in (1e-6, -1e-6)
    )
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-6)


def learned(own: Steps, shown: Steps) -> Discriminator:
    torch.manual_seed(0)
    discriminator = Discriminator(own.observations.shape[1], own.actions.shape[1])
    generator = torch.Generator().manual_seed(0)
    DiscriminatorLearner(discriminator, shown, lr=1e-3, steps=600, batch=256, generator=generator).learn(own)
    return discriminator


def test_at_its_optimum_the_discriminator_knows_the_share_of_each_step() -> None:
    """D* = p_own / (p_own + p_shown) (Goodfellow et al. 2014, proposition 1): 3/4, 1/2 and 1/4 on three steps."""
    places = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    actions = torch.tensor([[0.5], [0.0], [-0.5]])
    own, shown = (torch.tensor(rows).repeat_interleave(torch.tensor([3, 1, 1])) for rows in ([0, 1, 2], [2, 1, 0]))
    found = learned(Steps(places[own], actions[own]), Steps(places[shown], actions[shown]))
    shares = torch.sigmoid(found(Steps(places, actions))).tolist()
    assert shares == pytest.approx([0.75, 0.5, 0.25], abs=0.05)


def test_steps_like_the_demonstrated_ones_are_taken_for_either() -> None:
    generator = torch.Generator().manual_seed(1)
    own, shown = (
        Steps(torch.randn(4000, 2, generator=generator), torch.randn(4000, 1, generator=generator)) for _ in range(2)
    )
    found = learned(own, shown)
    assert discriminator_loss(found(own), found(shown)).item() == pytest.approx(2 * log(2), abs=0.05)
    assert torch.sigmoid(found(own)).mean().item() == pytest.approx(0.5, abs=0.05)


def test_what_is_rewarded_is_what_the_discriminator_takes_for_demonstrated(agent: ImitationAgent) -> None:
    task, given = CONFIG.build().test_tasks[0], lesson(agent)
    normalizer = GailPolicy(given).normalizer
    torch.manual_seed(0)
    discriminator = Discriminator(2, 2)
    vector = CONFIG.build().make_env(3)
    vector.set_tasks([task] * 3)
    env = AdversarialVecEnv(vector, normalizer, discriminator)
    seen: Any = env.reset()
    position = np.zeros((3, 2))
    actions = np.array([[1.0, 0.0], [0.0, -1.0], [0.5, 0.5]], dtype=np.float32)
    for step in range(1, HORIZON + 1):
        before = torch.from_numpy(seen)
        seen, rewards, ended, details = env.step(actions)
        with torch.no_grad():
            expected = imitation_reward(discriminator(Steps(before, torch.from_numpy(actions))))
        np.testing.assert_allclose(rewards, expected, rtol=1e-6)
        position = position + 0.1 * actions  # an action of 1 is a step of 0.1
        at = np.stack([detail["terminal_observation"] for detail in details]) if ended.all() else seen
        np.testing.assert_allclose(at, normalizer(torch.from_numpy(position), torch.float32), atol=1e-4)
        assert ended.all() == ended.any() == (step == HORIZON)
    played = env.take_played()
    assert (len(played.observations), len(played.actions)) == (3 * HORIZON, 3 * HORIZON)
    env.close()


def test_the_reward_of_the_task_is_never_looked_at(agent: ImitationAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rollouts, the second of which is rewarded by what the discriminator learned from the first."""
    given = lesson(agent, steps=2049)
    told: list[int] = []
    honest = learn_gail(given, told.append)
    assert sum(told) == 4096
    step = NavigationVectorEnv.step

    def without(self: NavigationVectorEnv, actions: Any) -> Any:
        observations, rewards, terminated, truncated, infos = step(self, actions)
        return observations, rewards * np.nan, terminated, truncated, infos | {"success": ~infos["success"]}

    monkeypatch.setattr(NavigationVectorEnv, "step", without)
    assert learn_gail(given, told.append) == honest


def test_the_seed_the_demonstrations_and_the_budget_decide_what_is_learned(agent: ImitationAgent) -> None:
    digests = {
        each.digest() for each in (lesson(agent), lesson(agent, 2), lesson(agent, shots=1), lesson(agent, task=1))
    }
    assert len(digests) == 4
    assert lesson(agent).digest() == lesson(agent).digest()


@pytest.mark.slow
def test_a_goal_is_found_from_a_few_demonstrations(agent: ImitationAgent) -> None:
    against = match(agent, tasks=1, adaptation_episodes=(2,), gail_steps=60_000, seed=1)
    found, _ = play_control("gail", against)
    assert found.success.all()
    still, best = -HORIZON * np.linalg.norm(against.tasks[0].parameters), optimal_return(against.tasks[0], HORIZON)
    assert found.returns.mean() > best - 0.2 * (best - still)


@pytest.fixture
def learns(monkeypatch: pytest.MonkeyPatch) -> list[GailLesson]:
    """Learning that takes no time, and always moves as the last demonstrated action did."""
    lessons: list[GailLesson] = []

    def learn(given: GailLesson, tell: Any) -> dict[str, Any]:
        lessons.append(given)
        tell(given.steps)
        network = GailPolicy(given).network
        last = network[-1]
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.from_numpy(given.actions[0]))
        return {name: value.tolist() for name, value in network.state_dict().items()}

    monkeypatch.setattr(gail_control, "learn_gail", learn)
    return lessons


def test_each_task_is_learned_from_what_the_policy_is_shown(
    agent: ImitationAgent, learns: list[GailLesson], cache: Path
) -> None:
    against = match(agent)
    found, from_cache = play_control("gail", against)
    assert (from_cache, found.adaptation_episodes, found.learning_steps) == (False, (1, 2), 100_000)
    assert found.task_ids == tuple(task.id for task in against.tasks)
    # tasks in batches of two: 1 and 2 demonstrations of each batch, none learned twice
    assert [each.task for each in learns] == [against.tasks[index] for index in (0, 1, 0, 1, 2, 2)]
    assert [len(each.actions) // HORIZON for each in learns] == [1, 1, 2, 2, 1, 2]
    for row, task in enumerate(against.tasks):
        (first, *_) = (to_steps(each, agent.action_space) for each in agent.find(task, 1))
        moves = 0.1 * np.arange(1, HORIZON + 1)[:, None] * np.clip(first.actions[0].numpy(), -1, 1)
        expected = -np.linalg.norm(moves - task.parameters, axis=1).sum()
        np.testing.assert_allclose(found.returns[:, row, 0], expected, rtol=1e-4)
    assert play_control("gail", match(agent))[1]
    assert len(learns) == 6
    # other numbers of evaluation episodes play anew what was learned
    assert not play_control("gail", match(agent, episodes=2))[1]
    assert len(learns) == 6
    play_control("gail", match(agent, gail_steps=7))
    assert len(learns) == 12
    console = Console(width=200, file=io.StringIO())
    console.print(control_table(found, {"gail": found}))
    assert isinstance(console.file, io.StringIO)
    assert "100,000 environment steps for each k" in " ".join(console.file.getvalue().split())
    assert found.from_dict(found.to_dict()).learning_steps == 100_000


def test_what_was_learned_before_a_failure_is_kept(
    agent: ImitationAgent, learns: list[GailLesson], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = vars(gail_control)["learn_gail"]

    def fail(given: GailLesson, tell: Any) -> dict[str, Any]:
        if len(learns) == 2:
            raise RunFailure("no")
        learned: dict[str, Any] = learn(given, tell)
        return learned

    monkeypatch.setattr(gail_control, "learn_gail", fail)
    with pytest.raises(RunFailure, match="no"):
        play_control("gail", match(agent, num_envs=3))
    monkeypatch.setattr(gail_control, "learn_gail", learn)
    play_control("gail", match(agent, num_envs=3))
    assert len(learns) == 6
    kept = [path for path in cache.iterdir() if "network" in path.read_text() or "0.weight" in path.read_text()]
    kept[0].write_text(kept[0].read_text().replace('"0.weight"', '"1.weight"'))
    play_control("gail", match(agent, num_envs=3, episodes=2))
    assert len(learns) == 7  # what is damaged is learned anew


def test_what_gail_cannot_do_is_told_in_one_line(agent: ImitationAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(**changes: Any) -> str:
        with pytest.raises(UserError) as caught:
            choose_controls(["gail"], match(**{"agent": agent} | changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)
    other = RL2(RL2Config(core=GRUConfig(hidden_size=4)), space, space, torch.device("cpu")).make_agent(1)
    assert "only those that imitate can be held against gail" in refusal(agent=other)
    assert "some must be shown, such as --adaptation-episodes 1" in refusal(adaptation_episodes=(0,))
    assert "gail_steps must be a whole number from 1" in refusal(gail_steps=0)
    assert "has 2 demonstrations of a goal of navigation" in refusal(adaptation_episodes=(3,))
    with pytest.raises(UserError, match="actions with bounds"):
        check_actions(gym.spaces.Box(-np.inf, np.inf, (2,)))
    assert choose_controls(["gail"], match(agent)) == (["gail"], [])
    names, reasons = choose_controls(["all"], match(agent))
    assert "gail" not in names
    assert "gail: it learns each task anew, for minutes each: name it" in reasons
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    assert "needs the package stable-baselines3" in refusal()


def test_different_tasks_act_by_their_own_policies(agent: ImitationAgent, learns: list[GailLesson]) -> None:
    family = CONFIG.build()
    control = GailAgent(CONFIG, family, agent.find, 1, 1, 1)
    tasks: Sequence[Task] = family.test_tasks[:2]
    control.show([tasks[1], tasks[0], tasks[1]], 1)
    acted = control.eval_action(np.zeros((3, 2)))
    assert len(learns) == 2
    assert np.array_equal(acted[0], acted[2])
    assert not np.array_equal(acted[0], acted[1])
    assert np.abs(acted).max() <= 0.1 + 1e-12
    assert evaluate(control, family, tasks, adaptation_episodes=(1,), episodes=1, seed=1).adaptation_steps == 1


def test_the_settings_are_told() -> None:
    told = gail.gail_settings()
    assert told["ppo"]["n_steps"] * told["environments"] == 2048
    assert told["ppo"]["gamma"] == 0.99
    assert told["discriminator"]["hidden_sizes"] == [100, 100]
