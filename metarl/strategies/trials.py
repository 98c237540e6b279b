"""Whole trials: the rewards from the first step on, exploration included, of players that learn while they play."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from metarl.devices import one_torch_thread
from metarl.seeding import Stream, derive_seeds
from metarl.types import Timestep
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError


@runtime_checkable
class Player(Protocol):
    """Player that learns while it plays a batch of tasks, one per environment; part of `metarl.agents.Agent`."""

    def init(self) -> None:
        """Forgets everything about earlier tasks."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """Returns actions for observations `(env, obs)`, and arrays `(env, ...)` to hand back to `step`."""

    def step(self, timestep: Timestep) -> None:
        """Learns from the results of the last actions."""


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
        observations, _ = env.reset(seed=seeds)
        for episode in range(episodes):
            for _ in range(distribution.horizon):
                actions, auxiliary = player.adapt_action(observations)
                following, rewards, terminated, truncated, _ = env.step(actions)
                player.step(Timestep(observations, actions, rewards, terminated, truncated, auxiliary))
                returns[:, episode] += rewards
                observations = following
    return returns
