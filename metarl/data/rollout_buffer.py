"""Rollout buffer: collects the steps of a vector of environments into `Trajectories`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metarl.data.steps import PARAMETERS, UNCLIPPED, Array, Step
from metarl.data.trajectories import Trajectories
from metarl.errors import RunFailure
from metarl.policies.distributions import ActionDistribution
from metarl_envs.core import Task


class RolloutBuffer:
    """Records the first `episodes` episodes of each environment and ignores later steps.

    Args:
        num_envs: Number of environments of the vector.
        episodes: Number of episodes to record of each environment.
        horizon: Length of the longest episode, in steps.
        observation_size: Number of elements of an observation.
        distribution: Action distribution of the policy.
    """

    def __init__(
        self, num_envs: int, episodes: int, horizon: int, observation_size: int, distribution: ActionDistribution
    ) -> None:
        self._distribution = distribution
        steps = (num_envs, episodes, horizon)
        self._observations = np.zeros((*steps, observation_size))
        self._actions = np.zeros((*steps, distribution.action_size), np.float32)
        self._parameters = np.zeros((*steps, distribution.parameter_size), np.float32)
        self._rewards = np.zeros(steps, np.float32)
        self._successes = np.zeros(steps, np.bool_)
        self._terminated = np.zeros(steps, np.bool_)
        self._truncated = np.zeros(steps, np.bool_)
        self._valid = np.zeros(steps, np.bool_)
        self._final_observations = np.zeros((num_envs, episodes, observation_size))
        self._step = np.zeros(num_envs, np.int64)

    def add(self, step: Step) -> None:
        """Records one step of all environments; a step in which the simulation diverged becomes padding.

        Log-probabilities are computed by `trajectories` for all steps at once, from the parameters of the action
        distributions in `aux_policy_outputs`.

        Args:
            step: Step of the vector, with the auxiliary outputs `UNCLIPPED` and `PARAMETERS`.

        Raises:
            RunFailure: If an observation, action or reward is not finite.
        """
        timestep = step.timestep
        actions = timestep.aux_policy_outputs[UNCLIPPED]
        numbers = (("observation", timestep.observation), ("action", actions), ("reward", timestep.reward))
        for what, values in numbers:
            if not np.isfinite(values).all():
                env = int(np.argwhere(~np.isfinite(values))[0][0])
                raise RunFailure(
                    f"non-finite {what} in environment {env} at step {int(self._step[env])} of its episode"
                )
        envs = np.flatnonzero(step.valid & ~step.diverged)
        at = (envs, step.episode[envs], self._step[envs])
        self._observations[at] = timestep.observation[envs]
        self._actions[at] = actions[envs]
        self._parameters[at] = timestep.aux_policy_outputs[PARAMETERS][envs]
        self._rewards[at] = timestep.reward[envs]
        self._successes[at] = step.success[envs]
        self._terminated[at] = timestep.terminated[envs]
        self._truncated[at] = timestep.truncated[envs]
        self._valid[at] = True
        self._step[envs] += 1
        ended = np.flatnonzero(step.valid & step.ended)
        if len(ended) > 0:
            assert step.final_observations is not None
            self._final_observations[ended, step.episode[ended]] = step.final_observations[ended]
            self._step[ended] = 0

    def trajectories(self, num_tasks: int, tasks: Sequence[Task] = ()) -> Trajectories:
        """Returns the recorded trajectories by task; environment i plays task i // (num_envs / num_tasks).

        Args:
            num_tasks: Number of tasks, a divisor of the number of environments.
            tasks: Task of each row; empty if unknown.
        """

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
            tasks=tuple(tasks),
        )
