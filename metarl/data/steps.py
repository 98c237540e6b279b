"""One step of a vector of environments, as it is told to who acts, and as the play loop hands it to who listens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from metarl_envs.divergence import Divergence

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

UNCLIPPED = "unclipped_action"
"""Auxiliary output of acting: the action vector as drawn, which learning needs where the environment clips it."""
PARAMETERS = "action_parameters"
"""Auxiliary output of acting: the parameters of the distribution that the action was drawn from."""


class Timestep(NamedTuple):
    """One step of all environments; the fields are those of `metaworld.evaluation.Timestep`."""

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
    aux_policy_outputs: dict[str, npt.NDArray[Any]]
    """Arrays `(env, ...)` that were returned beside the action."""


@runtime_checkable
class TimestepLike(Protocol):
    """Any record with the fields of `Timestep`: Meta-World's evaluator has a class of its own."""

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


class Step(NamedTuple):
    """One step of a vector of environments, as the play loop hands it to its listener."""

    vector: int
    """Index of the vector."""
    timestep: Timestep
    """Observations acted on, actions, rewards and ends."""
    valid: BoolArray
    """`(env,)`, false where an environment has played its episodes and only waits for others."""
    episode: npt.NDArray[np.int64]
    """`(env,)`, index of the episode that the step belongs to."""
    success: BoolArray
    """`(env,)`, true where the task was solved in this step."""
    final_observations: Array | None
    """`(env, obs)`, the observation that an episode ended with, where one ended; None if none did."""
    diverged: BoolArray
    """`(env,)`, true where the simulation blew up in this step; nothing is to be learned from it."""
    divergences: Sequence[Divergence]
    """Evidence of the simulations that blew up."""

    @property
    def ended(self) -> BoolArray:
        """`(env,)`, true where the step is the last of its episode."""
        return self.timestep.terminated | self.timestep.truncated
