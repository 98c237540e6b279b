"""Array code for NumPy arrays and PyTorch tensors alike, in the array API standard."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""A NumPy array or a PyTorch tensor."""


def namespace(array: Array) -> Any:
    """Returns the array's library in the form of the array API standard.

    NumPy 2 has that form itself. On small batches, `array_api_compat` would cost more than most operations.
    """
    return np if type(array) is np.ndarray else array_namespace(array)


def norm(x: Array) -> Array:
    """Euclidean length `(env,)` of vectors `(env, n)`."""
    xp = namespace(x)
    return xp.sqrt(xp.vecdot(x, x))


def clamp(x: Array, low: float | Array, high: float | Array) -> Array:
    """Limits x to [low, high], as the standard's `clip` does, in a quarter of its time on small NumPy arrays."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, low), high)
