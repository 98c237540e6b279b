"""Skill search: one policy for all training classes, told which it plays; adaptation searches over what it was told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.rl2.actor import RecurrentActor
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.losses import Trials, make_trials
from metarl.algorithms.skills.agent import SkillAgent
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.algorithms.skills.policy import SHIFT_SIZE, SkillPolicy, append_context
from metarl.data.trajectories import Trajectories
from metarl.policies.inputs import PolicyInput
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError


class SkillSearch(RL2):
    """Learns a skill for each class of training tasks by RL²'s outer step, with the class as an input.

    Searching over what a policy is conditioned on is known from sim-to-real transfer (strategy optimisation, Yu et al.
    2019; FAMLE, Kaushik et al. 2020).

    Args:
        config: Settings.
        distribution: Tasks to train on, whose names are the skills.
        device: Device to learn and act on.

    Raises:
        UserError: See `SkillSearchConfig.build` and `RL2`.
    """

    config: SkillSearchConfig
    policy: SkillPolicy

    def __init__(self, config: SkillSearchConfig, distribution: TaskDistribution, device: torch.device) -> None:
        if config.frame_shift > 0 and not distribution.positions:
            raise UserError(
                f"algorithm.frame_shift: {distribution.name} does not tell which elements of an observation are"
                " positions; set it to 0"
            )
        self.skills = tuple(sorted({task.name for task in distribution.train_tasks}))
        """Name of each skill: a class of training tasks."""
        self._positions = distribution.positions
        self._played: list[Tensor] = []
        """Weights and shift of each vector's tasks, between playing and learning."""
        spaces = (distribution.observation_space, distribution.action_space)
        super().__init__(config, *spaces, device, distribution.train_tasks, config.build_guidance(distribution))

    def make_agent(self, seed: int) -> SkillAgent:
        """Makes an agent that tries skills and keeps the best; `seed` seeds the order and its actions."""
        return SkillAgent(
            self.policy, self.distribution, self.action_space, seed, self.skills, greedy=self.config.act_greedily
        )

    def _make_policy(self, observation_size: int) -> SkillPolicy:
        config = self.config
        return SkillPolicy(
            observation_size,
            self._positions,
            len(self.skills),
            config.code_size,
            self.distribution,
            config.encoder,
            config.core,
            config.init_std,
            config.min_std,
        )

    def _make_training_actor(self, tasks: Sequence[Task], noise: Sequence[np.random.Generator]) -> RecurrentActor:
        drawn = torch.as_tensor(np.stack([rng.random(1 + SHIFT_SIZE, np.float32) for rng in noise]))
        told = drawn[:, :1] >= self.config.untold
        # shift ~ U(-s, s) for each axis
        shift = self.config.frame_shift * (2 * drawn[:, 1:] - 1)
        weights = torch.where(told.to(self.device), self._weights(tasks), 0.0)
        self._played.append(torch.cat([weights, shift.to(self.device)], dim=1))
        return SkillActor(self, self._played[-1], noise)

    def _make_trials(self, trajectories: Trajectories) -> Trials:
        trials = make_trials(trajectories)
        context, self._played = torch.cat(self._played), []
        observations = append_context(trials.inputs.observations, context.unsqueeze(1))
        return trials._replace(inputs=trials.inputs._replace(observations=observations))

    def _weights(self, tasks: Sequence[Task]) -> Float[Tensor, "task skill"]:
        """One-hot weights of each task's own skill."""
        own = torch.tensor([self.skills.index(task.name) for task in tasks], device=self.device)
        return torch.nn.functional.one_hot(own, len(self.skills)).float()


class SkillActor(RecurrentActor):
    """Actor of one trial of each task with given weights over skills, in a given frame of reference.

    Args:
        algorithm: Algorithm of the policy.
        context: Weights and shift of each environment.
        noise: Generator of each environment, for the noise of its actions.
    """

    def __init__(
        self, algorithm: SkillSearch, context: Float[Tensor, "env context"], noise: Sequence[np.random.Generator]
    ) -> None:
        super().__init__(algorithm, len(context), noise)
        self._context = context

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        return super().choose(inputs._replace(observations=append_context(inputs.observations, self._context)))
