"""Trained agents outside of training: recorded episodes, single steps, and Meta-World's own evaluator."""

from collections.abc import Callable, Sequence
from typing import Literal, overload

import gymnasium as gym
import metaworld
import numpy as np
import pytest
import torch
from metaworld.evaluation import metalearning_evaluation

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.data.steps import Array, Timestep
from metarl.evaluation.control_agents import hold_state
from metarl_envs.errors import UserError

OBSERVATIONS = np.random.default_rng(5).normal(size=(20, 2))
SPACES = (gym.spaces.Box(-np.inf, np.inf, (2,), np.float64), gym.spaces.Box(-np.inf, np.inf, (2,), np.float64))
ActionSpace = gym.spaces.Box | gym.spaces.Discrete
ALGORITHMS: dict[str, Callable[[gym.spaces.Box, ActionSpace], MAML | RL2]] = {
    "maml": lambda seen, space: MAML(MAMLConfig(meta_batch=2, hidden_sizes=(4,)), seen, space, torch.device("cpu")),
    "rl2": lambda seen, space: RL2(RL2Config(meta_batch=2), seen, space, torch.device("cpu")),
}


@overload
def make_algorithm(name: Literal["rl2"], spaces: tuple[gym.spaces.Box, ActionSpace] = SPACES) -> RL2: ...
@overload
def make_algorithm(name: str, spaces: tuple[gym.spaces.Box, ActionSpace] = SPACES) -> MAML | RL2: ...
def make_algorithm(name: str, spaces: tuple[gym.spaces.Box, ActionSpace] = SPACES) -> MAML | RL2:
    torch.manual_seed(0)
    algorithm = ALGORITHMS[name](*spaces)
    with torch.no_grad():
        for parameter_name, parameter in algorithm.policy.named_parameters():
            if name == "rl2" and "head" in parameter_name and parameter_name.endswith("weight"):
                parameter.mul_(5)  # what is remembered shows in the action
    return algorithm


def play(agent: TrainedAgent, lengths: Sequence[int], num_envs: int = 1) -> list[tuple[Array, ...]]:
    """Episodes of such lengths, one after the other; returns them, of the first environment, as arrays."""
    rng = np.random.default_rng(1)
    episodes = []
    for length in lengths:
        steps = []
        for index in range(length):
            observations = rng.normal(size=(num_envs, 2))
            actions, auxiliary = agent.adapt_action(observations)
            rewards, ended = rng.normal(size=num_envs), np.full(num_envs, index == length - 1)
            agent.step(Timestep(observations, actions, rewards, ended & False, ended, auxiliary))
            steps.append((observations[0], actions[0], rewards[0]))
        episodes.append(tuple(np.array(column) for column in zip(*steps, strict=True)))
    return episodes


