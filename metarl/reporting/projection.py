"""Projection of what adaptation leaves in a policy to two dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Projection(NamedTuple):
    """Vectors in the plane of their two largest principal components."""

    places: Float[np.ndarray, "task 2"]
    """Coordinates of each vector."""
    explained: tuple[float, float]
    """Shares of the total variance along each axis; 0 where all vectors are equal."""


def project(vectors: Float[np.ndarray, "task number"]) -> Projection:
    """Projects vectors to their first two principal components (Pearson 1901), by a singular value decomposition.

    The sign of each axis is that for which its largest coordinate is positive, so equal input gives equal figures.
    """
    # X = centred vectors = U S V^T; coordinates U S, variance along axis i proportional to s_i^2
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(centred), 2))
    count = min(2, len(sizes))
    places[:, :count] = left[:, :count] * sizes[:count]
    farthest = places[np.abs(places).argmax(axis=0), np.arange(2)]
    variances = np.zeros(2)
    variances[:count] = sizes[:count] ** 2
    total = (sizes**2).sum()
    first, second = variances / total if total > 0 else variances
    return Projection(places * np.where(farthest < 0, -1.0, 1.0), (float(first), float(second)))
