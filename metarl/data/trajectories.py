"""Trajectories: episodes of several tasks as tensors with named axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_envs.core import Task


@dataclass(frozen=True)
class Trajectories:
    """Episodes of several tasks, padded to one length: `valid` is false in padding and all other fields are zero.

    Discrete actions are stored one-hot, so `actions` is always a float tensor.
    """

    observations: Float[Tensor, "task episode step obs"]
    """Observation before each action, in the environment's units; float64, other fields are float32."""
    actions: Float[Tensor, "task episode step action"]
    """Action vectors as drawn from the policy, in units of the action space: -1 is its lower bound, 1 its upper."""
    rewards: Float[Tensor, "task episode step"]
    """Reward of each step, in the environment's units."""
    log_probs: Float[Tensor, "task episode step"]
    """Log-probability of each action, in nats, under the policy that drew it."""
    successes: Bool[Tensor, "task episode step"]
    """True where the task was solved in this step."""
    terminated: Bool[Tensor, "task episode step"]
    """True at the last step of an episode that reached a terminal state."""
    truncated: Bool[Tensor, "task episode step"]
    """True at the last step of an episode that was cut, by the horizon for example."""
    valid: Bool[Tensor, "task episode step"]
    """False in padding."""
    final_observations: Float[Tensor, "task episode obs"]
    """Observation after the last step of each episode, in the environment's units."""
    tasks: tuple[Task, ...] = ()
    """Task of each row; empty if unknown, as in the episodes that an agent records."""

    def __post_init__(self) -> None:
        assert len(self.tasks) in (0, len(self.rewards)), "rows and tasks do not match"

    @property
    def returns(self) -> Float[Tensor, "task episode"]:
        """Undiscounted return of each episode."""
        return self.rewards.sum(-1)

    @property
    def solved(self) -> Bool[Tensor, "task episode"]:
        """True where the task was solved at any step of the episode, Meta-World's definition of success."""
        return self.successes.any(-1)

    @property
    def num_steps(self) -> int:
        """Number of environment steps, padding excluded."""
        return int(self.valid.sum())

    @staticmethod
    def cat(parts: Sequence[Trajectories]) -> Trajectories:
        """Concatenates trajectories along the axis `task`."""
        if len(parts) == 1:
            return parts[0]
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in TENSORS}
        return Trajectories(**tensors, tasks=tuple(task for part in parts for task in part.tasks))

    def to(self, device: torch.device) -> Trajectories:
        """Returns the trajectories on a device; tensors that are there already are not copied."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


TENSORS = tuple(field.name for field in fields(Trajectories) if field.name != "tasks")
"""Names of the fields that are tensors."""
