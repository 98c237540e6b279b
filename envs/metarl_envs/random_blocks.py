"""Random numbers drawn in blocks, for environments that step as one array operation."""

from collections.abc import Callable
from math import prod

import numpy as np
import numpy.typing as npt

from metarl_envs.core import FloatArray

_BLOCK = 256
"""Random numbers drawn at a time for each environment, about."""


class RandomBlocks:
    """Random numbers for a vector of environments; each environment's depend on its own generator only.

    Args:
        num_envs: Number of environments.
        draw: Method of a generator that takes the shape of the draws as `size`, such as `np.random.Generator.random`.
        shape: Shape of what is drawn at a time for one environment; a single number by default.
    """

    def __init__(self, num_envs: int, draw: Callable[..., FloatArray], shape: tuple[int, ...] = ()) -> None:
        self._draw = draw
        self._index = np.arange(num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._length = max(_BLOCK // prod(shape), 1)
        """Number of draws of a block; what is drawn does not depend on it."""
        self._drawn = np.empty((num_envs, self._length, *shape))
        """Blocks `(env, block, ...)`; the draws from position `_used` on are still to come."""
        self._used = np.full(num_envs, self._length)

    def begin(self, index: int, rng: np.random.Generator) -> None:
        """Makes environment `index` draw from `rng`, and discards the rest of its block."""
        self._rngs[index] = rng
        self._used[index] = self._length

    def next(self, envs: npt.NDArray[np.int64] | None = None) -> FloatArray:
        """Returns the next draw of each environment, `(env, ...)`.

        Args:
            envs: Indices of the environments; None is all.
        """
        index = self._index if envs is None else envs
        for empty in index[self._used[index] == self._length]:
            self._drawn[empty] = self._draw(self._rngs[empty], size=self._drawn.shape[1:])
            self._used[empty] = 0
        self._used[index] += 1
        numbers: FloatArray = self._drawn[index, self._used[index] - 1]
        return numbers
