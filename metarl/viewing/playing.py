"""Play of one held-out task, moment by moment, for videos and viewers: the very episodes that evaluation plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from metarl.acting.adaptation import AdaptedAgent, ExploringAgent, adaptation_rounds
from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import Agent, Shown, TrainedAgent, adapts_on
from metarl.acting.play import Actor, VectorPlay, play
from metarl.data.steps import Array, BoolArray, Step, TimestepLike
from metarl.demonstrations.data import Demonstration
from metarl.evaluation.protocol import episode_seeds, task_keys
from metarl_envs.core import Task, TaskVectorEnv


@dataclass(frozen=True)
class Moment:
    """State of an episode in play."""

    title: str
    """Words for the episode, such as "adaptation episode 3 of 10" or "demonstration 1 of 1"."""
    episode: int
    """Index of the episode among those shown, from 0."""
    step: int = 0
    """Number of steps played."""
    reward: float = 0.0
    """Reward of the last step."""
    episode_return: float = 0.0
    """Undiscounted sum of the rewards so far."""
    solved_at: int | None = None
    """First step, counted from 1, in which the task was solved; None if it is not solved."""
    over: bool = False
    """True after the last step. The environment has begun the next episode by then and must not be drawn."""
    intent: str | None = None
    """What the agent tries in this episode, such as "skill push-v3"; None if it does not say."""

    def after(self, step: Step) -> Moment:
        """Returns the moment after one more step of the only environment."""
        number = self.step + 1
        reward = float(step.timestep.reward[0])
        return replace(
            self,
            step=number,
            reward=reward,
            episode_return=self.episode_return + reward,
            solved_at=number if self.solved_at is None and step.success[0] else self.solved_at,
            over=bool(step.ended[0]),
        )

    def __str__(self) -> str:
        solved = "not solved" if self.solved_at is None else f"solved at step {self.solved_at}"
        return f"step {self.step}, return {self.episode_return:.1f}, {solved}"


def phase(k: int, adapts_on: AdaptsOn) -> str:
    """Returns the words for an episode of a policy that has adapted, such as "after 1 demonstration"."""
    return f"after {adapts_on.number_in_full(k)}" if k else "before adaptation"


class Repeating:
    """Actor that plays the actions of a demonstration again.

    Args:
        shown: The demonstration.
    """

    def __init__(self, shown: Demonstration) -> None:
        self._actions = iter(shown.actions)

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        return next(self._actions)[None], {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""


def adapt_and_play(
    agent: Agent,
    env: TaskVectorEnv,
    task: Task,
    adaptation_episodes: int,
    seed: int,
    *,
    episodes: int = 1,
    trial: bool = False,
) -> Iterator[Moment]:
    """Adapts an agent to a task and plays it, with the episodes and seeds of `metarl.evaluation.evaluate`.

    Args:
        agent: Agent to play with; forgets everything first.
        env: Vector of a single environment.
        task: Task to play.
        adaptation_episodes: Number of adaptation episodes, spread over the agent's adaptation steps, or of
            demonstrations that it is shown; 0 plays the policy before adaptation.
        seed: Seed of the evaluation.
        episodes: Number of evaluation episodes.
        trial: True to show the adaptation episodes too, or the demonstrations, played again.

    Yields:
        Moment at the start of each episode shown, then the moment after each of its steps.
    """
    (key,) = task_keys([task])
    env.set_tasks([task])
    shown = 0
    if trial and isinstance(agent, Shown):
        yield from repeat(agent, env, task, adaptation_episodes)
        shown = adaptation_episodes
    for step, count in adaptation_rounds(agent, [task], adaptation_episodes):
        env_seed, exploration_seed = episode_seeds(seed, adaptation_episodes, 1 + step, key)
        titles = [f"adaptation episode {shown + 1 + index} of {adaptation_episodes}" for index in range(count)]
        moments = _play(agent, env, ExploringAgent(agent, [exploration_seed]), env_seed, titles, shown)
        for moment in moments:
            if trial:
                yield moment
        shown += count
    which = [f", episode {index + 1} of {episodes}" if episodes > 1 else "" for index in range(episodes)]
    env_seed, own_seed = episode_seeds(seed, adaptation_episodes, 0, key)
    titles = [phase(adaptation_episodes, adapts_on(agent)) + each for each in which]
    yield from _play(agent, env, AdaptedAgent(agent, 1, [own_seed]), env_seed, titles, shown if trial else 0)


def repeat(agent: Shown, env: TaskVectorEnv, task: Task, count: int) -> Iterator[Moment]:
    """Plays the demonstrations that an agent is shown of a task again.

    Args:
        agent: The agent.
        env: Vector of a single environment.
        task: The task.
        count: Number of demonstrations.

    Yields:
        Moment at the start of each demonstration, then the moment after each of its steps.

    Raises:
        UserError: If the agent has fewer.
    """
    env.set_tasks([task])
    for index, shown in enumerate(agent.find(task, count)):
        title = f"demonstration {index + 1} of {count}"
        # one that is shorter than the environment's episodes ends with its last action
        yield from islice(_play(agent, env, Repeating(shown), 0, [title], index), len(shown) + 1)


def _play(
    agent: object, env: TaskVectorEnv, actor: Actor, seed: int, titles: list[str], first: int
) -> Iterator[Moment]:
    """Plays an episode for each title, and yields their moments."""

    def begin(index: int) -> Moment:
        return Moment(titles[index], first + index)

    vector = VectorPlay(env, actor, len(titles), [seed])
    moment = begin(0)
    yield moment
    for step in play([vector]):
        if moment.step == 0 and isinstance(agent, TrainedAgent):
            moment = replace(moment, intent=agent.intent(0))
        moment = moment.after(step)
        yield moment
        if moment.over and moment.episode - first + 1 < len(titles):
            moment = begin(moment.episode - first + 1)
            yield moment
