"""Exploration noise of an environment depends on its task, not on the others played beside it."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from metarl.acting.agents import TrainedAgent
from metarl.acting.exploration import _BLOCK, Exploration
from metarl.config import RunConfig
from metarl.evaluation.protocol import evaluate
from metarl.policies.distributions import Categorical, Gaussian
from metarl_envs.core import TaskDistribution

ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {"kind": "maml", "inner": {"steps": 2}},
    "rl2-gru": {"kind": "rl2", "core": {"kind": "gru", "hidden_size": 32}},
    "rl2-lstm": {"kind": "rl2", "core": {"kind": "lstm", "hidden_size": 32}},
    "rl2-transformer": {"kind": "rl2", "core": {"kind": "transformer", "memory": 20, "model_size": 16, "heads": 2}},
}
TASKS = {"navigation": {"horizon": 12, "num_test_tasks": 10}, "bandit": {"arms": 4, "num_test_tasks": 10}}


def make(algorithm: str, family: str) -> tuple[TrainedAgent, TaskDistribution]:
    torch.manual_seed(0)
    tasks = {"kind": family} | TASKS[family]
    config = RunConfig.model_validate({"iterations": 1, "tasks": tasks, "algorithm": ALGORITHMS[algorithm]})
    distribution = config.tasks.build()
    return config.algorithm.build(distribution, torch.device("cpu")).make_agent(seed=3), distribution


@pytest.mark.parametrize("family", TASKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_results_of_a_task_do_not_depend_on_the_others(algorithm, family) -> None:
    agent, distribution = make(algorithm, family)
    options: dict[str, Any] = {"adaptation_episodes": (0, 4), "episodes": 2, "seed": 1}
    together = evaluate(agent, distribution, distribution.test_tasks, num_envs=10, **options).returns
    for num_envs in (5, 3):
        parts = evaluate(agent, distribution, distribution.test_tasks, num_envs=num_envs, **options).returns
        np.testing.assert_allclose(parts, together, atol=1e-4)  # float32 rounds by the size of a matrix product
    some = [7, 2, 4]
    alone = evaluate(agent, distribution, [distribution.test_tasks[task] for task in some], **options).returns
    np.testing.assert_allclose(alone, together[:, some], atol=1e-4)


def test_the_seed_of_the_agent_counts_too_and_a_task_given_twice_is_played_with_other_noise() -> None:
    agent, distribution = make("maml", "navigation")
    twice = [distribution.test_tasks[0]] * 2
    returns = evaluate(agent, distribution, twice, adaptation_episodes=(4,), episodes=1, seed=1).returns[0, :, 0]
    assert returns[0] != returns[1]


@pytest.mark.parametrize("distribution", [Gaussian(2), Categorical(3)])
def test_streams_belong_to_environments(distribution) -> None:
    parameters = torch.zeros(5, distribution.parameter_size)
    several, few = Exploration(distribution, 7), Exploration(distribution, 7)
    for _ in range(_BLOCK + 3):
        assert torch.equal(several.sample(parameters)[:2], few.sample(parameters[:2]))
    several.seed([11, 12, 13, 14, 15])
    few.seed([14, 12])
    for _ in range(3):
        assert torch.equal(several.sample(parameters)[[3, 1]], few.sample(parameters[:2]))
    other = Exploration(distribution, 8)
    other.seed([14, 12])
    drawn = [torch.stack([each.sample(parameters[:2]) for _ in range(20)]) for each in (few, other)]
    assert not torch.equal(*drawn)


def test_a_trial_has_other_noise_than_the_one_before() -> None:
    exploration, parameters = Exploration(Gaussian(2), 1), torch.zeros(1, 4)
    first = exploration.sample(parameters)
    exploration.restart()
    assert not torch.equal(first, exploration.sample(parameters))


def test_actions_are_distributed_as_the_policy_says() -> None:
    rng, count = np.random.default_rng(0), 40_000
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(count, 3)
    categorical = Categorical(3)
    counts = categorical.sample_by(logits, torch.from_numpy(categorical.noise(rng, count))).sum(0)
    assert stats.chisquare(counts.numpy(), count * np.array([0.5, 0.3, 0.2])).pvalue > 1e-3
    gaussian = Gaussian(1)
    parameters = torch.tensor([[2.0, np.log(3.0)]]).float().expand(count, 2)
    drawn = gaussian.sample_by(parameters, torch.from_numpy(gaussian.noise(rng, count)))[:, 0].numpy()
    assert stats.kstest(drawn, stats.norm(2, 3).cdf).pvalue > 1e-3