def evaluate_on(agent: TrainedAgent, observations: Array = OBSERVATIONS) -> Array:
    agent.reset(np.array([True]))
    return np.array([agent.eval_action(observation[None])[0] for observation in observations])


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("action_space", [SPACES[1], gym.spaces.Discrete(3, start=1)], ids=str)
def test_recorded_episodes_teach_what_played_ones_do(name, action_space) -> None:
    algorithm = make_algorithm(name, (SPACES[0], action_space))
    player, reader = algorithm.make_agent(seed=1), algorithm.make_agent(seed=2)
    for lengths in ([3, 5], [4]):  # the second call goes on from the first
        player.reset(np.array([True]))
        episodes = play(player, lengths)
        player.adapt()
        reader.adapt_on(episodes)
        learned = evaluate_on(player)
        np.testing.assert_allclose(evaluate_on(reader), learned, atol=1e-5)
    fresh = algorithm.make_agent(seed=3)
    assert action_space != SPACES[1] or np.abs(evaluate_on(fresh) - learned).max() > 1e-3
    reader.init()
    np.testing.assert_array_equal(evaluate_on(reader), evaluate_on(fresh))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_recorded_episodes_are_of_one_environment(name) -> None:
    agent = make_algorithm(name).make_agent(seed=1)
    episodes = play(agent, [3], num_envs=2)
    for adapted in (False, True):
        with pytest.raises(UserError, match="adapt_on is for one environment, but this agent has 2: call init first"):
            agent.adapt_on(episodes)
        if not adapted:
            agent.adapt()
    agent.init()
    agent.adapt_on(episodes)
    with pytest.raises(UserError, match=r"episodes\[0\].rewards must be finite"):
        agent.adapt_on([(*episodes[0][:2], [np.nan] * 3)])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_agents_adapt_under_meta_worlds_own_evaluator(name) -> None:
    envs = metaworld.make_ml_envs_test(
        "reach-v3", seed=1, meta_batch_size=2, total_tasks_per_cls=2, max_episode_steps=10
    )
    assert isinstance(envs, gym.vector.SyncVectorEnv)
    space, action_space = envs.single_observation_space, envs.single_action_space
    assert isinstance(space, gym.spaces.Box)
    assert isinstance(action_space, gym.spaces.Box)
    agent = make_algorithm(name, (space, action_space)).make_agent(seed=1)
    observations = np.random.default_rng(0).normal(size=(2, *space.shape))
    mask = np.array([True, True])
    agent.reset(mask)
    before = agent.eval_action(observations)
    success, returns, per_task = metalearning_evaluation(
        agent, envs, num_evals=2, adaptation_episodes=2, evaluation_episodes=1
    )
    envs.close()
    agent.reset(mask)
    after = agent.eval_action(observations)
    assert np.isfinite(returns)
    assert 0 <= success <= 1
    assert per_task.keys() == {"reach-v3"}
    assert np.abs(after - before).max(-1).min() > 1e-4  # each environment's policy is another than before


STEPS, ROBOTS = 9, 3
SEEN = np.random.default_rng(0).normal(size=(STEPS, ROBOTS, 2))
REWARDS = np.random.default_rng(1).normal(size=(STEPS, ROBOTS))
ENDED = np.random.default_rng(2).random((STEPS, ROBOTS)) < 0.4


def act_together(agent: RL2Agent, explore: bool, robots: slice) -> Array:
    """Actions `(step, robot, action)` of an agent that is told of everything by `step`."""
    everything = []
    for seen, rewards, ended in zip(SEEN[:, robots], REWARDS[:, robots], ENDED[:, robots], strict=True):
        actions, auxiliary = agent.adapt_action(seen) if explore else (agent.eval_action(seen), {})
        agent.step(Timestep(seen, actions, rewards, ended & False, ended, auxiliary))
        everything.append(actions)
    return np.array(everything)


def act_alone(agent: RL2Agent, explore: bool, robot: int) -> Array:
    """Actions `(step, action)` of an agent that is given one step at a time; the first reward is of no account."""
    previous = [(99.0, False), *zip(REWARDS[:-1, robot], ENDED[:-1, robot], strict=True)]
    return np.array(
        [agent.act(seen, *told, explore=explore) for seen, told in zip(SEEN[:, robot], previous, strict=True)]
    )


def test_single_steps_equal_the_vectorised_agent() -> None:
    rl2 = make_algorithm("rl2")
    together = act_together(rl2.make_agent(seed=1), False, slice(None))
    for robot in range(ROBOTS):
        np.testing.assert_allclose(act_alone(rl2.make_agent(seed=1), False, robot), together[:, robot], atol=1e-6)
    assert together.std(0).min() > 1e-3


def test_single_steps_explore_as_the_vectorised_agent_does() -> None:
    rl2 = make_algorithm("rl2")
    together = act_together(rl2.make_agent(seed=1), True, slice(1))
    np.testing.assert_array_equal(act_alone(rl2.make_agent(seed=1), True, 0), together[:, 0])
    assert not np.allclose(act_alone(rl2.make_agent(seed=2), True, 0), together[:, 0])


