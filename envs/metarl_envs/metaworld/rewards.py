"""Functions that Meta-World's rewards are composed of, for batches of environments.

Every function takes arrays with a leading axis `env` and works for NumPy arrays and PyTorch tensors alike. The
functions equal those of Meta-World 3.1.1's `metaworld.utils.reward_utils`. Comments in the task classes write them so:

    T(d; r, m)   nearness(d, r, m): long-tailed tolerance of a distance d, with radius r and margin m
    G(d; r, m)   gaussian(d, r, m): the Gaussian one
    H(a, b)      hamacher_product(a, b)
    [x]          1 where x holds, else 0
"""

from __future__ import annotations

import math

from metarl_envs.arrays import Array, namespace

_VALUE_AT_MARGIN = 0.1
_LONG_TAIL = 1 / _VALUE_AT_MARGIN - 1
_GAUSSIAN = math.log(_VALUE_AT_MARGIN)
_NONE = 0.0
"""Radius that is not subtracted."""
_TINY = 1e-150
"""Keeps 0 / 0 from occurring: added to a divisor it changes no other number, and 1 / _TINY can be squared."""


def long_tail(x: Array, low: float | Array, high: float | Array, margin: float | Array) -> Array:
    """Tolerance of a value x: 1 within [low, high], 1 / (1 + 9 d²) outside.

    Args:
        x: Values, `(env,)` or `(env, n)`.
        low: Lower bound, in the unit of x.
        high: Upper bound.
        margin: Distance from the bounds at which the tolerance is 0.1, where d = 1; at 0 it is 0 outside the bounds.
    """
    # Outside [low, high], max(low - x, x - high) is the distance from the bounds; within, it is negative.
    return nearness(namespace(x).maximum(low - x, x - high), _NONE, margin)


def nearness(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """Tolerance T of a distance: 1 within the radius, 1 / (1 + 9 d²) outside, d = (distance - radius) / margin.

    Args:
        distance: Distances, `(env,)` or `(env, n)`.
        radius: Distance up to which the tolerance is 1.
        margin: Distance from the radius at which the tolerance is 0.1; at 0 it is 0 outside the radius.
    """
    d = _distance_in_margins(distance, radius, margin)
    # 1 / ((1 / 0.1 - 1) d² + 1)
    return 1 / (d * d * _LONG_TAIL + 1)


def gaussian(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """Tolerance G of a distance: 1 within the radius, 0.1^(d²) outside; arguments as of `nearness`."""
    d = _distance_in_margins(distance, radius, margin)
    # exp(d² log 0.1)
    return namespace(distance).exp(d * d * _GAUSSIAN)


def _distance_in_margins(distance: Array, radius: float | Array, margin: float | Array) -> Array:
    """Distance beyond the radius divided by the margin; with a margin of 0 so large that every tolerance is 0."""
    beyond = distance if radius is _NONE else distance - radius
    return namespace(distance).maximum(beyond, 0.0) / (margin + _TINY)


def hamacher_product(a: Array, b: Array) -> Array:
    """Hamacher product H of values in [0, 1], a soft "and": (a b) / (a + b - a b), and 0 where both are 0."""
    product = a * b
    return product / (a + b - product + _TINY)


def box_ramp(point: Array, zero: Array, one: Array) -> Array:
    """Ramp that rises from 0 to 1 between two opposite corners of a box, and is 1 outside the box.

    Args:
        point: Point at which to evaluate it, `(env, 3)` in metres.
        zero: The corner where it is 0, `(env, 3)`, or `(box, env, 3)` for several boxes.
        one: The corner where it is 1.

    Returns:
        The product of the shares of the three edges that the point has passed, `(env,)` or `(box, env)`.
    """
    xp = namespace(point)
    edges = one - zero
    # prod_i (point_i - zero_i) / (one_i - zero_i) within the box
    shares = (point - zero) / xp.where(edges == 0, 1.0, edges)
    within = (point >= xp.minimum(zero, one)) & (point <= xp.maximum(zero, one))
    inside = within[..., 0] & within[..., 1] & within[..., 2]
    return xp.where(inside, shares[..., 0] * shares[..., 1] * shares[..., 2], 1.0)
