"""MAML outside of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import Counting
from torch import Tensor, nn

from metarl.algorithms.maml.agent import MAMLAgent
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.baselines import ValueBaseline
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig, MAMLValueBaselineConfig, ProMPConfig
from metarl.data.steps import Array, Timestep
from metarl.data.trajectories import Trajectories
from metarl.evaluation.protocol import evaluate
from metarl.optim.vectors import Parameters
from metarl_envs.core import TaskDistribution

OBSERVATIONS = np.array([[0.0, 20.0], [1.0, -3.0]])
NOTHING = np.zeros(2, bool)
HEAD = InnerConfig(lr=0.5, adapted="head")
RATIO = InnerConfig(lr=0.5, estimator="likelihood_ratio")


def make_maml(distribution: TaskDistribution | None = None, **settings: Any) -> MAML:
    torch.manual_seed(0)
    distribution = distribution or Counting()
    small: dict[str, Any] = {"meta_batch": 2, "hidden_sizes": (4,), "inner": InnerConfig(lr=0.5)}
    config = MAMLConfig(**(small | settings))
    return MAML(config, distribution.observation_space, distribution.action_space, torch.device("cpu"))


def tell_episodes(agent: MAMLAgent, lengths: Sequence[int], seed: int = 0) -> list[Timestep]:
    """Plays one episode after another in two environments, which end together; returns what was played."""
    rng = np.random.default_rng(seed)
    steps: list[Timestep] = []
    for length in lengths:
        for index in range(length):
            observations = rng.normal(size=(2, 2))
            actions, auxiliary = agent.adapt_action(observations)
            ended = np.full(2, index == length - 1)
            steps.append(Timestep(observations, actions, rng.normal(size=2), NOTHING, ended, auxiliary))
            agent.step(steps[-1])
    return steps


def to_trajectories(steps: Sequence[Timestep], length: int) -> Trajectories:
    """Steps of two environments with episodes of one length, as a record, by plain reshaping."""
    episodes = len(steps) // length

    def record(values: Sequence[Array]) -> Tensor:
        array = np.stack(values, axis=1).astype(np.float32)
        return torch.from_numpy(array.reshape(2, episodes, length, *array.shape[2:]))

    rewards = record([step.reward for step in steps])
    valid = torch.ones(2, episodes, length, dtype=torch.bool)
    return Trajectories(
        record([step.observation for step in steps]),
        record([step.aux_policy_outputs["unclipped_action"] for step in steps]),
        rewards,
        torch.zeros_like(rewards),
        ~valid,
        ~valid,
        ~valid,
        valid,
        torch.zeros(2, episodes, 2),
    )


def test_adapting_is_the_inner_step_of_training() -> None:
    maml = make_maml()
    agent = maml.make_agent(seed=1)
    steps = tell_episodes(agent, [5, 5, 5])
    agent.adapt()
    batch = maml.make_batch(to_trajectories(steps, 5))
    adapted = maml.adapt(maml.replicate(maml.parameters, 2), batch)
    means = maml.distribution.mode(maml.outputs(adapted, torch.tensor(OBSERVATIONS).float().unsqueeze(1)).squeeze(1))
    np.testing.assert_allclose(agent.eval_action(OBSERVATIONS), np.clip(means.numpy(), -1, 1), atol=1e-5)


def test_each_environment_has_a_policy_of_its_own() -> None:
    maml = make_maml()
    agent = maml.make_agent(seed=1)
    same = np.array([[0.5, 0.5], [0.5, 0.5]])
    before = agent.eval_action(same)
    np.testing.assert_allclose(before[0], before[1])
    tell_episodes(agent, [5, 5])
    agent.adapt()
    after = agent.eval_action(same)
    assert not np.allclose(after[0], after[1], atol=1e-4)


def test_memory_is_for_the_longest_episode_not_for_all_steps_in_one() -> None:
    """Regression: ten episodes of 100 steps took the memory of ten episodes of 1000."""
    agent = make_maml().make_agent(seed=1)
    trajectories = agent._record(tell_episodes(agent, [5, 3, 5]))
    assert trajectories.valid.shape == (2, 3, 5)
    assert trajectories.valid.sum(-1).tolist() == [[5, 3, 5]] * 2


def test_adapting_more_tasks_than_a_meta_batch_in_parts_changes_nothing() -> None:
    """Regression: evaluating on many tasks at once took several times the memory of training."""

    def adapted(meta_batch: int) -> Array:
        maml = make_maml(meta_batch=meta_batch)
        agent = maml.make_agent(seed=1)
        rng = np.random.default_rng(0)
        ended = np.zeros(5, bool)
        for index in range(6):
            observations = rng.normal(size=(5, 2))
            actions, auxiliary = agent.adapt_action(observations)
            agent.step(Timestep(observations, actions, rng.normal(size=5), ended, ended | (index == 5), auxiliary))
        agent.adapt()
        return agent.eval_action(np.ones((5, 2)))

    np.testing.assert_allclose(adapted(2), adapted(5), atol=1e-6)


def test_evaluation_episodes_are_not_learned_from() -> None:
    maml = make_maml()
    agent = maml.make_agent(seed=1)
    tell_episodes(agent, [5])
    agent.adapt()
    expected = agent.eval_action(OBSERVATIONS)
    for _ in range(3):
        actions = agent.eval_action(OBSERVATIONS)
        agent.step(Timestep(OBSERVATIONS, actions, np.full(2, 1e3), NOTHING, ~NOTHING, {}))
    agent.adapt()
    assert np.array_equal(agent.eval_action(OBSERVATIONS), expected)


def test_zero_shot_is_the_initial_policy_and_init_returns_to_it() -> None:
    agent = make_maml().make_agent(seed=1)
    agent.adapt()
    zero_shot = agent.eval_action(OBSERVATIONS)
    tell_episodes(agent, [5, 5])
    agent.adapt()
    assert not np.allclose(agent.eval_action(OBSERVATIONS), zero_shot)
    agent.init()
    assert np.array_equal(agent.eval_action(OBSERVATIONS), zero_shot)


def test_a_second_round_adapts_further_with_the_adapted_policy() -> None:
    agent = make_maml(inner=InnerConfig(steps=2, lr=0.5)).make_agent(seed=1)
    assert agent.adaptation_steps == 2
    tell_episodes(agent, [5])
    agent.adapt()
    once = agent.eval_action(OBSERVATIONS)
    tell_episodes(agent, [5], seed=1)
    agent.adapt()
    assert not np.allclose(agent.eval_action(OBSERVATIONS), once)


def test_refinements_are_later_steps_each_a_part_of_the_step_before() -> None:
    """With a decay of 1/4 three steps are 1, 1/4 and 1/16 times as long as in training, a fourth as the third."""
    maml = make_maml(inner=InnerConfig(lr=0.5, refinements=2, refinement_decay=0.25))
    agent = maml.make_agent(seed=1)
    assert agent.adaptation_steps == 3
    adapted = maml.replicate(maml.parameters, 2)
    for _ in range(2):
        for index, length in enumerate([1, 0.25, 0.0625, 0.0625]):
            batch = maml.make_batch(to_trajectories(tell_episodes(agent, [5, 5], seed=index), 5))
            whole = maml.adapt(adapted, batch)
            agent.adapt()
            adapted = {name: adapted[name] + length * (whole[name] - adapted[name]) for name in adapted}
            for name, value in agent._current(2).items():
                torch.testing.assert_close(value, adapted[name])
        # the first step after `init` is a whole one again
        agent.init()
        adapted = maml.replicate(maml.parameters, 2)


def adapted_by(maml: MAML) -> Parameters:
    """How far each parameter is from where it started, after an agent has adapted to two environments."""
    agent = maml.make_agent(seed=1)
    tell_episodes(agent, [5, 5, 5])
    agent.adapt()
    initial = maml.replicate(maml.parameters, 2)
    return {name: value - initial[name] for name, value in agent._current(2).items()}


def test_head_only_adaptation_leaves_the_body() -> None:
    """ANIL; the standard deviation counts as the head's."""
    moved = {name: change.abs().max() > 0 for name, change in adapted_by(make_maml(inner=HEAD)).items()}
    assert moved == {
        "body.0.weight": False,
        "body.0.bias": False,
        "head.linear.weight": True,
        "head.linear.bias": True,
        "head.log_std": True,
    }
    everything, head = adapted_by(make_maml()), adapted_by(make_maml(inner=HEAD))
    for name in ("head.linear.weight", "head.linear.bias", "head.log_std"):
        torch.testing.assert_close(head[name], everything[name])