def test_single_steps_go_on_from_what_adaptation_kept() -> None:
    rl2 = make_algorithm("rl2")
    agents = [rl2.make_agent(seed=1) for _ in range(2)]
    for agent in agents:
        play(agent, [3, 2])
        agent.adapt()
        agent.reset(np.array([True]))
    adapted = act_together(agents[1], False, slice(1))[:, 0]
    unadapted = act_alone(rl2.make_agent(seed=1), False, 0)
    assert not np.allclose(adapted, unadapted)
    for _ in range(2):  # the second time, in the middle of an episode, `reset` takes it back to what was kept
        agents[0].reset(np.array([True]))
        np.testing.assert_array_equal(act_alone(agents[0], False, 0), adapted)
    agents[0].init()
    np.testing.assert_array_equal(act_alone(agents[0], False, 0), unadapted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((1, 2)),), r"observation must have shape \(2,\): got \(1, 2\)"),
        ((np.array([0, np.nan]),), "observation and reward must be finite"),
        ((np.zeros(2), np.inf), "observation and reward must be finite"),
    ],
)
def test_a_bad_step_is_refused_and_changes_nothing(arguments, message) -> None:
    agent = make_algorithm("rl2").make_agent(seed=1)
    with pytest.raises(UserError, match=message):
        agent.act(*arguments)
    assert agent.num_envs is None


def test_single_steps_are_of_one_environment() -> None:
    agent = make_algorithm("rl2").make_agent(seed=1)
    play(agent, [2], num_envs=2)
    with pytest.raises(UserError, match="act is for one environment, but this agent has 2"):
        agent.act(np.zeros(2))


def test_a_held_state_leaves_nothing_but_the_step_before() -> None:
    whole = make_algorithm("rl2").make_agent(seed=1)
    seen = np.array([[0.1, -0.2]])

    def act_after(agent: TrainedAgent, history: Sequence[tuple[float, float]]) -> Array:
        """The action on `seen` after observations and rewards that end in the same step for all histories."""
        assert isinstance(agent, RL2Agent)
        agent.init()
        for observation, reward in [*history, (0.3, 0.7)]:
            agent.eval_action(np.full((1, 2), observation))
            told = np.array([reward])
            agent.step(Timestep(seen, np.zeros((1, 2)), told, told > 9, told > 9, {}))
            assert agent._memory is not None
            previous = agent._memory.previous._replace(actions=torch.zeros(1, 2))
            agent._memory = agent._memory._replace(previous=previous)
        return agent.eval_action(seen)

    histories: list[list[tuple[float, float]]] = [[], [(0.9, 1.0)], [(-0.5, 3.0), (0.2, -1.0)]]
    remembered = [act_after(whole, history) for history in histories]
    assert not np.array_equal(remembered[0], remembered[1])
    control = hold_state(whole)
    held = [act_after(control, history) for history in histories]
    assert all(np.array_equal(each, held[0]) for each in held)
    with pytest.raises(UserError, match="is a control for evaluations"):
        control.export("nowhere.onnx")


def test_without_a_recurrent_state_there_is_none_to_hold() -> None:
    with pytest.raises(UserError, match="no recurrent state to hold"):
        hold_state(make_algorithm("maml").make_agent(seed=1))


def test_what_an_agent_remembers_does_not_change_with_the_evaluators_arrays() -> None:
    rl2 = make_algorithm("rl2")
    observations, rewards, ended = np.ones((1, 2)), np.array([0.5]), np.array([False])
    actions = []
    for overwritten in (0.5, -70.0):
        agent, told = rl2.make_agent(seed=1), rewards.copy()
        chosen = agent.eval_action(observations)
        agent.step(Timestep(observations, chosen, told, ended, ended, {}))
        told[:] = overwritten
        actions.append(agent.eval_action(observations))
    assert np.array_equal(actions[0], actions[1])
