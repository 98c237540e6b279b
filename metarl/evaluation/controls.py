"""Controls: agents that lack one capability on purpose, to measure its worth by comparison."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from jaxtyping import Float
from torch import Tensor

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.rl2.agent import RL2Agent, StatefulPolicy
from metarl.policies.inputs import PolicyInput
from metarl_envs.errors import UserError, unknown


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


CONTROLS: dict[str, Callable[[TrainedAgent], TrainedAgent]] = {"state-held": hold_state}
"""Functions that make a control of an agent, by name."""


def make_control(name: str, agent: TrainedAgent) -> TrainedAgent:
    """Makes a control of an agent.

    Args:
        name: Name of the control in `CONTROLS`.
        agent: Agent to take the capability from; remains unchanged.

    Raises:
        UserError: If no control has this name, or it does not apply to this agent.
    """
    if name not in CONTROLS:
        raise unknown("control", name, CONTROLS)
    return CONTROLS[name](agent)