def test_learned_step_sizes_are_used_parameter_by_parameter() -> None:
    """Meta-SGD: from equal step sizes it is MAML; a step size of zero freezes a parameter, a double one doubles it."""
    plain, maml = adapted_by(make_maml()), make_maml(inner=InnerConfig(lr=0.5, learned_lr=True))
    for name, change in adapted_by(maml).items():
        torch.testing.assert_close(change, plain[name])
    maml.step_sizes["step_sizes.body.0.bias"][:2] = 0.0
    maml.step_sizes["step_sizes.head.log_std"] *= 2
    changed = adapted_by(maml)
    factor = torch.tensor([0.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(changed["body.0.bias"], factor * plain["body.0.bias"])
    torch.testing.assert_close(changed["head.log_std"], 2 * plain["head.log_std"])
    torch.testing.assert_close(changed["body.0.weight"], plain["body.0.weight"])


def test_the_estimator_makes_no_difference_outside_of_training() -> None:
    plain, other = adapted_by(make_maml()), adapted_by(make_maml(inner=RATIO))
    assert any(change.abs().max() > 0.01 for change in plain.values())
    for name, change in other.items():
        torch.testing.assert_close(change, plain[name])


def test_a_learned_value_baseline_serves_the_agent_too() -> None:
    maml = make_maml(baseline=MAMLValueBaselineConfig(hidden_sizes=(3,)))
    before = adapted_by(maml)
    assert isinstance(maml.baseline, ValueBaseline)
    last = maml.baseline._network.layers[-1]
    assert isinstance(last, nn.Linear)
    last.bias.data += 5.0
    shifted = adapted_by(maml)
    assert any(change.abs().max() > 0.01 for change in before.values())
    for name, change in shifted.items():  # a constant more for every value is none after standardising the advantages
        torch.testing.assert_close(change, before[name], atol=1e-4, rtol=1e-3)
    last.weight.data += 50.0
    different = adapted_by(maml)
    assert any((change - before[name]).abs().max() > 0.01 for name, change in different.items())


def test_a_task_whose_step_is_not_finite_keeps_its_policy() -> None:
    maml = make_maml()
    agent = maml.make_agent(seed=1)
    batch = maml.make_batch(to_trajectories(tell_episodes(agent, [5, 5]), 5))
    expected = maml.adapt(maml.replicate(maml.parameters, 2), batch)
    advantages = batch.advantages.clone()
    advantages[1] = torch.nan
    adapted = maml.adapt(maml.replicate(maml.parameters, 2), batch._replace(advantages=advantages))
    for name, value in maml.parameters.items():
        torch.testing.assert_close(adapted[name][0], expected[name][0])
        assert torch.equal(adapted[name][1], value)


MEMBERS: dict[str, dict[str, Any]] = {
    "maml": {},
    "anil": {"inner": HEAD},
    "meta-sgd": {"inner": InnerConfig(learned_lr=True)},
    "promp": {"inner": RATIO, "outer": ProMPConfig()},
    "value": {"baseline": MAMLValueBaselineConfig(hidden_sizes=(3,))},
}


@pytest.mark.parametrize("member", MEMBERS.values(), ids=MEMBERS)
@pytest.mark.parametrize("discrete", [False, True])
def test_agent_runs_under_the_evaluator_with_episodes_of_different_lengths(discrete, member) -> None:
    distribution = Counting(test=((2, 40), (3, 50), (4, 60)), discrete=discrete)
    agent = make_maml(distribution, **member).make_agent(seed=1)
    evaluation = evaluate(agent, distribution, distribution.test_tasks, adaptation_episodes=(0, 2), episodes=2, seed=1)
    assert evaluation.success.all()
    assert evaluation.returns.shape == (2, 3, 2)
