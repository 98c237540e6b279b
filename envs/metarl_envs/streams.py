"""Random numbers for environments that step as one array operation, each from a generator of its own."""

from collections.abc import Callable

import numpy as np

from metarl_envs.core import FloatArray

_BLOCK = 256
"""How many random numbers are drawn at a time for each environment."""


class Streams:
    """One stream of random numbers per environment; what one gives depends on its own generator only.

    Args:
        num_envs: How many environments.
        draw: What to draw: a generator's method that takes the number of draws as `size`, such as
            `np.random.Generator.random`.
    """

    def __init__(self, num_envs: int, draw: Callable[..., FloatArray]) -> None:
        self._draw = draw
        self._index = np.arange(num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._drawn = np.empty((num_envs, _BLOCK))
        """The next numbers of each environment, from position `_used` on."""
        self._used = np.full(num_envs, _BLOCK)

    def begin(self, index: int, rng: np.random.Generator) -> None:
        """Begins the stream of environment `index` anew, with what `rng` draws."""
        self._rngs[index] = rng
        self._used[index] = _BLOCK

    def next(self) -> FloatArray:
        """The next number of every stream, shape `(env,)`."""
        for index in np.flatnonzero(self._used == _BLOCK):
            self._drawn[index] = self._draw(self._rngs[index], size=_BLOCK)
            self._used[index] = 0
        self._used += 1
        numbers: FloatArray = self._drawn[self._index, self._used - 1]
        return numbers
