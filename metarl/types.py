"""Records with named axes that pass between sampling, learning and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
        """The records of some tasks, followed by those of others."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Trajectories)]
        return Trajectories(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def to(self, device: torch.device) -> Trajectories:
        """The same record on another device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class Timestep(NamedTuple):
    """One step of all environments as an agent is told of it: the fields of `metaworld.evaluation.Timestep`."""

    observation: npt.NDArray[np.float64]
    """`(env, obs)`, what the agent saw before acting."""
    action: npt.NDArray[np.float64] | npt.NDArray[np.int64]
    """`(env, action)`, or `(env,)` integers where actions are discrete."""
    reward: npt.NDArray[np.float64]
    """`(env,)`"""
    terminated: npt.NDArray[np.bool_]
    """`(env,)`"""
    truncated: npt.NDArray[np.bool_]
    """`(env,)`"""
    aux_policy_outputs: dict[str, npt.NDArray[np.float64]]
    """What `adapt_action` returned beside the action. Our evaluator adds "valid", `(env,)`: 0 where the environment has
    already played its number of episodes and only waits for others."""


@runtime_checkable
class TimestepLike(Protocol):
    """The fields of `Timestep` in whoever's record: Meta-World's evaluator tells agents in one of its own."""

    @property
    def observation(self) -> npt.NDArray[Any]:
        """See `Timestep`."""

    @property
    def action(self) -> npt.NDArray[Any]:
        """See `Timestep`."""

    @property
    def reward(self) -> npt.NDArray[Any]:
        """See `Timestep`."""

    @property
    def terminated(self) -> npt.NDArray[np.bool_]:
        """See `Timestep`."""

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """See `Timestep`."""

    @property
    def aux_policy_outputs(self) -> dict[str, npt.NDArray[Any]]:
        """See `Timestep`."""
