"""Noise of exploring agents: a stream of its own for each environment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.policies.distributions import ActionDistribution
from metarl.seeding import Stream, generator

_BLOCK = 64
"""Steps whose noise is drawn at a time; what is drawn does not depend on it."""


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
        self._generators: list[np.random.Generator] = []
        self._used = _BLOCK

    def seed(self, seeds: Sequence[int]) -> None:
        """Makes environment i draw from a stream of the agent's seed and `seeds[i]` from now on."""
        self._keys = [(seed,) for seed in seeds]
        self._generators = []

    def sample(self, parameters: Float[Tensor, "env p"]) -> Float[Tensor, "env a"]:
        """Draws an action of each environment from the distribution with these parameters."""
        count = len(parameters)
        if len(self._generators) != count:
            self._begin(count)
        if self._used == _BLOCK:
            blocks = [self._distribution.noise(rng, _BLOCK) for rng in self._generators]
            self._block = torch.as_tensor(np.stack(blocks, axis=1), dtype=parameters.dtype, device=parameters.device)
            self._used = 0
        noise = self._block[self._used]
        self._used += 1
        return self._distribution.sample_by(parameters, noise)

    def generators(self, count: int, stream: Stream) -> list[np.random.Generator]:
        """Returns a generator for each of `count` environments; streams are independent of one another."""
        keys = self._keys
        if keys is None or len(keys) != count:
            keys = [(self._trials, index) for index in range(count)]
        return [generator(self._seed, stream, *key) for key in keys]

    def _begin(self, count: int) -> None:
        self._generators = self.generators(count, Stream.EXPLORATION)
        self._used = _BLOCK
