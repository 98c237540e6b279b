"""Whole trials: the rewards from the first step on, exploration included, of players that learn while they play."""

from collections.abc import Sequence
from contextlib import closing
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from metarl.acting.play import Actor, VectorPlay, play
from metarl.devices import one_torch_thread
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError


@runtime_checkable
class Player(Actor, Protocol):
    """Actor that learns while it plays a batch of tasks, one per environment."""

    def init(self) -> None:
        """Forgets everything about earlier tasks."""


@one_torch_thread()
def play_trials(
    player: Player, distribution: TaskDistribution, tasks: Sequence[Task], episodes: int, seed: int
) -> Float[np.ndarray, "task episode"]:
    """Plays one trial per task, starting without experience; returns the return of each episode.

    An environment's seed depends only on `seed` and on the task's place in `tasks`, so that all players meet the same
    chance and can be compared task by task.

    Args:
        player: The player; it learns from every step.
        distribution: Makes environments for the tasks; all its episodes last the horizon.
        tasks: The tasks to play, all at once.
        episodes: Episodes per trial.
        seed: Seed of the environments; the player has a random generator of its own.

    Raises:
        UserError: If there are no tasks or no episodes.
    """
    if not tasks or episodes < 1:
        raise UserError(f"a trial needs at least one task and one episode: got {len(tasks)} and {episodes}")
    returns = np.zeros((len(tasks), episodes))
    player.init()
    with closing(distribution.make_env(len(tasks))) as env:
        env.set_tasks(tasks)
        seeds = [derive_seeds(seed, Stream.TRIALS, index, count=1)[0] for index in range(len(tasks))]
        for step in play([VectorPlay(env, player, episodes, seeds)]):
            envs = np.flatnonzero(step.valid)
            returns[envs, step.episode[envs]] += step.timestep.reward[envs]
    return returns
