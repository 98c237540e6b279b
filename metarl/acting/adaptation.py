"""Adaptation of an agent to the tasks of a vector of environments by playing, and acting once adapted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from metarl.acting.agents import ActionChoice, Agent, Shown, TrainedAgent
from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl_envs.core import Task
from metarl_envs.errors import UserError


class ExploringAgent:
    """Actor of an agent's adaptation episodes.

    Args:
        agent: Agent whose `adapt_action` chooses actions and whose `step` gets each step.
        seeds: Seed of each environment's exploration, which the agent's own seed is added to; None leaves it to the
            agent. An agent that is no `TrainedAgent` with an `exploration` draws as it likes.
    """

    def __init__(self, agent: Agent, seeds: Sequence[int] | None = None) -> None:
        self._agent = agent
        _seed_exploration(agent, seeds)

    def init(self) -> None:
        """Makes the agent forget everything about earlier tasks."""
        self._agent.init()

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        return self._agent.adapt_action(observations)

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""
        self._agent.step(timestep, valid)


class AdaptedAgent:
    """Actor of an agent's evaluation episodes; resets the agent before each.

    Args:
        agent: Agent that chooses actions and whose `step` gets each step.
        num_envs: Number of environments.
        seeds: Seed of what the agent draws in each environment; see `ExploringAgent`.
        actions: How it chooses them.

    Raises:
        UserError: If actions are to be sampled, and the agent has no `sample_action`.
    """

    def __init__(
        self,
        agent: Agent,
        num_envs: int,
        seeds: Sequence[int] | None = None,
        actions: ActionChoice = "likeliest",
    ) -> None:
        self._agent = agent
        self._choose = agent.eval_action if actions == "likeliest" else sampler_of(agent)
        _seed_exploration(agent, seeds)
        agent.reset(np.ones(num_envs, dtype=np.bool_))

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        return self._choose(observations), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""
        self._agent.step(timestep, valid)
        ended = timestep.terminated | timestep.truncated
        if ended.any():
            self._agent.reset(ended)


def sampler_of(agent: Agent) -> Callable[[Array], Array]:
    """Returns an agent's `sample_action`.

    Raises:
        UserError: If it has none.
    """
    if isinstance(agent, TrainedAgent) and agent.samples:
        return agent.sample_action
    kind = type(agent).__name__
    raise UserError(f"actions cannot be 'sampled': {kind} has no sample_action, so take 'likeliest'")


def _seed_exploration(agent: Agent, seeds: Sequence[int] | None) -> None:
    if seeds is not None and isinstance(agent, TrainedAgent) and agent.exploration is not None:
        agent.exploration.seed(seeds)


def adapt_by_playing(
    agent: Agent, tasks: Sequence[Task], episodes: int, play_episodes: Callable[[int, int], object]
) -> None:
    """Adapts an agent from the start by playing episodes; see `adaptation_rounds`.

    Args:
        agent: Agent to adapt; forgets everything first.
        tasks: See `adaptation_rounds`.
        episodes: Total number of episodes to play in each environment; with 0, `adapt` is called once without any.
        play_episodes: `play_episodes(step, count)` plays `count` episodes with an `ExploringAgent`; `step` is the
            index of the adaptation step, from 0. Steps without episodes are left out.
    """
    for step, count in adaptation_rounds(agent, tasks, episodes):
        play_episodes(step, count)


def adaptation_rounds(agent: Agent, tasks: Sequence[Task], episodes: int) -> Iterator[tuple[int, int]]:
    """Adapts an agent from the start, with episodes spread evenly over its adaptation steps, more to the first steps.

    Args:
        agent: Agent to adapt; forgets everything first, and adapts when the caller asks for the next round. One that is
            `Shown` demonstrations gets as many instead, and nothing is to be played.
        tasks: Task of each environment, which only those who show demonstrations look at.
        episodes: Total number of episodes to play in each environment, or of demonstrations; with 0, `adapt` is called
            once without any.

    Yields:
        Index of the adaptation step, from 0, and number of episodes that the caller is to play now with an
        `ExploringAgent`; at least one.
    """
    if isinstance(agent, Shown):
        agent.show(tasks, episodes)
        return
    agent.init()
    # With K episodes and N steps: step i plays floor(K / N) episodes, and one more if i < K mod N.
    each, extra = divmod(episodes, agent.adaptation_steps)
    for step in range(agent.adaptation_steps):
        count = each + (step < extra)
        if count:
            yield step, count
        if count or episodes == step == 0:
            agent.adapt()
