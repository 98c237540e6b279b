"""GAIL (Ho & Ermon 2016): learns one task from scratch, by playing it, from demonstrations in place of its reward."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from metarl.baselines.discriminator import HIDDEN
from metarl.baselines.learners import check_learner, learner_settings
from metarl.baselines.processes import Tell, family_of
from metarl.config.tasks import TasksConfig
from metarl.devices import one_torch_thread
from metarl.policies.normalizer import Normalizer
from metarl_envs.core import Task
from metarl_envs.errors import UserError

GAIL_STEPS = 100_000
"""Environment steps on each task unless others are asked for."""
NUM_ENVS = 16
"""Environments of a task that are played side by side."""
PPO_CHANGES: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "policy_kwargs": {"log_std_init": -1.0}}
"""Settings of PPO other than the defaults of stable-baselines3: a rollout has as many steps as by default, 2,048."""
DISCRIMINATOR: dict[str, Any] = {"lr": 3e-4, "steps": 16, "batch": 256}
"""Settings of the discriminator; see `DiscriminatorLearner`."""
_UNITS = 64


@dataclass(frozen=True, eq=False)
class GailLesson:
    """What is learned by GAIL."""

    config: TasksConfig
    """Settings of the family of the task."""
    task: Task
    """Task to learn."""
    observations: Float32[np.ndarray, "step obs"]
    """Observation of each demonstrated step, in the environment's units."""
    actions: Float32[np.ndarray, "step action"]
    """Action of each demonstrated step, in units of the action space."""
    steps: int
    """Environment steps to play, rounded up to whole rollouts."""
    seed: int
    """Seed that those of networks and environments are derived from, together with the task."""

    def digest(self) -> str:
        """Returns a hash of task, demonstrations, steps and seed."""
        told = f"{self.task.id} {self.observations.shape} {self.steps} {self.seed}".encode()
        return sha256(told + self.observations.tobytes() + self.actions.tobytes()).hexdigest()


class GailPolicy(nn.Module):
    """Mean action of the policy of one task: the multi-layer perceptron of stable-baselines3.

    Args:
        lesson: What is learned; observations are standardised by its demonstrations.
    """

    def __init__(self, lesson: GailLesson) -> None:
        super().__init__()
        observations = torch.from_numpy(lesson.observations)
        self.normalizer = Normalizer(observations.shape[1])
        self.normalizer.update(observations, torch.ones(len(observations), dtype=torch.bool))
        self.network = nn.Sequential(
            nn.Linear(observations.shape[1], _UNITS),
            nn.Tanh(),
            nn.Linear(_UNITS, _UNITS),
            nn.Tanh(),
            nn.Linear(_UNITS, lesson.actions.shape[1]),
        )

    def forward(self, observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b action"]:
        """Actions in units of the action space, for observations in the environment's units."""
        actions: Tensor = self.network(self.normalizer(observations, torch.float32))
        return actions


def check_actions(space: gym.spaces.Box) -> None:
    """Checks that GAIL can learn in an action space.

    Raises:
        UserError: If stable-baselines3 is not installed, or actions have no bounds.
    """
    check_learner("ppo", space)
    if not np.isfinite([space.low, space.high]).all():
        raise UserError("gail learns by the PPO of stable-baselines3, which needs actions with bounds: these have none")


def gail_settings() -> dict[str, Any]:
    """Returns all settings but budget and seed, as JSON types."""
    discriminator = {"hidden_sizes": list(HIDDEN)} | DISCRIMINATOR
    return {"ppo": learner_settings("ppo") | PPO_CHANGES, "environments": NUM_ENVS, "discriminator": discriminator}


@one_torch_thread()
def learn_gail(lesson: GailLesson, tell: Tell) -> dict[str, Any]:
    """Learns a task.

    Args:
        lesson: What to learn.
        tell: Is told the number of environment steps since it was last told.

    Returns:
        Parameters of the `GailPolicy`'s network by name, as JSON types.
    """
    from metarl.baselines.adversarial import train_adversarially

    policy = train_adversarially(family_of(lesson.config), lesson, tell)
    return {name: value.tolist() for name, value in policy.network.state_dict().items()}
