"""Plays one held-out task with an agent, moment by moment, for whoever shows it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from metarl.agents import Agent
from metarl.evaluation.protocol import adapt_by_playing
from metarl.seeding import Stream, derive_seeds
from metarl.types import Timestep
from metarl_envs.core import Task, TaskVectorEnv


class Step(NamedTuple):
    """What came of one step."""

    reward: float
    """The environment's reward."""
    solved: bool
    """Whether the task was solved in it."""
    ended: bool
    """Whether it was the episode's last."""


@dataclass(frozen=True)
class Moment:
    """How an episode stands."""

    step: int
    """Steps played."""
    episode_return: float
    """The sum of rewards so far."""
    solved_at: int | None
    """The first step in which the task was solved."""
    over: bool = False
    """Whether the episode has ended. The environment has then already begun the next one, so it is not to be drawn."""

    def after(self, step: Step) -> "Moment":
        """How the episode stands after another step."""
        number = self.step + 1
        solved_at = number if self.solved_at is None and step.solved else self.solved_at
        return Moment(number, self.episode_return + step.reward, solved_at, over=step.ended)

    def __str__(self) -> str:
        solved = "not solved" if self.solved_at is None else f"solved at step {self.solved_at}"
        return f"step {self.step}, return {self.episode_return:.1f}, {solved}"


def phase(adaptation_episodes: int) -> str:
    """What an episode played after so many adaptation episodes is called."""
    if adaptation_episodes == 0:
        return "before adaptation"
    return f"after {adaptation_episodes} adaptation episode{'s' if adaptation_episodes > 1 else ''}"


def adapt_and_play(agent: Agent, env: TaskVectorEnv, task: Task, episodes: int, seed: int) -> Iterator[Moment]:
    """Adapts to a task, as `metarl.evaluation.evaluate` lets it, then plays one episode.

    Args:
        agent: Starts anew.
        env: A single environment.
        task: What is played.
        episodes: Adaptation episodes, spread over the agent's adaptation steps; 0 for the policy before adaptation.
        seed: What the environment's seeds are derived from. The last episode's does not depend on `episodes`, so that
            episodes before and after adaptation start alike.

    Yields:
        The start of the episode after adaptation, then the moment after each of its steps.
    """
    evaluation_seed, *round_seeds = derive_seeds(seed, Stream.EVALUATION, count=1 + agent.adaptation_steps)
    game = _Game(agent, env)

    def play(step: int, count: int) -> None:
        game.begin(round_seeds[step])
        while count:
            count -= game.step(adapting=True).ended

    env.set_tasks([task])
    adapt_by_playing(agent, episodes, play)
    game.begin(evaluation_seed)
    agent.reset(np.ones(1, dtype=np.bool_))
    moment = Moment(step=0, episode_return=0.0, solved_at=None)
    yield moment
    while not moment.over:
        moment = moment.after(game.step(adapting=False))
        yield moment


@dataclass
class _Game:
    """An agent in a single environment, told of each of its steps."""

    agent: Agent
    env: TaskVectorEnv
    observations: npt.NDArray[np.float64] = field(init=False)

    def begin(self, seed: int) -> None:
        self._see(self.env.reset(seed=[seed])[0])

    def step(self, *, adapting: bool) -> Step:
        seen = self.observations
        actions, auxiliary = self.agent.adapt_action(seen) if adapting else (self.agent.eval_action(seen), {})
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        auxiliary = {**auxiliary, "valid": np.ones(1)}
        self.agent.step(Timestep(seen, actions, rewards, terminated, truncated, auxiliary))
        self._see(observations)
        return Step(float(rewards[0]), bool(infos["success"][0]), bool(terminated[0] or truncated[0]))

    def _see(self, observations: npt.NDArray[Any]) -> None:
        self.observations = np.asarray(observations, dtype=np.float64)
