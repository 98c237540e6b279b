"""Play of one held-out task, moment by moment, for videos and the viewer."""

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
    """State of an episode in play."""

    step: int
    """Number of steps played."""
    episode_return: float
    """Undiscounted sum of the rewards so far."""
    solved_at: int | None
    """First step, counted from 1, in which the task was solved; None if it is not solved."""
    over: bool = False
    """True after the last step. The environment has begun the next episode by then and must not be drawn."""

    def after(self, step: Step) -> "Moment":
        """Returns the moment after one more step of the only environment."""
        number = self.step + 1
        solved_at = number if self.solved_at is None and step.success[0] else self.solved_at
        episode_return = self.episode_return + float(step.timestep.reward[0])
        return Moment(number, episode_return, solved_at, over=bool(step.ended[0]))

    def __str__(self) -> str:
        solved = "not solved" if self.solved_at is None else f"solved at step {self.solved_at}"
        return f"step {self.step}, return {self.episode_return:.1f}, {solved}"


def phase(adaptation_episodes: int) -> str:
    """Returns the words for an episode after so many adaptation episodes, such as "before adaptation"."""
    if adaptation_episodes == 0:
        return "before adaptation"
    return f"after {adaptation_episodes} adaptation episode{'s' if adaptation_episodes > 1 else ''}"


def adapt_and_play(agent: Agent, env: TaskVectorEnv, task: Task, episodes: int, seed: int) -> Iterator[Moment]:
    """Adapts an agent to a task as `metarl.evaluation.evaluate` does, then plays one episode.

    Args:
        agent: Agent to play with; forgets everything first.
        env: Vector of a single environment.
        task: Task to play.
        episodes: Number of adaptation episodes, spread over the agent's adaptation steps; 0 plays the policy before
            adaptation.
        seed: Seed that the environment's seeds are derived from. The last episode's seed does not depend on `episodes`,
            so episodes before and after adaptation start alike.

    Yields:
        Moment at the start of the episode after adaptation, then the moment after each step.
    """
    evaluation_seed, *round_seeds = derive_seeds(seed, Stream.EVALUATION, count=1 + agent.adaptation_steps)

    def play_episodes(step: int, count: int) -> None:
        for _ in play([VectorPlay(env, ExploringAgent(agent, [round_seeds[step]]), count, [round_seeds[step]])]):
            pass  # adaptation episodes are not shown

    env.set_tasks([task])
    adapt_by_playing(agent, episodes, play_episodes)
    vector = VectorPlay(env, AdaptedAgent(agent, 1), 1, [evaluation_seed])
    moment = Moment(step=0, episode_return=0.0, solved_at=None)
    yield moment
    for step in play([vector]):
        moment = moment.after(step)
        yield moment
