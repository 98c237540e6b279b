"""Both algorithms learn to adapt, on problems whose optimum is known; under a minute each."""

import numpy as np
import pytest
import torch

from metarl.acting.sampler import Sampler
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.evaluation.protocol import evaluate
from metarl.policies.config import GRUConfig
from metarl.seeding import Stream, generator
from metarl.strategies.bandits import BanditStrategy, bandit_strategies, bayes_optimal_return
from metarl.strategies.trials import play_trials
from metarl_envs.bandit import Bandit
from metarl_envs.core import TaskDistribution
from metarl_envs.navigation import Navigation

pytestmark = pytest.mark.learning
CPU = torch.device("cpu")


def learn(algorithm: MAML | RL2, distribution: TaskDistribution, iterations: int) -> None:
    env = distribution.make_env(algorithm.num_envs)
    for iteration in range(iterations):
        tasks = distribution.sample(algorithm.config.meta_batch, generator(1, Stream.TASKS, iteration))
        sampler = Sampler([env], tasks, (1, Stream.SAMPLING, iteration), CPU)
        algorithm.meta_iteration(sampler, torch.Generator().manual_seed(iteration))


def test_maml_finds_goals_that_no_single_policy_finds() -> None:
    torch.manual_seed(0)
    distribution = Navigation(num_test_tasks=40, horizon=50)
    config = MAMLConfig(
        meta_batch=10, episodes=20, parallel_episodes=20, hidden_sizes=(64,), normalize_observations=False
    )
    maml = MAML(config, distribution.observation_space, distribution.action_space, CPU)
    learn(maml, distribution, iterations=60)
    tasks = distribution.test_tasks
    evaluation = evaluate(maml.make_agent(seed=1), distribution, tasks, adaptation_episodes=(0, 20), episodes=1, seed=1)
    adapted = evaluation.overall[1]
    # Standing still in the middle is the best that a policy can do without knowing the goal.
    standing_still = -50 * np.mean([np.linalg.norm(task.parameters) for task in tasks])
    assert adapted.return_gain is not None
    assert adapted.return_gain.low > 0
    assert adapted.returns.low > 0.7 * standing_still


def test_rl2_plays_bandits_nearly_as_well_as_possible() -> None:
    torch.manual_seed(0)
    pulls, distribution = 10, Bandit(arms=2, num_test_tasks=5000)
    config = RL2Config(
        meta_batch=1000,
        episodes=pulls,
        core=GRUConfig(hidden_size=32),
        gae_lambda=0.3,
        normalize_observations=False,
        normalize_reward_input=False,
        outer=RL2PPOConfig(lr=2e-3, epochs=5, minibatches=2),
    )
    rl2 = RL2(config, distribution.observation_space, distribution.action_space, CPU)
    learn(rl2, distribution, iterations=60)
    tasks = distribution.test_tasks
    sampler = Sampler([distribution.make_env(len(tasks))], tasks, (1, Stream.EVALUATION), CPU)
    reward = sampler.collect(rl2.make_actor, pulls).rewards.sum((1, 2)).mean().item()
    thompson = BanditStrategy(bandit_strategies(pulls)["thompson"], len(tasks), 2, np.random.default_rng(0))
    assert reward > 0.97 * bayes_optimal_return(2, pulls)
    assert reward > play_trials(thompson, distribution, tasks, pulls, seed=1).sum(axis=-1).mean()
