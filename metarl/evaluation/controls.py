"""Controls: agents that lack something on purpose, so that the difference tells what it is worth."""

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
    """A policy whose state stays at its initial value; the step before remains an input.

    Args:
        policy: The policy.
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
    """Returns an RL² agent that remembers nothing but the step before: what it lacks is the state's worth.

    Raises:
        UserError: If the agent is not of RL².
    """
    if not isinstance(agent, RL2Agent):
        raise UserError("this policy has no recurrent state to hold: only those of RL² have one")
    held = copy(agent)
    held.policy = HeldState(agent.policy)
    held.init()
    return held


CONTROLS: dict[str, Callable[[TrainedAgent], TrainedAgent]] = {"state-held": hold_state}
"""What makes a control of an agent, by name."""


def make_control(name: str, agent: TrainedAgent) -> TrainedAgent:
    """Returns the control of an agent that a name stands for.

    Raises:
        UserError: If there is no such control, or none of such an agent.
    """
    if name not in CONTROLS:
        raise unknown("control", name, CONTROLS)
    return CONTROLS[name](agent)
