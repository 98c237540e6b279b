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
    """Episodes of several tasks; steps behind an episode's end are padding, `valid` being false and all else zero.

    Discrete actions are stored one-hot, so that `actions` is always a float tensor.
    """

    observations: Float[Tensor, "task episode step obs"]
    """What the policy saw before acting, in the environment's units."""
    actions: Float[Tensor, "task episode step action"]
    """What the policy did."""
    rewards: Float[Tensor, "task episode step"]
    """Reward of each step, in the environment's units."""
    log_probs: Float[Tensor, "task episode step"]
    """Log-probability of each action under the policy that took it."""
    successes: Bool[Tensor, "task episode step"]
    """Whether the task was solved in this step."""
    terminated: Bool[Tensor, "task episode step"]
    """True at the last step of an episode that reached a terminal state."""
    truncated: Bool[Tensor, "task episode step"]
    """True at the last step of an episode that was cut, by the horizon for example."""
    valid: Bool[Tensor, "task episode step"]
    """False for padding."""
    final_observations: Float[Tensor, "task episode obs"]
    """The observation after the last step of each episode."""
    tasks: tuple[Task, ...] = ()
    """The task of each row; empty where whoever recorded was not told, as an agent is not."""

    def __post_init__(self) -> None:
        assert len(self.tasks) in (0, len(self.rewards)), "rows and tasks do not match"

    @property
    def returns(self) -> Float[Tensor, "task episode"]:
        """Undiscounted return of each episode."""
        return self.rewards.sum(-1)

    @property
    def solved(self) -> Bool[Tensor, "task episode"]:
        """Whether the task was solved at any step of the episode, which is Meta-World's definition of success."""
        return self.successes.any(-1)

    @property
    def num_steps(self) -> int:
        """Environment steps in the record, padding excluded."""
        return int(self.valid.sum())

    @staticmethod
    def cat(parts: Sequence[Trajectories]) -> Trajectories:
        """Concatenates records along the axis `task`."""
        if len(parts) == 1:
            return parts[0]
        tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in TENSORS}
        return Trajectories(**tensors, tasks=tuple(task for part in parts for task in part.tasks))

    def to(self, device: torch.device) -> Trajectories:
        """Copies the record to a device; returns itself if it is there already."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


TENSORS = tuple(field.name for field in fields(Trajectories) if field.name != "tasks")
"""Names of the fields that are tensors."""
