"""Storage that turns steps of a vector environment into `Trajectories`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metarl.errors import RunFailure
from metarl.policies.distributions import ActionDistribution
from metarl.types import Trajectories

Array = npt.NDArray[Any]


class Recorder:
    """Records the first `episodes` episodes of each environment; what an environment does after them is ignored.

    Args:
        num_envs: Environments that are stepped together.
        episodes: Episodes to record of each.
        horizon: Steps that an episode has at the most.
        observation_size: Length of an observation.
        distribution: Of the actions.
    """

    def __init__(
        self, num_envs: int, episodes: int, horizon: int, observation_size: int, distribution: ActionDistribution
    ) -> None:
        self.episodes = episodes
        self._distribution = distribution
        steps = (num_envs, episodes, horizon)
        self._observations = np.zeros((*steps, observation_size), np.float32)
        self._actions = np.zeros((*steps, distribution.action_size), np.float32)
        self._parameters = np.zeros((*steps, distribution.parameter_size), np.float32)
        self._rewards = np.zeros(steps, np.float32)
        self._successes = np.zeros(steps, np.bool_)
        self._terminated = np.zeros(steps, np.bool_)
        self._truncated = np.zeros(steps, np.bool_)
        self._valid = np.zeros(steps, np.bool_)
        self._final_observations = np.zeros((num_envs, episodes, observation_size), np.float32)
        self._episode = np.zeros(num_envs, np.int64)
        self._step = np.zeros(num_envs, np.int64)

    @property
    def full(self) -> bool:
        """Whether all environments have played their episodes."""
        return bool((self._episode >= self.episodes).all())

    def add(
        self,
        observations: Array,
        actions: Array,
        parameters: Array,
        rewards: Array,
        successes: Array,
        terminated: Array,
        truncated: Array,
        final_observations: Array | None,
        diverged: Array | None = None,
    ) -> None:
        """Takes in one step of all environments; `final_observations` is needed where an episode ends.

        Of actions come the parameters of the distributions too that they were drawn from: their log-probabilities are
        computed at the end, for all of them at once. A step in which the simulation diverged becomes padding.

        Raises:
            RunFailure: If a number is not finite.
        """
        for what, values in (("observation", observations), ("action", actions), ("reward", rewards)):
            if not np.isfinite(values).all():
                env = int(np.argwhere(~np.isfinite(values))[0][0])
                raise RunFailure(
                    f"non-finite {what} in environment {env} at step {int(self._step[env])} of its episode"
                )
        playing = self._episode < self.episodes
        ended = np.flatnonzero(playing & (terminated | truncated))
        envs = np.flatnonzero(playing if diverged is None else playing & ~diverged)
        at = (envs, self._episode[envs], self._step[envs])
        self._observations[at] = observations[envs]
        self._actions[at] = actions[envs]
        self._parameters[at] = parameters[envs]
        self._rewards[at] = rewards[envs]
        self._successes[at] = successes[envs]
        self._terminated[at] = terminated[envs]
        self._truncated[at] = truncated[envs]
        self._valid[at] = True
        self._step[envs] += 1
        if len(ended) > 0:
            assert final_observations is not None
            self._final_observations[ended, self._episode[ended]] = final_observations[ended]
            self._episode[ended] += 1
            self._step[ended] = 0

    def trajectories(self, num_tasks: int) -> Trajectories:
        """The record, environments being grouped by task: environment i plays task i // (num_envs / num_tasks)."""

        def by_task(array: Array) -> Tensor:
            return torch.from_numpy(array.reshape(num_tasks, -1, *array.shape[2:]))

        actions, valid = by_task(self._actions), by_task(self._valid)
        log_probs = self._distribution.log_prob(by_task(self._parameters), actions)
        return Trajectories(
            observations=by_task(self._observations),
            actions=actions,
            rewards=by_task(self._rewards),
            log_probs=torch.where(valid, log_probs, 0.0),
            successes=by_task(self._successes),
            terminated=by_task(self._terminated),
            truncated=by_task(self._truncated),
            valid=valid,
            final_observations=by_task(self._final_observations),
        )
