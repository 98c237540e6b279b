"""Play loop: steps vectors of environments with their actors, for sampling, evaluation and viewing alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from metarl.data.steps import Array, BoolArray, Step, Timestep, TimestepLike
from metarl_envs.core import TaskVectorEnv
from metarl_envs.perturbed import TRUE_REWARD


@runtime_checkable
class Actor(Protocol):
    """Chooses actions for all environments of a vector at once, and receives their outcome."""

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """Chooses the next actions.

        Args:
            observations: `(env, obs)`, in the environment's units.

        Returns:
            Actions in the environment's units, `(env, action)`, or `(env,)` integers where discrete; and auxiliary
            arrays `(env, ...)` by name, which the timestep carries.
        """

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """Receives the outcome of the last actions.

        Args:
            timestep: Step of all environments.
            valid: `(env,)`, false where an environment has played its episodes and waits for others; None is true
                everywhere.
        """


class VectorPlay:
    """One vector of environments and its actor, until each environment has played its episodes.

    Args:
        env: Environments with their tasks set; the constructor resets them.
        actor: Actor of these environments, and of no others.
        episodes: Number of episodes of each environment.
        seeds: Seed of each environment.
    """

    def __init__(self, env: TaskVectorEnv, actor: Actor, episodes: int, seeds: Sequence[int]) -> None:
        self._env, self._actor, self._episodes = env, actor, episodes
        self._played = np.zeros(env.num_envs, np.int64)
        self._nothing = np.zeros(env.num_envs, np.bool_)
        self._observations = np.asarray(env.reset(seed=list(seeds))[0], dtype=np.float64)

    @property
    def done(self) -> bool:
        """True once all environments have played their episodes."""
        return bool((self._played >= self._episodes).all())

    def send(self) -> None:
        """Chooses actions and starts the environments' step."""
        self._actions, self._auxiliary = self._actor.act(self._observations)
        self._env.send(self._actions)

    def receive(self, vector: int = 0) -> Step:
        """Waits for the step that `send` started, and passes it to the actor.

        Args:
            vector: Index that the step carries.
        """
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
            infos.get(TRUE_REWARD),
        )
        self._actor.step(timestep, step.valid)
        self._played += step.ended
        return step


def play(vectors: Sequence[VectorPlay]) -> Iterator[Step]:
    """Plays until every environment has played its episodes; the caller records what it needs of the steps.

    With several vectors, the actor of one chooses while the environments of another step (double buffering). A vector's
    next step starts only when the caller asks for the next item, so a caller that renders or reads the environments
    sees the state after the step it holds.

    Args:
        vectors: Vectors to play, none of them sent.

    Yields:
        Steps of all vectors, in turn.
    """
    for vector in vectors:
        if not vector.done:
            vector.send()
    while playing := [(index, vector) for index, vector in enumerate(vectors) if not vector.done]:
        for index, vector in playing:
            yield vector.receive(index)
            if not vector.done:
                vector.send()
