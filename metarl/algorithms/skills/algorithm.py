"""Skill search: one policy for all training classes, told which it plays; adaptation searches over what it was told."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.rl2.algorithm import RL2, RecurrentActor
from metarl.algorithms.rl2.losses import Trials, make_trials
from metarl.algorithms.skills.agent import SkillAgent
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.algorithms.skills.policy import SkillPolicy
from metarl.data.trajectories import Trajectories
from metarl.policies.inputs import PolicyInput
from metarl_envs.core import Task


class SkillSearch(RL2):
    """Learns a skill for each class of training tasks by RL²'s outer step, with the class as an input.

    Searching over what a policy is conditioned on is known from sim-to-real transfer (strategy optimisation, Yu et al.
    2019; FAMLE, Kaushik et al. 2020).

    Args:
        config: Settings.
        observation_space: Observation space of a single environment.
        action_space: Action space of a single environment.
        device: Device to learn and act on.
        tasks: Training tasks, whose names are the skills.
    """

    config: SkillSearchConfig
    policy: SkillPolicy

    def __init__(
        self,
        config: SkillSearchConfig,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
        tasks: Sequence[Task],
    ) -> None:
        self.skills = tuple(sorted({task.name for task in tasks}))
        """Name of each skill: a class of training tasks."""
        super().__init__(config, observation_space, action_space, device, tasks)

    def make_agent(self, seed: int) -> SkillAgent:
        """Makes an agent that tries skills and keeps the best; `seed` seeds the order and its actions."""
        return SkillAgent(
            self.policy, self.distribution, self.action_space, seed, self.skills, greedy=self.config.act_greedily
        )

    def _make_policy(self, observation_size: int) -> SkillPolicy:
        config = self.config
        return SkillPolicy(
            observation_size,
            len(self.skills),
            config.code_size,
            self.distribution,
            config.encoder,
            config.core,
            config.init_std,
            config.min_std,
        )

    def _make_training_actor(self, tasks: Sequence[Task], noise: torch.Generator) -> RecurrentActor:
        return SkillActor(self, self._weights(tasks), noise)

    def _make_trials(self, trajectories: Trajectories) -> Trials:
        trials = make_trials(trajectories)
        observations = _append(trials.inputs.observations, self._weights(trials.tasks).unsqueeze(1))
        return trials._replace(inputs=trials.inputs._replace(observations=observations))

    def _weights(self, tasks: Sequence[Task]) -> Float[Tensor, "task skill"]:
        """One-hot weights of each task's own skill."""
        own = torch.tensor([self.skills.index(task.name) for task in tasks], device=self.device)
        return torch.nn.functional.one_hot(own, len(self.skills)).float()


class SkillActor(RecurrentActor):
    """Actor of one trial of each task with given weights over skills.

    Args:
        algorithm: Algorithm of the policy.
        weights: Weights of each environment.
        noise: Generator of the actions' noise.
    """

    def __init__(self, algorithm: SkillSearch, weights: Float[Tensor, "env skill"], noise: torch.Generator) -> None:
        super().__init__(algorithm, len(weights), noise)
        self._weights = weights

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        return super().choose(inputs._replace(observations=_append(inputs.observations, self._weights)))


def _append(observations: Float[Tensor, "*b obs"], weights: Float[Tensor, "*c skill"]) -> Float[Tensor, "*b both"]:
    return torch.cat([observations, weights.expand(*observations.shape[:-1], -1)], dim=-1)
