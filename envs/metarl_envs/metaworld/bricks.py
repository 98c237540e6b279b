"""What Meta-World's rewards are built of, for whole batches, in the array API standard.

Every function takes arrays with a leading axis `env` and works for NumPy arrays and PyTorch tensors alike. The forms
are those of Meta-World 3.1.1's `metaworld.utils.reward_utils`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from array_api_compat import device

from metarl_envs.arrays import Array, namespace

_VALUE_AT_MARGIN = 0.1
_LONG_TAIL = 1 / _VALUE_AT_MARGIN - 1
_GAUSSIAN = math.log(_VALUE_AT_MARGIN)
_TINY = 1e-150
"""Takes the place of a zero that is divided by, changes no other number, and does not overflow when squared."""


def norm(x: Array) -> Array:
    """Euclidean length of vectors `(env, n)`: `(env,)`."""
    xp = namespace(x)
    return xp.sqrt(xp.vecdot(x, x))


def long_tail(x: Array, low: float | Array, high: float | Array, margin: float | Array) -> Array:
    """1 within [low, high], falling like 1 / (1 + 9 d²) outside, d being the distance from the bounds in margins.

    A margin of 0 gives 0 outside of the bounds.
    """
    return nearness(namespace(x).maximum(low - x, x - high), 0.0, margin)


def nearness(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """1 within the radius, falling like 1 / (1 + 9 d²) outside, d being the distance beyond it in margins.

    A margin of 0 gives 0 outside of the radius.
    """
    d = _beyond(distance, radius, margin)
    return 1 / (d * d * _LONG_TAIL + 1)


def gaussian(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """The same with exp(-d² log 10): 0.1 at one margin from the radius."""
    d = _beyond(distance, radius, margin)
    return namespace(distance).exp(d * d * _GAUSSIAN)


def _beyond(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """Distance beyond the radius in margins; in margins of 0 it is so large that all functions of it vanish."""
    return namespace(distance).maximum(distance - radius, 0.0) / (margin + _TINY)


def hamacher_product(a: Array, b: Array) -> Array:
    """(a b) / (a + b - a b), and 0 where both are 0: a soft "and" of values in [0, 1]."""
    product = a * b
    return product / (a + b - product + _TINY)


def quaternion(matrix: Array) -> Array:
    """Unit quaternions (x, y, z, w) of rotation matrices `(env, 3, 3)`, w's sign as SciPy's `Rotation` chooses it.

    The outer product 4 q qᵀ is linear in the matrix. Its row with the largest diagonal element, which is 4 times the
    largest component times q, keeps all components accurate (Shepperd 1978).
    """
    xp = namespace(matrix)
    elements = matrix.reshape((matrix.shape[0], 9))
    xx, yy, zz = elements[:, 0], elements[:, 4], elements[:, 8]
    choice = xp.argmax(xp.stack([xx, yy, zz, xx + yy + zz], axis=-1), axis=-1)
    products, ones = _outer_product(xp, device(matrix))
    rows = (elements @ products + ones).reshape((-1, 4, 4))
    row = xp.take_along_axis(rows, choice[:, None, None], axis=1)[:, 0]
    return row / norm(row)[:, None]


@cache
def _outer_product(xp: Any, device: Any) -> tuple[Array, Array]:
    """4 q qᵀ `(16,)` as a matrix `(9, 16)` times the elements of the rotation matrix, plus a vector."""
    products, ones = [[0.0] * 16 for _ in range(9)], [0.0] * 16
    for i, signs in enumerate([(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)]):  # 4 x² = 1 + m00 - m11 - m22, ...
        ones[5 * i] = 1.0
        for j, sign in enumerate(signs):
            products[4 * j][5 * i] = float(sign)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for one, other in ((i, j), (j, i)):  # 4 x y = m01 + m10, ...
            products[3 * i + j][4 * one + other] = products[3 * j + i][4 * one + other] = 1.0
        for one, other in ((i, 3), (3, i)):  # 4 x w = m21 - m12, ...
            products[3 * k + j][4 * one + other], products[3 * j + k][4 * one + other] = 1.0, -1.0
    return xp.asarray(products, dtype=xp.float64, device=device), xp.asarray(ones, dtype=xp.float64, device=device)


def clamp(x: Array, low: float | Array, high: float | Array) -> Array:
    """The standard's `clip` of x to [low, high], at a quarter of what it costs on small NumPy arrays."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, low), high)


def box_ramp(point: Array, zero: Array, one: Array) -> Array:
    """Within the box between two opposite corners the product of how far the point is along each edge, 1 outside.

    Args:
        point: `(env, 3)`.
        zero: The corner where the product is 0, `(env, 3)`.
        one: The corner where it is 1, `(env, 3)`.
    """
    xp = namespace(point)
    edges = one - zero
    fractions = (point - zero) / xp.where(edges == 0, 1.0, edges)
    inside = xp.all((point >= xp.minimum(zero, one)) & (point <= xp.maximum(zero, one)), axis=-1)
    return xp.where(inside, xp.prod(fractions, axis=-1), 1.0)
