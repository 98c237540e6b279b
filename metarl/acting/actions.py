"""Conversion between a policy's action vectors and the actions of an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt


def to_environment(actions: npt.NDArray[Any], space: gym.spaces.Box | gym.spaces.Discrete) -> npt.NDArray[Any]:
    """Converts a policy's action vectors `(env, action)` to actions of the environment.

    Action vectors are in units of the action space: -1 is its lower bound and 1 its upper bound, and values beyond are
    clipped, as in rllab's normalised environments, which the published hyperparameters are for. One-hot rows become
    integers, and where a box holds integers, values are rounded.

    Args:
        actions: `(env, action)`, in units of the action space, or one-hot where actions are discrete.
        space: Action space of a single environment.

    Returns:
        `(env, action)` in the environment's units, or `(env,)` integers where actions are discrete.
    """
    return make_to_environment(space)(actions)


def make_to_environment(
    space: gym.spaces.Box | gym.spaces.Discrete,
) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Makes `to_environment` for one space, for callers that convert in every step."""
    if isinstance(space, gym.spaces.Discrete):
        start = int(space.start)
        return lambda actions: np.asarray(actions.argmax(-1) + start)
    low, high, dtype = space.low, space.high, space.dtype
    middle, half = middle_and_half(space)
    if np.issubdtype(dtype, np.integer):
        # a_env = clip(round(middle + half * a), low, high)
        return lambda actions: np.clip(np.rint(middle + half * actions), low, high).astype(dtype)
    # a_env = clip(middle + half * a, low, high)
    return lambda actions: np.asarray(np.minimum(np.maximum(middle + half * actions, low), high), dtype=dtype)


def to_vectors(actions: npt.NDArray[Any], space: gym.spaces.Box | gym.spaces.Discrete) -> npt.NDArray[np.float32]:
    """Inverts `to_environment` without clipping: returns float vectors `(env, action)`, discrete actions one-hot."""
    if isinstance(space, gym.spaces.Discrete):
        # row of the identity matrix: one-hot
        return np.asarray(np.eye(int(space.n), dtype=np.float32)[actions - int(space.start)])
    middle, half = middle_and_half(space)
    # a = (a_env - middle) / half
    return np.asarray((actions - middle) / half, dtype=np.float32)


def middle_and_half(space: gym.spaces.Box) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns middle and half width of a box, `(action,)` each, in its units; 0 and 1 in dimensions without bounds.

    A box of integers is half a unit wider on both sides: rounding then gives each integer an equal share.
    """
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if np.issubdtype(space.dtype, np.integer):
        low, high = low - 0.5, high + 0.5
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    # middle = (low + high) / 2,  half = (high - low) / 2
    return (low + high) / 2, (high - low) / 2
