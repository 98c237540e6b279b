"""Returns of the episodes that an agent is told of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from metarl.data.steps import BoolArray, TimestepLike


class EpisodeReturns:
    """Undiscounted returns, in the environment's units, of the episodes that several environments are playing.

    Args:
        num_envs: Number of environments.
    """

    def __init__(self, num_envs: int) -> None:
        self._returns = np.zeros(num_envs)

    def step(self, timestep: TimestepLike, valid: BoolArray | None) -> tuple[npt.NDArray[np.float64], BoolArray]:
        """Adds the rewards of a step.

        Args:
            timestep: Step of all environments.
            valid: False in the environments `(env,)` whose step does not count; None counts all.

        Returns:
            Return `(env,)` of each episode so far, and true `(env,)` where the step ended it.
        """
        played = np.ones(len(self._returns), np.bool_) if valid is None else valid
        returns = self._returns + np.where(played, timestep.reward, 0.0)
        ended = played & (timestep.terminated | timestep.truncated)
        self._returns = np.where(ended, 0.0, returns)
        return returns, ended
