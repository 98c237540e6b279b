"""Skill search: its policy, its search, its agent, and learning where one knows what is best."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from two_classes import family

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.config import RL2PPOConfig, RL2PrivilegedBaselineConfig
from metarl.algorithms.skills.agent import SkillAgent
from metarl.algorithms.skills.algorithm import SkillSearch
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.algorithms.skills.policy import SkillPolicy
from metarl.algorithms.skills.search import Search
from metarl.data.steps import Timestep
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.skills import SkillMatrix, skill_matrix
from metarl.policies.config import GRUConfig, JointEncoderConfig
from metarl.policies.distributions import Gaussian
from metarl.policies.inputs import PolicyInput
from metarl_envs import Task, WrappedDistribution
from metarl_envs.errors import UserError

CPU = torch.device("cpu")


def make_algorithm(**settings: Any) -> SkillSearch:
    torch.manual_seed(0)
    config = SkillSearchConfig(
        **settings,
        meta_batch=20,
        core=GRUConfig(hidden_size=8, longest_memory=8),
        code_size=4,
        init_std=0.7,
        min_std=0.1,
        outer=RL2PPOConfig(epochs=5, minibatches=2, lr=1e-2),
        baseline=RL2PrivilegedBaselineConfig(hidden_sizes=(16,), lr=1e-2),
    )
    distribution = family()
    return config.build(distribution, CPU)


def push(agent: SkillAgent, rewards: list[float], ended: bool = False) -> None:
    """A step of an adaptation episode in as many environments as there are rewards."""
    observations, envs = np.zeros((len(rewards), 1)), len(rewards)
    actions, auxiliary = agent.adapt_action(observations)
    over = np.full(envs, ended)
    agent.step(Timestep(observations, actions, np.array(rewards), over & False, over, auxiliary))


def test_search_tries_each_candidate_once_then_mixes_the_best() -> None:
    search = Search(list(np.eye(3)), np.random.default_rng(0))
    tried = []
    for episode_return in (1.0, 5.0, 3.0):
        tried.append(search.candidate)
        search.tell(episode_return)
    np.testing.assert_array_equal(tried, np.eye(3))
    np.testing.assert_array_equal(search.best, [0, 1, 0])
    for _ in range(5):
        weights = search.candidate
        assert weights[1] >= 0.5
        assert weights.sum() == pytest.approx(1.0)
        search.tell(0.0)
    np.testing.assert_array_equal(search.best, [0, 1, 0])
    mixture = search.candidate
    search.tell(6.0)
    np.testing.assert_array_equal(search.best, mixture)


def test_search_with_a_single_candidate_repeats_it() -> None:
    search = Search([np.array([0.0, 1.0])], np.random.default_rng(0))
    search.tell(2.0)
    np.testing.assert_array_equal(search.candidate, [0, 1])


def test_codes_have_norm_one_and_follow_the_weights() -> None:
    policy = make_algorithm().policy
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [2.0, 2.0]])
    inputs = PolicyInput(
        torch.cat([torch.zeros(4, 1), weights, torch.zeros(4, 3)], dim=1),
        torch.zeros(4, 1),
        torch.zeros(4),
        torch.zeros(4).bool(),
    )
    codes = policy.standardize(inputs).observations[:, 1:]
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(codes[:2], torch.nn.functional.normalize(policy.codes, dim=-1))
    torch.testing.assert_close(codes[2], codes[3])  # the length of the weights does not matter


def test_shift_moves_positions_of_objects_that_are_there() -> None:
    policy = SkillPolicy(
        7, [(0, 1, 2), (4, 5, 6)], 2, 4, Gaussian(1), JointEncoderConfig(), GRUConfig(hidden_size=3), 1.0, 0.1
    )
    observations = torch.tensor([[1.0, 2.0, 3.0, 9.0, 4.0, 0.0, 0.0], [1.0, 2.0, 3.0, 9.0, 0.0, 0.0, 0.0]])
    shifted = policy._shifted(observations, torch.tensor([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]))
    expected = [[1.1, 2.2, 3.3, 9.0, 4.1, 0.2, 0.3], [1.1, 2.2, 3.3, 9.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(shifted, torch.tensor(expected))


@pytest.mark.parametrize("settings", [{"untold": 0.5}, {"frame_shift": 0.3}], ids=str)
def test_learning_sees_what_acting_saw(monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]) -> None:
    """Untold classes and shifts are drawn anew for each episode, and the update's inputs hold the same ones."""
    monkeypatch.setattr(WrappedDistribution, "positions", ((0, 0, 0),))
    algorithm, distribution = make_algorithm(**settings), family()
    sampler = Sampler([distribution.make_env(20)], list(distribution.train_tasks), (1,), CPU)
    contexts = []
    for _ in range(2):
        trajectories = sampler.collect(
            lambda tasks, noise: algorithm._make_training_actor(sampler.tasks[tasks], noise), 1
        )
        trials = algorithm._make_trials(trajectories)
        outputs, _ = algorithm.policy.sequence(trials.inputs, algorithm.policy.initial_state(20))
        log_probs = algorithm.distribution.log_prob(outputs, trials.actions)
        torch.testing.assert_close(log_probs, trials.log_probs, atol=1e-4, rtol=1e-4)
        contexts.append(trials.inputs.observations[:, 0, 1:])
    weights, shift = contexts[0][:, :2], contexts[0][:, 2:]
    assert not torch.equal(contexts[0], contexts[1])
    if "untold" in settings:
        assert 0.2 < weights.sum(1).mean() < 0.8
    else:
        assert (weights.sum(1) == 1).all()
        assert 0.2 < shift.abs().max() <= 0.3


