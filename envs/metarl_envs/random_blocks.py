"""Random numbers drawn in blocks, for environments that step as one array operation."""

from collections.abc import Callable

import numpy as np

from metarl_envs.core import FloatArray

_BLOCK = 256
"""Size of a block: random numbers drawn at a time for each environment."""


class RandomBlocks:
    """Random numbers for a vector of environments; each environment's depend on its own generator only.

    Args:
        num_envs: Number of environments.
        draw: Method of a generator that takes the number of draws as `size`, such as `np.random.Generator.random`.
    """

    def __init__(self, num_envs: int, draw: Callable[..., FloatArray]) -> None:
        self._draw = draw
        self._index = np.arange(num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._drawn = np.empty((num_envs, _BLOCK))
        """Blocks `(env, block)`; the numbers from position `_used` on are still to come."""
        self._used = np.full(num_envs, _BLOCK)

    def begin(self, index: int, rng: np.random.Generator) -> None:
        """Makes environment `index` draw from `rng`, and discards the rest of its block."""
        self._rngs[index] = rng
        self._used[index] = _BLOCK

    def next(self) -> FloatArray:
        """Returns the next number of every environment, `(env,)`."""
        for index in np.flatnonzero(self._used == _BLOCK):
            self._drawn[index] = self._draw(self._rngs[index], size=_BLOCK)
            self._used[index] = 0
        self._used += 1
        numbers: FloatArray = self._drawn[self._index, self._used - 1]
        return numbers
