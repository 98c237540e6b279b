"""Records of one step of a vector of environments: `Timestep` for actors, `Step` from the play loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from metarl_envs.divergence import Divergence

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]

UNCLIPPED = "unclipped_action"
"""Auxiliary output of acting: the action vector as drawn, before the environment clips it; learning needs it."""
PARAMETERS = "action_parameters"
"""Auxiliary output of acting: the parameters of the action distribution."""


class Timestep(NamedTuple):
    """One step of all environments; the fields are those of `metaworld.evaluation.Timestep`."""

    observation: npt.NDArray[np.float64]
    """`(env, obs)`, observation before the action, in the environment's units."""
    action: npt.NDArray[np.float64] | npt.NDArray[np.int64]
    """`(env, action)`, or `(env,)` integers where actions are discrete."""
    reward: npt.NDArray[np.float64]
    """`(env,)`, in the environment's units."""
    terminated: npt.NDArray[np.bool_]
    """`(env,)`, true where an episode ended in a terminal state."""
    truncated: npt.NDArray[np.bool_]
    """`(env,)`, true where an episode was cut, by the horizon for example."""
    aux_policy_outputs: dict[str, npt.NDArray[Any]]
    """Arrays `(env, ...)` by name, returned by the actor with the action."""


@runtime_checkable
class TimestepLike(Protocol):
    """Any record with the fields of `Timestep`, such as that of Meta-World's evaluator."""

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
    """One step of a vector of environments, as the play loop yields it."""

    vector: int
    """Index of the vector among those played together."""
    timestep: Timestep
    """Observations, actions, rewards and ends of episodes."""
    valid: BoolArray
    """`(env,)`, false where an environment has played its episodes and waits for others."""
    episode: npt.NDArray[np.int64]
    """`(env,)`, index of the episode that the step belongs to."""
    success: BoolArray
    """`(env,)`, true where the task was solved in this step."""
    final_observations: Array | None
    """`(env, obs)`, last observation of the episodes that ended in this step; None if none ended."""
    diverged: BoolArray
    """`(env,)`, true where the simulation diverged in this step, which learning must leave out."""
    divergences: Sequence[Divergence]
    """Evidence of the simulations that diverged."""
    true_rewards: Array | None = None
    """`(env,)`, the task's rewards where the timestep has what the agent was told instead; None if equal."""

    @property
    def ended(self) -> BoolArray:
        """`(env,)`, true where the step is the last of its episode: terminated or truncated."""
        return self.timestep.terminated | self.timestep.truncated

    @property
    def earned(self) -> Array:
        """`(env,)`, rewards of the task, whatever the agent was told."""
        return self.timestep.reward if self.true_rewards is None else self.true_rewards
