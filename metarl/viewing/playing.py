"""Plays one held-out task with an agent, moment by moment, for whoever shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from metarl.acting.adaptation import AdaptedAgent, ExploringAgent, adapt_by_playing
from metarl.acting.agents import Agent
from metarl.acting.play import VectorPlay, play
from metarl.data.steps import Step
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskVectorEnv


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
        """Returns how the episode stands after another step of the only environment."""
        number = self.step + 1
        solved_at = number if self.solved_at is None and step.success[0] else self.solved_at
        episode_return = self.episode_return + float(step.timestep.reward[0])
        return Moment(number, episode_return, solved_at, over=bool(step.ended[0]))

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

    def play_episodes(step: int, count: int) -> None:
        for _ in play([VectorPlay(env, ExploringAgent(agent), count, [round_seeds[step]])]):
            pass  # nobody watches the agent adapt

    env.set_tasks([task])
    adapt_by_playing(agent, episodes, play_episodes)
    vector = VectorPlay(env, AdaptedAgent(agent, 1), 1, [evaluation_seed])
    moment = Moment(step=0, episode_return=0.0, solved_at=None)
    yield moment
    for step in play([vector]):
        moment = moment.after(step)
        yield moment
