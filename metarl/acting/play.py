"""The play loop: steps vectors of environments with who acts in them, for sampling, evaluation and viewing alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from metarl.data.steps import Array, BoolArray, Step, Timestep, TimestepLike
from metarl_envs.core import TaskVectorEnv


@runtime_checkable
class Actor(Protocol):
    """Chooses actions for all environments of a vector at once, and is told what they led to."""

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """Chooses actions.

        Args:
            observations: `(env, obs)`, in the environment's units.

        Returns:
            Actions as the environment takes them, `(env, action)` or `(env,)` where discrete, and any arrays
            `(env, ...)` to be handed back to `step` and to whoever listens.
        """

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """Takes in what the last actions led to.

        Args:
            timestep: The step of all environments.
            valid: `(env,)`, false where an environment has played its episodes and only waits for others; None is true
                everywhere.
        """


class VectorPlay:
    """One vector of environments and who acts in it, until each environment has played its episodes.

    Args:
        env: The environments, their tasks set; reset here.
        actor: Chooses the actions, of these environments alone.
        episodes: Episodes of each environment.
        seeds: One per environment.
    """

    def __init__(self, env: TaskVectorEnv, actor: Actor, episodes: int, seeds: Sequence[int]) -> None:
        self._env, self._actor, self._episodes = env, actor, episodes
        self._played = np.zeros(env.num_envs, np.int64)
        self._nothing = np.zeros(env.num_envs, np.bool_)
        self._observations = np.asarray(env.reset(seed=list(seeds))[0], dtype=np.float64)

    @property
    def done(self) -> bool:
        """Returns true once all environments have played their episodes."""
        return bool((self._played >= self._episodes).all())

    def send(self) -> None:
        """Chooses actions and lets the environments begin their step."""
        self._actions, self._auxiliary = self._actor.act(self._observations)
        self._env.send(self._actions)

    def receive(self, vector: int = 0) -> Step:
        """Waits for the step that `send` began, and tells the actor of it."""
        following, rewards, terminated, truncated, infos = self._env.receive()
        seen = self._observations
        # SAME_STEP autoreset: where an episode ended, this is the first observation of the next one.
        self._observations = np.asarray(following, dtype=np.float64)
        timestep = Timestep(seen, self._actions, rewards, terminated, truncated, self._auxiliary)
        step = Step(
            vector,
            timestep,
            self._played < self._episodes,
            self._played.copy(),
            infos["success"],
            infos.get("final_obs"),
            infos.get("diverged", self._nothing),
            infos.get("divergences", ()),
        )
        self._actor.step(timestep, step.valid)
        self._played += step.ended
        return step


def play(vectors: Sequence[VectorPlay]) -> Iterator[Step]:
    """Plays until every environment has played its episodes; what is kept of the steps is up to the caller.

    With several vectors the actors of one choose while the environments of another step (double buffering). A vector's
    next step begins only when the caller asks for more, so that what it draws or reads belongs to the step in hand.

    Args:
        vectors: The vectors, each reset and ready.

    Yields:
        Each step of each vector.
    """
    for vector in vectors:
        vector.send()
    while playing := [(index, vector) for index, vector in enumerate(vectors) if not vector.done]:
        for index, vector in playing:
            yield vector.receive(index)
            if not vector.done:
                vector.send()
