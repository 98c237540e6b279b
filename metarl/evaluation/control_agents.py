"""Agents that lack one capability on purpose: they do not adapt, or do not remember."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.rl2.agent import RL2Agent, StatefulPolicy
from metarl.data.steps import BoolArray, TimestepLike
from metarl.policies.inputs import PolicyInput
from metarl_envs.errors import UserError


class FixedAgent:
    """Agent that does not adapt: a function of the observations chooses its actions. See `metarl.acting.agents.Agent`.

    Args:
        act: Chooses actions `(env, action)` for observations `(env, obs)`.
    """

    adaptation_steps = 1

    def __init__(self, act: Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]]) -> None:
        self._act = act

    def init(self) -> None:
        """See `Agent`."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        return self._act(observations), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`."""

    def adapt(self) -> None:
        """See `Agent`."""

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        return self._act(observations)


class HeldState:
    """Policy whose recurrent state stays at its initial value; the previous step remains an input.

    Args:
        policy: Policy with a recurrent state.
    """

    def __init__(self, policy: StatefulPolicy) -> None:
        self._policy = policy

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """See `StatefulPolicy`."""
        return self._policy.initial_state(batch)

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """See `StatefulPolicy`."""
        outputs, _ = self._policy.step(inputs, state)
        return outputs, state


def hold_state(agent: TrainedAgent) -> TrainedAgent:
    """Returns a copy of an RL² agent whose recurrent state is held; the previous step remains an input.

    The agent's return minus that of the copy is the worth of the state.

    Raises:
        UserError: If the agent is not an RL² agent.
    """
    if not isinstance(agent, RL2Agent):
        raise UserError("this policy has no recurrent state to hold: only those of RL² have one")
    held = copy(agent)
    held.policy = HeldState(agent.policy)
    held.init()
    return held
