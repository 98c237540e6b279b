"""How an agent adapts to the tasks of a vector of environments by playing, and acts in them afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metarl.acting.agents import Agent
from metarl.data.steps import Array, BoolArray, TimestepLike


class ExploringAgent:
    """Actor of an agent's adaptation episodes.

    Args:
        agent: Chooses exploration actions and is told of each step.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def init(self) -> None:
        """Has the agent forget everything about earlier tasks."""
        self._agent.init()

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        return self._agent.adapt_action(observations)

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""
        self._agent.step(timestep, valid)


class AdaptedAgent:
    """Actor of an agent's evaluation episodes, before each of which the agent is reset.

    Args:
        agent: Acts as adapted and is told of each step.
        num_envs: Number of environments.
    """

    def __init__(self, agent: Agent, num_envs: int) -> None:
        self._agent = agent
        agent.reset(np.ones(num_envs, dtype=np.bool_))

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        return self._agent.eval_action(observations), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""
        self._agent.step(timestep, valid)
        ended = timestep.terminated | timestep.truncated
        if ended.any():
            self._agent.reset(ended)


def adapt_by_playing(agent: Agent, episodes: int, play_episodes: Callable[[int, int], object]) -> None:
    """Lets an agent start anew and adapt: the episodes are spread over its adaptation steps, the first getting more.

    Args:
        agent: What adapts.
        episodes: Episodes to play in each environment, in all; with 0 the agent is to adapt all the same, once.
        play_episodes: `play_episodes(step, count)` plays `count` episodes with an `ExploringAgent`; adaptation steps
            count from 0, and those without episodes are left out.
    """
    agent.init()
    each, extra = divmod(episodes, agent.adaptation_steps)
    for step in range(agent.adaptation_steps):
        count = each + (step < extra)
        if count:
            play_episodes(step, count)
        if count or episodes == step == 0:
            agent.adapt()
