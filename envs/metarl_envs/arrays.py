"""Arrays of any library: code in the array API standard runs on NumPy arrays and PyTorch tensors alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

Array = Any
"""A NumPy array or a PyTorch tensor."""


def namespace(array: Array) -> Any:
    """The library of an array, as the array API standard has it.

    NumPy 2 is that itself; going through `array_api_compat` would cost more than most operations on small batches.
    """
    return np if type(array) is np.ndarray else array_namespace(array)