def test_shift_needs_a_family_that_tells_its_positions() -> None:
    with pytest.raises(UserError, match=r"frame_shift: push does not tell"):
        make_algorithm(frame_shift=0.1)


def test_agent_tells_each_environments_return_and_keeps_its_best_skill() -> None:
    agent = make_algorithm().make_agent(seed=3)
    order = []
    for episode, rewards in enumerate([[1.0, 5.0], [2.0, 3.0]]):
        push(agent, rewards)
        order.append(agent.chosen.argmax(1))
        push(agent, [0.0, 0.0], ended=True)
        assert episode > 1 or agent.num_envs == 2
    agent.adapt()
    agent.reset(np.ones(2, dtype=np.bool_))
    # returns were 1 then 2 in the first environment, 5 then 3 in the second
    np.testing.assert_array_equal(agent.chosen.argmax(1), [order[1][0], order[0][1]])
    assert (order[0] != order[1]).all()


def test_agent_tells_what_it_tries() -> None:
    agent = make_algorithm().make_agent(seed=0).with_skill("left")
    agent.adapt_action(np.zeros((1, agent.observation_size)))
    assert agent.intent(0) == "skill left"
    agent._weights = np.array([[0.25 if name == "left" else 0.75 for name in agent.skills]])
    assert agent.intent(0) == "skills 75% right + 25% left"


def test_steps_that_are_not_valid_do_not_count() -> None:
    agent = make_algorithm().make_agent(seed=3)
    observations = np.zeros((1, 1))
    agent.adapt_action(observations)
    first = agent.chosen
    for reward, valid, ended in ((1.0, True, True), (0.5, True, False), (9.0, False, True), (0.0, True, True)):
        actions, auxiliary = agent.adapt_action(observations)
        over = np.array([ended])
        agent.step(
            Timestep(observations, actions, np.array([reward]), over & False, over, auxiliary), np.array([valid])
        )
    agent.adapt()
    agent.reset(np.ones(1, dtype=np.bool_))
    np.testing.assert_array_equal(agent.chosen, first)


def test_every_episode_starts_from_an_empty_memory() -> None:
    agent = make_algorithm().make_agent(seed=3).with_skill("left")
    first, _ = agent.adapt_action(np.zeros((1, 1)))
    for ended in (False, True):
        if not ended:
            agent.init()
        push(agent, [7.0], ended=ended)
    again, _ = agent.adapt_action(np.zeros((1, 1)))
    np.testing.assert_array_equal(again, first)


