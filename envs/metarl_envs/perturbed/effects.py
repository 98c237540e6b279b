"""Effects of perturbations on a vector of environments, computed for all environments at once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.core import BoolArray, FloatArray
from metarl_envs.random_blocks import RandomBlocks

IntArray = npt.NDArray[np.int64]


class Effect:
    """Effect of one kind of perturbation; this base class has none.

    What happens in an environment depends on its own strength and generator only.
    """

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """Begins an episode in one environment, whose randomness comes from `rng`."""

    def act(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the actions that are executed when these, `(env, ...)`, are commanded."""
        return actions

    def observe(self, observations: FloatArray, envs: IntArray) -> FloatArray:
        """Returns what is seen of the observations `(row, obs)` of the environments `envs`, `(row,)`."""
        return observations

    def tell(self, rewards: FloatArray, ended: BoolArray) -> FloatArray:
        """Returns the rewards `(env,)` that the agent is told; `ended` is true where the step ended an episode."""
        return rewards


class Noise(Effect):
    """Normal noise on observations.

    Args:
        deviations: Standard deviation of the noise, `(env, obs)`.
    """

    def __init__(self, deviations: FloatArray) -> None:
        self._deviations = deviations
        num_envs, size = deviations.shape
        self._draws = RandomBlocks(num_envs, np.random.Generator.standard_normal, (size,))

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """See `Effect`."""
        self._draws.begin(env, rng)

    def observe(self, observations: FloatArray, envs: IntArray) -> FloatArray:
        """See `Effect`."""
        # o + s sigma z,  z ~ N(0, I)
        return observations + self._deviations[envs] * self._draws.next(envs)


class ActuatorNoise(Effect):
    """Normal noise on actions, which stay within the action space.

    Args:
        strengths: Standard deviation of the noise in half widths of the action space, `(env,)`.
        space: Action space of a single environment.
    """

    def __init__(self, strengths: FloatArray, space: gym.spaces.Box) -> None:
        self._space = space
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        bounded = np.isfinite(low) & np.isfinite(high)
        half = np.where(bounded, np.where(bounded, high, 1.0) / 2 - np.where(bounded, low, -1.0) / 2, 1.0)
        self._deviations = strengths[:, None] * half
        self._draws = RandomBlocks(len(strengths), np.random.Generator.standard_normal, space.shape)

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """See `Effect`."""
        self._draws.begin(env, rng)

    def act(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `Effect`."""
        # clip(a + s h z, low, high),  z ~ N(0, I), h = half width of the space, or 1 where it has no bounds
        noisy = actions + self._deviations * self._draws.next()
        if np.issubdtype(self._space.dtype, np.integer):
            noisy = np.rint(noisy)
        noisy = np.clip(noisy, self._space.low, self._space.high).astype(self._space.dtype)
        return np.where(self._deviations > 0, noisy, actions)


class Delay:
    """Values of each environment, which come out a number of steps after they went in.

    Args:
        delays: Delay of each environment in steps, `(env,)`.
        resting: Value that comes out before the first one, `(...)`.
    """

    def __init__(self, delays: FloatArray, resting: npt.NDArray[Any]) -> None:
        self._delays = delays.astype(np.int64)
        self._resting = resting
        self._length = int(self._delays.max()) + 1
        self._queue = np.empty((len(delays), self._length, *resting.shape), resting.dtype)
        self._queue[:] = resting
        self._index = np.arange(len(delays))
        self._now = 0

    def clear(self, envs: int | BoolArray) -> None:
        """Forgets the values in the queues of environments."""
        self._queue[envs] = self._resting

    def push(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Takes in the values `(env, ...)` of a step, and takes out those that are due."""
        self._now += 1
        self._queue[:, self._now % self._length] = values
        due = (self._now - self._delays) % self._length
        taken = self._queue[self._index, due].copy()
        self._queue[self._index, due] = self._resting
        return taken

    def sums(self) -> npt.NDArray[Any]:
        """Sum of the values in each queue, `(env, ...)`."""
        total: npt.NDArray[Any] = self._queue.sum(axis=1)
        return total


class LateActions(Effect):
    """Actions executed some steps after they were commanded; before the first, the environments are told to rest.

    Args:
        delays: Delay of each environment in steps, `(env,)`.
        space: Action space of a single environment.
    """

    def __init__(self, delays: FloatArray, space: gym.spaces.Box | gym.spaces.Discrete) -> None:
        if isinstance(space, gym.spaces.Box):
            resting = np.clip(np.zeros(space.shape), space.low, space.high).astype(space.dtype)
        else:
            resting = np.asarray(space.start, dtype=np.int64)
        self._delay = Delay(delays, resting)

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """See `Effect`."""
        self._delay.clear(env)

    def act(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """See `Effect`."""
        return self._delay.push(actions)


class LostRewards(Effect):
    """Rewards replaced by zero with a probability.

    Args:
        probabilities: Probability in each environment, `(env,)`.
    """

    def __init__(self, probabilities: FloatArray) -> None:
        self._probabilities = probabilities
        self._draws = RandomBlocks(len(probabilities), np.random.Generator.random)

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """See `Effect`."""
        self._draws.begin(env, rng)

    def tell(self, rewards: FloatArray, ended: BoolArray) -> FloatArray:
        """See `Effect`."""
        return np.where(self._draws.next() < self._probabilities, 0.0, rewards)


class LateRewards(Effect):
    """Rewards told some steps later; the last step of an episode tells all that are outstanding.

    Args:
        delays: Delay of each environment in steps, `(env,)`.
    """

    def __init__(self, delays: FloatArray) -> None:
        self._delay = Delay(delays, np.zeros(()))

    def begin(self, env: int, rng: np.random.Generator) -> None:
        """See `Effect`."""
        self._delay.clear(env)

    def tell(self, rewards: FloatArray, ended: BoolArray) -> FloatArray:
        """See `Effect`."""
        due = self._delay.push(rewards)
        return np.where(ended, due + self._delay.sums(), due)
