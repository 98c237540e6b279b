"""Training by GAIL with stable-baselines3, which importing this module takes."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from metarl.acting.actions import make_to_environment
from metarl.algorithms.imitation.library import Steps
from metarl.baselines.discriminator import Discriminator, DiscriminatorLearner, imitation_reward
from metarl.baselines.gail import DISCRIMINATOR, NUM_ENVS, PPO_CHANGES, GailLesson, GailPolicy
from metarl.baselines.learners import make_learner
from metarl.baselines.processes import Tell
from metarl.policies.normalizer import Normalizer
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.stable_baselines import StableBaselinesVecEnv


class AdversarialVecEnv(StableBaselinesVecEnv):
    """Vector of stable-baselines3 that is rewarded by a discriminator; the tasks' own rewards are dropped.

    Observations are standardised, actions are in units of the action space.

    Args:
        env: Vector with its tasks set.
        normalizer: Normaliser of the observations.
        discriminator: What rewards.
    """

    def __init__(self, env: TaskVectorEnv, normalizer: Normalizer, discriminator: Discriminator) -> None:
        super().__init__(env)
        self._to_environment = make_to_environment(env.single_action_space)
        self._normalizer, self._discriminator = normalizer, discriminator
        self._played: list[Steps] = []
        shape = env.single_observation_space.shape
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = gym.spaces.Box(-1, 1, env.single_action_space.shape, np.float32)

    def take_played(self) -> Steps:
        """Returns the steps since the last call, `(step, ...)`."""
        played = Steps(*map(torch.cat, zip(*self._played, strict=True)))
        self._played.clear()
        return played

    def reset(self) -> npt.NDArray[np.float32]:
        """See `StableBaselinesVecEnv`."""
        self._seen = self._standardise(super().reset())
        return self._seen

    def step_async(self, actions: npt.NDArray[np.float32]) -> None:
        """See `StableBaselinesVecEnv`."""
        self._played.append(Steps(torch.from_numpy(self._seen), torch.from_numpy(actions)))
        super().step_async(self._to_environment(actions))

    @torch.no_grad()
    def step_wait(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        """See `StableBaselinesVecEnv`."""
        observations, _, ended, details = super().step_wait()
        rewards = imitation_reward(self._discriminator(self._played[-1])).numpy()
        self._seen = self._standardise(observations)
        for env in np.flatnonzero(ended):
            details[env]["terminal_observation"] = self._standardise(details[env]["terminal_observation"])
        return self._seen, rewards, ended, details

    def _standardise(self, observations: npt.NDArray[Any]) -> Float32[np.ndarray, "*b obs"]:
        standardised: npt.NDArray[np.float32] = self._normalizer(torch.from_numpy(observations), torch.float32).numpy()
        return standardised


class _Discriminating(BaseCallback):
    """Lets the discriminator learn from each rollout; the next one is rewarded by what it has learned."""

    def __init__(self, env: AdversarialVecEnv, learner: DiscriminatorLearner, tell: Tell) -> None:
        super().__init__()
        self._env, self._learner, self._tell = env, learner, tell

    def _on_step(self) -> bool:
        self._tell(self._env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        self._learner.learn(self._env.take_played())


def train_adversarially(distribution: TaskDistribution, lesson: GailLesson, tell: Tell) -> GailPolicy:
    """Learns a task by GAIL: policy and discriminator learn in turns (Ho & Ermon 2016, algorithm 1).

    The policy learns by PPO where the paper has TRPO, without a bonus for entropy (lambda = 0). It begins at random.

    Args:
        distribution: Family of the task.
        lesson: What to learn.
        tell: Is told the number of environment steps since it was last told.
    """
    # (seed of PPO and its environments, of the discriminator, of its minibatches) = derive(seed, task)
    key = (int(lesson.task.id[:8], 16), int(lesson.task.id[8:], 16))
    ppo_seed, start_seed, draw_seed = derive_seeds(lesson.seed, Stream.BASELINES, *key, count=3)
    policy = GailPolicy(lesson)
    with torch.random.fork_rng():
        torch.manual_seed(start_seed)
        discriminator = Discriminator(lesson.observations.shape[1], lesson.actions.shape[1])
    observations = policy.normalizer(torch.from_numpy(lesson.observations), torch.float32)
    shown = Steps(observations, torch.from_numpy(lesson.actions))
    learner = DiscriminatorLearner(
        discriminator, shown, generator=torch.Generator().manual_seed(draw_seed), **DISCRIMINATOR
    )
    with closing(distribution.make_env(NUM_ENVS)) as alike:
        alike.set_tasks([lesson.task] * NUM_ENVS)
        env = AdversarialVecEnv(alike, policy.normalizer, discriminator)
        # rewards in units of their own discounted sum, which the value network can follow
        model = make_learner("ppo", VecNormalize(env, norm_obs=False), ppo_seed, **PPO_CHANGES)
        model.learn(lesson.steps, _Discriminating(env, learner, tell))
    learned = model.policy
    assert isinstance(learned, ActorCriticPolicy)
    network = torch.nn.Sequential(*learned.mlp_extractor.policy_net, learned.action_net)
    policy.network.load_state_dict(network.state_dict())
    return policy
