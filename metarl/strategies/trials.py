"""Plays whole trials: what is earned from the first step on, exploration included, by whoever learns while playing."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from metarl.data.steps import Timestep
from metarl.devices import one_torch_thread
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError


@runtime_checkable
class Player(Protocol):
    """Learns while it plays a batch of tasks, one per environment: what a trial needs of an `Agent`."""

    def init(self) -> None:
        """Forgets everything about earlier tasks."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """Actions for observations `(env, obs)`, and arrays `(env, ...)` to hand back to `step`."""

    def step(self, timestep: Timestep) -> None:
        """Is told what the last actions led to."""


@one_torch_thread()
def play_trials(
    player: Player, distribution: TaskDistribution, tasks: Sequence[Task], episodes: int, seed: int
) -> Float[np.ndarray, "task episode"]:
    """The return of each episode of one trial per task, from a blank memory.

    An environment's seed depends on `seed` and the task's place in `tasks` only: every player meets the same arms that
    pay at the same pulls, so that players can be compared pair by pair.

    Args:
        player: Who plays; it is told of every step.
        distribution: The family that the tasks belong to; all its episodes last the horizon.
        tasks: The tasks to play, all at once.
        episodes: Episodes per trial.
        seed: What the environments' seeds are derived from; the player's own randomness is its own.

    Raises:
        UserError: If there is no task or no episode to play.
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