def test_act_begins_every_episode_anew_with_the_skill_that_was_kept() -> None:
    agent = make_algorithm().make_agent(seed=3).with_skill("left")
    first = agent.act(np.zeros(1))
    assert agent.chosen.argmax(1).tolist() == [agent.skills.index("left")]
    later = [agent.act(np.zeros(1), reward=9.0) for _ in range(3)]
    assert any((action != first).any() for action in later)  # the memory lasts within the episode
    np.testing.assert_array_equal(agent.act(np.zeros(1), reward=9.0, episode_start=True), first)


def test_an_evaluation_names_the_skill_that_each_task_was_played_with() -> None:
    distribution, agent = family(), make_algorithm().make_agent(0)
    assert isinstance(agent, SkillAgent)
    found = evaluate(agent, distribution, distribution.test_tasks[:3], adaptation_episodes=[0, 2], episodes=1, seed=0)
    assert found.acted_as is not None
    assert np.shape(found.acted_as) == (2, 3)
    assert {name for row in found.acted_as for name in row} <= {"left", "right"}
    only = evaluate(agent.with_skill("right"), distribution, distribution.test_tasks[:3], episodes=1, seed=0)
    assert only.acted_as == (("right",) * 3,) * 4


def test_what_is_tried_on_a_task_does_not_depend_on_the_others() -> None:
    distribution, agent = family(), make_algorithm().make_agent(0)
    tasks = distribution.test_tasks

    def play(some: Sequence[Task], num_envs: int) -> list[list[str]]:
        options: dict[str, Any] = {"adaptation_episodes": (0, 1, 4), "episodes": 1, "seed": 1, "num_envs": num_envs}
        acted_as = evaluate(agent, distribution, some, **options).acted_as
        assert acted_as is not None
        return [list(names) for names in acted_as]

    together = play(tasks, 20)
    assert {"left", "right"} == set(together[0]) == set(together[1])
    assert play(tasks, 3) == together
    assert play(tasks[5:9], 4) == [names[5:9] for names in together]


def test_unknown_skill() -> None:
    with pytest.raises(UserError, match=r"skill 'up'.*left"):
        make_algorithm().make_agent(seed=1).with_skill("up")


def test_recorded_episodes_are_refused() -> None:
    agent = make_algorithm().make_agent(seed=1)
    with pytest.raises(UserError, match="which skill"):
        agent.adapt_on([(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2))])


def test_it_learns_skills_of_very_different_rewards_and_finds_them_on_other_classes() -> None:
    algorithm, distribution = make_algorithm(), family()
    env = distribution.make_env(20)
    sampler = Sampler([env], list(distribution.train_tasks), (1,), CPU)
    algorithm.warm_up(sampler)
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        result = algorithm.meta_iteration(sampler, generator)
    assert result.metrics["train/value_loss"] < 0.5
    agent = algorithm.make_agent(seed=1)
    tasks = distribution.test_tasks
    found = evaluate(agent, distribution, tasks, adaptation_episodes=(0, 2), episodes=1, seed=1, env=env)
    before, after = (summary.success.mean for summary in found.overall)
    assert after == 1.0
    assert 0.2 < before < 0.8  # a skill at random is the right one half of the time
    matrix = skill_matrix(agent, distribution, tasks, seed=1)
    assert matrix.skills == ("left", "right")
    np.testing.assert_array_equal(matrix.by_name(), [[0, 1], [1, 0]])  # names are "east", "west"
    assert matrix.solved_as() == {"east": {"right": 10}, "west": {"left": 10}}


def test_ways_to_choose_by_hand() -> None:
    matrix = SkillMatrix(
        ("a", "b"),
        ("x", "x", "y"),
        success=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        returns=np.array([[3.0, 2.0, 1.0], [2.0, 1.0, 0.0]]),
    )
    ways = matrix.choices()
    np.testing.assert_array_equal(ways["random"], [0.5, 0.0])
    np.testing.assert_array_equal(ways["return"], [0.5, 0.0])  # the second task's return misleads
    np.testing.assert_array_equal(ways["oracle"], [1.0, 0.0])
    np.testing.assert_array_equal(ways["single"], [0.5, 0.0])
    assert matrix.to_dict()["solved_as"] == {"x": {"a": 2}, "y": {"a": 1}}
