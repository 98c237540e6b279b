"""Episodes recorded by a user, and the checks before an agent adapts to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.errors import UserError


class Episode(NamedTuple):
    """One recorded episode, in the environment's units; a plain tuple of the three arrays is accepted too."""

    observations: npt.NDArray[Any]
    """`(step, obs)`, observation before each action; the one after the last action is not needed."""
    actions: npt.NDArray[Any]
    """`(step, action)` floats, or `(step,)` integers where actions are discrete."""
    rewards: npt.NDArray[Any]
    """`(step,)`, reward of each action."""


def check_episodes(
    episodes: Sequence[Episode | Sequence[Any]], observation_size: int, space: gym.spaces.Box | gym.spaces.Discrete
) -> list[Episode]:
    """Checks episodes and converts them to arrays: float64, discrete actions int64.

    Args:
        episodes: Recorded episodes, at least one.
        observation_size: Number of elements of an observation.
        space: Action space of a single environment.

    Raises:
        UserError: If there is no episode, or one has wrong shapes, numbers that are not finite, or actions that do not
            exist.
    """
    if len(episodes) == 0:
        raise UserError("there must be at least one episode to adapt on")
    return [
        _check_episode(f"episodes[{index}]", episode, observation_size, space) for index, episode in enumerate(episodes)
    ]


def _check_episode(
    name: str, episode: Episode | Sequence[Any], observation_size: int, space: gym.spaces.Box | gym.spaces.Discrete
) -> Episode:
    if len(episode) != 3:
        raise UserError(f"{name} must be (observations, actions, rewards): got {len(episode)} items")
    names = [f"{name}.{field}" for field in Episode._fields]
    observations, actions, rewards = (_finite_array(*pair) for pair in zip(names, episode, strict=True))
    steps = len(rewards) if rewards.ndim == 1 else 0
    if steps == 0:
        raise UserError(f"{names[2]} must have shape (step,), with a step at least: got {rewards.shape}")
    action_shape = () if isinstance(space, gym.spaces.Discrete) else space.shape
    for what, array, shape in ((names[0], observations, (observation_size,)), (names[1], actions, action_shape)):
        if array.shape != (steps, *shape):
            raise UserError(f"{what} must have shape {(steps, *shape)}, a row for each reward: got {array.shape}")
    if isinstance(space, gym.spaces.Discrete):
        for step, action in enumerate(actions):
            if not (action.is_integer() and space.contains(np.int64(action))):
                raise UserError(f"{names[1]} must be in {space}: got {action:g} at step {step}")
        actions = actions.astype(np.int64)
    return Episode(observations, actions, rewards)


def _finite_array(name: str, values: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be an array of numbers") from None
    if not np.isfinite(array).all():
        step = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise UserError(f"{name} must be finite: it is not at step {step}")
    return array
