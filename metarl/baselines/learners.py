"""Learners of stable-baselines3 with its own defaults, and what these are."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from metarl.shell import command
from metarl.versions import package_version
from metarl_envs.errors import UserError, unknown

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

LEARNERS = ("ppo", "sac")
"""Learners: PPO (Schulman et al. 2017) and SAC (Haarnoja et al. 2018)."""

_PACKAGE = "stable-baselines3"
_NO_SETTINGS = ("verbose", "device", "seed", "stats_window_size", "_init_setup_model")
"""Parameters that do not change what is learned, and the seed."""


def check_learner(name: str, action_space: gym.spaces.Space[Any]) -> None:
    """Checks that there is such a learner, and that it can learn in this action space.

    Raises:
        UserError: If the name is unknown, stable-baselines3 is not installed, or the learner cannot learn there.
    """
    if name not in LEARNERS:
        raise unknown("learner", name, LEARNERS)
    _learner_class(name)
    if name == "sac" and not isinstance(action_space, gym.spaces.Box):
        raise UserError("sac learns continuous actions only, and those of these tasks are discrete: use ppo")


def make_learner(name: str, env: Any, seed: int, **changes: Any) -> BaseAlgorithm:
    """Makes a learner with a multi-layer perceptron and the defaults of stable-baselines3, on the CPU.

    Args:
        name: One of `LEARNERS`.
        env: Environment to learn in: a `gymnasium.Env`, or a vector of stable-baselines3.
        seed: Seed of the learner.
        changes: Settings other than the defaults, by name.
    """
    made: BaseAlgorithm = _learner_class(name)("MlpPolicy", env, seed=seed, device="cpu", **changes)
    return made


def learner_settings(name: str) -> dict[str, Any]:
    """Returns a learner's version and defaults as JSON types."""
    parameters = inspect.signature(_learner_class(name)).parameters
    defaults = {key: value.default for key, value in parameters.items() if key not in _NO_SETTINGS}
    plain = {key: value for key, value in defaults.items() if isinstance(value, bool | int | float | str)}
    return {"package": f"{_PACKAGE} {package_version(_PACKAGE)}", "policy": "MlpPolicy"} | plain


def _learner_class(name: str) -> Any:
    try:
        return getattr(import_module("stable_baselines3"), name.upper())
    except ImportError:
        raise UserError(
            f"{name} needs the package {_PACKAGE}: pip install {_PACKAGE}, or leave it out of {command('evaluate')}"
        ) from None
