"""The adversary's gradient against finite differences, and what its step does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import Counting
from torch import Tensor, nn

from metarl.acting.adversary import AttackedAgent, ascent_direction
from metarl.acting.agents import TrainedAgent
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.algorithms.skills.algorithm import SkillSearch
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.data.steps import Array, Timestep
from metarl.policies.config import GRUConfig
from metarl.policies.distributions import ActionDistribution, Categorical, Gaussian
from metarl_envs.errors import UserError

OBSERVATIONS = np.array([[0.3, 20.0], [1.0, -3.0]])
NOTHING = np.zeros(2, bool)


def differences(objective: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """Central differences of an objective `(env,)` whose environments do not depend on each other."""
    columns = []
    for column in range(at.shape[1]):
        shift = torch.zeros_like(at)
        shift[:, column] = step
        columns.append((objective(at + shift) - objective(at - shift)) / (2 * step))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("distribution", [Gaussian(2), Categorical(4)], ids=["continuous", "discrete"])
def test_the_gradient_equals_finite_differences_in_float64(distribution: ActionDistribution) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    observations = torch.randn(6, 3, dtype=torch.float64)
    chosen = network(observations).detach()

    def gaussian(seen: Tensor) -> Any:
        # log density of the opposite of the mean, but for its constants
        mean, log_std = network(seen).chunk(2, -1)
        return (-(((-chosen[:, :2] - mean) / log_std.exp()) ** 2) / 2 - log_std).sum(-1)

    def categorical(seen: Tensor) -> Any:
        return -network(seen).softmax(-1)[torch.arange(6), chosen.argmax(-1)].log()

    objective = gaussian if isinstance(distribution, Gaussian) else categorical
    with torch.no_grad():
        expected = differences(objective, observations)
    torch.testing.assert_close(ascent_direction(distribution, network, observations), expected, rtol=1e-7, atol=1e-9)


def maml_agent() -> TrainedAgent:
    torch.manual_seed(0)
    config = MAMLConfig(meta_batch=2, hidden_sizes=(4,), inner=InnerConfig(lr=0.5))
    tasks = Counting()
    return MAML(config, tasks.observation_space, tasks.action_space, torch.device("cpu")).make_agent(1)


def rl2_agent() -> TrainedAgent:
    torch.manual_seed(0)
    config = RL2Config(meta_batch=2, core=GRUConfig(hidden_size=4))
    tasks = Counting()
    return RL2(config, tasks.observation_space, tasks.action_space, torch.device("cpu")).make_agent(1)


def adapt(agent: TrainedAgent) -> None:
    rng = np.random.default_rng(0)
    for index in range(4):
        observations = rng.normal(size=(2, 2))
        actions, auxiliary = agent.adapt_action(observations)
        ended = np.full(2, index == 3)
        agent.step(Timestep(observations, actions, rng.normal(size=2), NOTHING, ended, auxiliary))
    agent.adapt()
    agent.reset(np.ones(2, bool))


def mean_action(agent: Any, observations: Array) -> Array:
    """Actions before they are clipped; asking does not change the agent."""
    agent.reset(np.ones(2, bool))
    if hasattr(agent, "_maml"):
        return np.asarray(agent._act(observations, sample=False))
    memory = agent._memory
    inputs = agent._transfer(observations, memory.previous)
    with torch.no_grad():
        return np.asarray(agent.policy.step(inputs, memory.state)[0].chunk(2, -1)[0])


@pytest.mark.parametrize("make", [maml_agent, rl2_agent])
def test_agents_are_attacked_as_adapted_and_the_action_turns_round(make: Callable[[], Any]) -> None:
    agent = make()
    before = agent.attack_gradient(OBSERVATIONS)
    adapt(agent)
    gradient = agent.attack_gradient(OBSERVATIONS)
    assert (gradient != before).any()
    mean = mean_action(agent, OBSERVATIONS)
    moved = mean_action(agent, OBSERVATIONS + 0.05 * np.sign(gradient))
    # a' · a < a · a: the action goes against itself
    assert ((moved * mean).sum(-1) < (mean * mean).sum(-1)).all()
    # Gradient of -|a* + mu(o)|² / (2 sigma²), the same sigma in all dimensions: up to a factor by finite differences.
    step = 1e-2
    numeric = np.stack(
        [
            -((mean + mean_action(agent, OBSERVATIONS + shift)) ** 2).sum(-1)
            + ((mean + mean_action(agent, OBSERVATIONS - shift)) ** 2).sum(-1)
            for shift in step * np.eye(2)
        ],
        axis=-1,
    )
    for ours, theirs in zip(gradient, numeric, strict=True):
        np.testing.assert_allclose(ours / np.abs(ours).max(), theirs / np.abs(theirs).max(), atol=0.03)


class Recorder(TrainedAgent):
    """Notes what it is shown and told."""

    adaptation_steps, attackable = 3, True

    def __init__(self) -> None:
        self.observation_size = 3
        self.action_space = Counting().action_space
        self.seen: list[Array] = []
        self.told: list[Array] = []

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        self.seen.append(observations)
        return np.zeros((len(observations), 2)), {}

    def eval_action(self, observations: Array) -> Array:
        return self.adapt_action(observations)[0]

    def sample_action(self, observations: Array) -> Array:
        return self.adapt_action(observations)[0]

    def init(self) -> None:
        return None

    def adapt(self) -> None:
        return None

    def reset(self, env_mask: Array) -> None:
        return None

    def step(self, timestep: Any, valid: Any = None) -> None:
        self.told.append(timestep.observation)

    def attack_gradient(self, observations: Array) -> Array:
        return np.array([[2.0, -1e-9, 5.0], [0.0, 7.0, -3.0]])


def test_each_element_moves_by_its_bound_and_the_agent_learns_from_what_it_saw() -> None:
    recorder = Recorder()
    attacked = AttackedAgent(recorder, 0.5, np.array([1.0, 4.0, 0.0]))
    assert attacked.adaptation_steps == 3
    observations = np.ones((2, 3))
    for act in (attacked.adapt_action, attacked.eval_action, attacked.sample_action):
        act(observations)
        attacked.step(Timestep(observations, np.zeros((2, 2)), np.zeros(2), NOTHING, NOTHING, {}))
    expected = [[1.5, -1.0, 1.0], [1.0, 3.0, 1.0]]
    for seen in (*recorder.seen, *recorder.told):
        np.testing.assert_array_equal(seen, expected)


def test_agents_without_a_gradient_are_named() -> None:
    tasks = Counting()
    skills = SkillSearch(SkillSearchConfig(meta_batch=2), tasks, torch.device("cpu")).make_agent(1)
    with pytest.raises(UserError, match="MAML family or of RL², whose gradient is known: SkillAgent has none"):
        AttackedAgent(skills, 0.1, np.ones(2))
    with pytest.raises(UserError, match="strength of adversarial must be a number of at least 0: got -1"):
        AttackedAgent(maml_agent(), -1.0, np.ones(2))
    with pytest.raises(UserError, match="has no gradient to attack it by"):
        TrainedAgent.attack_gradient(Recorder(), np.ones((1, 3)))
