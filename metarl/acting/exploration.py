"""Noise of those who explore: a stream of its own for each environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.policies.distributions import ActionDistribution
from metarl.seeding import Stream, generator

_BLOCK = 64
"""Steps whose noise is drawn at a time; what is drawn does not depend on it."""


class Noise:
    """Noise of each step in a vector of environments; that of one does not depend on the others beside it.

    Args:
        draw: `draw(rng, count)` draws the noise `(count, number)` of `count` steps of one environment.
        generators: Generator of each environment.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator, int], Float[np.ndarray, "count number"]],
        generators: Sequence[np.random.Generator],
    ) -> None:
        self._draw = draw
        self._generators = generators
        self._used = _BLOCK

    def like(self, values: Float[Tensor, "env _"]) -> Float[Tensor, "env number"]:
        """Draws the noise of a step, of the dtype and on the device of some values."""
        if self._used == _BLOCK:
            # [env, step, number] -> [step, env, number]
            blocks = np.stack([self._draw(rng, _BLOCK) for rng in self._generators], axis=1)
            self._block = torch.as_tensor(blocks, dtype=values.dtype, device=values.device)
            self._used = 0
        self._used += 1
        return self._block[self._used - 1]


class Exploration:
    """Draws the actions of an exploring agent; those of an environment do not depend on the others beside it.

    Args:
        distribution: Action distribution of the agent's policy.
        seed: Seed of the agent's exploration.
    """

    def __init__(self, distribution: ActionDistribution, seed: int) -> None:
        self._distribution = distribution
        self._seed = seed
        self._trials = -1
        self.restart()

    def restart(self) -> None:
        """Begins new trials: environment i draws from a stream of the seed, the number of the trial, and i."""
        self._trials += 1
        self._keys: list[tuple[int, ...]] | None = None
        self._num_envs = 0

    def seed(self, seeds: Sequence[int]) -> None:
        """Makes environment i draw from a stream of the agent's seed and `seeds[i]` from now on."""
        self._keys = [(seed,) for seed in seeds]
        self._num_envs = 0

    def sample(self, parameters: Float[Tensor, "env p"]) -> Float[Tensor, "env a"]:
        """Draws an action of each environment from the distribution with these parameters."""
        if self._num_envs != len(parameters):
            self._num_envs = len(parameters)
            self._noise = Noise(self._distribution.noise, self.generators(self._num_envs, Stream.EXPLORATION))
        return self._distribution.sample_by(parameters, self._noise.like(parameters))

    def generators(self, count: int, stream: Stream) -> list[np.random.Generator]:
        """Returns a generator for each of `count` environments; streams are independent of one another."""
        keys = self._keys
        if keys is None or len(keys) != count:
            keys = [(self._trials, index) for index in range(count)]
        return [generator(self._seed, stream, *key) for key in keys]
