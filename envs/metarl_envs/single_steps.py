"""Resets and steps of single Gymnasium environments, checked against what the environment declares."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl_envs.errors import UserError

Env = gym.Env[Any, Any]


def checked_reset(env: Env, seed: int | None, options: dict[str, Any] | None) -> npt.NDArray[np.float64]:
    """Resets an environment and returns the observation.

    Raises:
        UserError: If the environment does not answer as Gymnasium's interface says and its space declares.
    """
    try:
        answer = env.reset(seed=seed, options=options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(
            f"{_name(env)}: reset does not take seed and options, as in the old Gym interface; declare"
            " `def reset(self, *, seed=None, options=None)`"
        ) from None
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
        raise UserError(f"{_name(env)}: reset must return (observation, info), info being a dict: got {_shown(answer)}")
    return _observation(env, answer[0], "reset")


def checked_step(env: Env, action: Any) -> tuple[npt.NDArray[np.float64], float, bool, bool, dict[str, Any]]:
    """Makes a step in an environment.

    Returns:
        Observation `(obs,)`, reward, terminated, truncated, info.

    Raises:
        UserError: If the environment does not answer as Gymnasium's interface says and its space declares.
    """
    answer: Any = env.step(action)
    if not (isinstance(answer, tuple) and len(answer) == 5):
        old = ", as in the old Gym interface" if isinstance(answer, tuple) and len(answer) == 4 else ""
        raise UserError(
            f"{_name(env)}: step must return (observation, reward, terminated, truncated, info): got"
            f" {_shown(answer)}{old}"
        )
    observation, reward, terminated, truncated, info = answer
    if not isinstance(info, dict):
        raise UserError(f"{_name(env)}: info of a step must be a dict: got {_shown(info)}")
    return (
        _observation(env, observation, "step"),
        _number(env, reward, "reward"),
        _flag(env, terminated, "terminated"),
        _flag(env, truncated, "truncated"),
        info,
    )


def checked_frame(env: Env) -> npt.NDArray[np.uint8]:
    """Draws a frame `(height, width, 3)`.

    Raises:
        UserError: If the environment returns anything else.
    """
    frame: Any = env.render()
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
        raise UserError(
            f"{_name(env)}: render must return an RGB picture, an array of shape (height, width, 3) and type uint8: got"
            f" {_shown(frame)}"
        )
    return frame


def _observation(env: Env, observation: Any, of: str) -> npt.NDArray[np.float64]:
    space = env.observation_space
    assert space.shape is not None
    if isinstance(observation, dict | tuple) or not isinstance(observation, np.ndarray | list):
        raise UserError(f"{_name(env)}: the observation of a {of} must be an array: got {_shown(observation)}")
    try:
        values = np.asarray(observation, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{_name(env)}: the observation of a {of} is not numbers: {_shown(observation)}") from None
    if values.shape != space.shape:
        raise UserError(
            f"{_name(env)}: the observation of a {of} has shape {values.shape}, but observation_space says"
            f" {space.shape}"
        )
    if not np.isfinite(values).all():
        elements = np.flatnonzero(~np.isfinite(values))
        raise UserError(f"{_name(env)}: the observation of a {of} is not finite: element {elements[0]}")
    return values


def _number(env: Env, value: Any, what: str) -> float:
    """Converts a number, or an array of a single one, as vectorised code leaves it."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise UserError(f"{_name(env)}: the {what} of a step must be a number: got {_shown(value)}")
    number = float(array.reshape(()))
    if not np.isfinite(number):
        raise UserError(f"{_name(env)}: the {what} of a step is not finite: {number}")
    return number


def _flag(env: Env, value: Any, what: str) -> bool:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "bui" or array.reshape(()) not in (0, 1):
        raise UserError(f"{_name(env)}: {what} must be true or false: got {_shown(value)}")
    return bool(array.reshape(()))


def _name(env: Env) -> str:
    return type(env.unwrapped).__name__


def _shown(value: Any) -> str:
    """Describes a value in few words."""
    if value is None:
        return "None"
    if isinstance(value, tuple | list):
        return f"{len(value)} values in a {type(value).__name__}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"{type(value).__name__} {value!r}"[:80]
