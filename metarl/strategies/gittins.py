"""Gittins indices of Bernoulli arms."""

from functools import cache

import numpy as np
from jaxtyping import Float

GRID = 500
"""Intervals that the known arm's means are spaced by, between 0 and 1."""


@cache
def gittins_indices(discount: float, pulls: int) -> Float[np.ndarray, "paid blank"]:
    """The Gittins index of a Bernoulli arm with a uniform prior, for all that up to `pulls` pulls may have shown.

    By calibration (Gittins 1979; Gittins, Glazebrook & Weber 2011, chapter 8): the index is the mean of a known arm at
    which one is indifferent between pulling the known arm for ever and pulling the unknown one first, with the choice
    to change over later. The value of that choice is found by backward induction for a grid of known means, and the
    index between two of them by linear interpolation. Beyond `pulls` and twice the discount's horizon an arm's mean is
    taken to be known, which errs on the low side. Both errors together are below 3e-4 for discounts of 0.9 to 0.998.

    Args:
        discount: Discount factor per pull, between 0 and 1.
        pulls: The largest number of payments and blanks together that is wanted.

    Returns:
        The index after so many payments and so many blanks; read-only, and not a number beyond `pulls` in all.
    """
    known = np.linspace(0, 1, GRID + 1)[:, None]
    depth = pulls + int(np.ceil(2 / (1 - discount)))
    indices = np.full((pulls + 1, pulls + 1), np.nan)
    # Values are (1 - discount) times the discounted sum, so that a known arm's value is its mean.
    value = np.maximum(np.arange(1, depth + 2) / (depth + 2), known)
    for pulled in reversed(range(depth)):
        paid = np.arange(pulled + 1)
        mean = (1 + paid) / (2 + pulled)
        going_on = mean * (1 - discount + discount * value[:, 1:]) + (1 - mean) * discount * value[:, :-1]
        value = np.maximum(going_on, known)
        if pulled <= pulls:
            indices[paid, pulled - paid] = _root(going_on - known)
    indices.setflags(write=False)
    return indices


def _root(advantage: Float[np.ndarray, "known state"]) -> Float[np.ndarray, "state"]:
    """Where each column, which falls with the known mean from above to below zero, crosses zero."""
    last = (advantage > 0).sum(axis=0) - 1
    state = np.arange(advantage.shape[1])
    above, below = advantage[last, state], advantage[last + 1, state]
    root: Float[np.ndarray, "state"] = (last + above / (above - below)) / GRID
    return root
