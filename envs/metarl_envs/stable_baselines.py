"""Vectors of this package as stable-baselines3 takes them; needs stable-baselines3, which nothing else here does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metarl_envs.core import TaskVectorEnv
from metarl_envs.errors import UserError

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    raise UserError(
        "metarl_envs.stable_baselines needs stable-baselines3: pip install 'stable-baselines3>=2.7'"
    ) from error


class StableBaselinesVecEnv(VecEnv):
    """Vector for stable-baselines3's algorithms: `PPO("MlpPolicy", VecMonitor(StableBaselinesVecEnv(env)))`.

    The last step of an episode has `info["is_success"]`, true if any of its steps solved the task, beside what
    stable-baselines3 asks for: `terminal_observation` and `TimeLimit.truncated`.

    Args:
        env: Vector with its tasks set, as from `gymnasium.make_vec("metarl/ML1-test-v0", env_name="reach-v3", task=0,
            num_envs=8)`.

    Raises:
        UserError: If `env` is not a vector of this package, or has no tasks.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        if not isinstance(env, TaskVectorEnv):
            raise UserError(f"StableBaselinesVecEnv takes vectors of gymnasium.make_vec('metarl/...'), not {env}")
        if not env.tasks:
            raise UserError("StableBaselinesVecEnv takes a vector whose tasks are set: call set_tasks first")
        self.env = env
        self._solved = np.zeros(env.num_envs, dtype=np.bool_)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> npt.NDArray[Any]:
        """Begins an episode in every environment, from the seeds of the last call of `seed`."""
        unseeded = all(seed is None for seed in self._seeds)
        observations, _ = self.env.reset(seed=None if unseeded else list(self._seeds))
        self._reset_seeds()
        self._solved[:] = False
        return observations

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Begins a step."""
        self.env.send(actions)

    def step_wait(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        """Returns observations, rewards, ends of episodes and an info for each environment."""
        observations, rewards, terminated, truncated, infos = self.env.receive()
        self._solved |= infos["success"]
        details: list[dict[str, Any]] = [{"success": bool(success)} for success in infos["success"]]
        ended = terminated | truncated
        for env in np.flatnonzero(ended):
            details[env] |= {
                "is_success": bool(self._solved[env]),
                "terminal_observation": infos["final_obs"][env],
                "TimeLimit.truncated": bool(truncated[env] and not terminated[env]),
            }
        self._solved[ended] = False
        return observations, rewards, ended, details

    def close(self) -> None:
        """Closes the vector."""
        self.env.close()

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Draws a frame of each environment."""
        return self.env.render()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Reads an attribute of the vector, once for each environment."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises a `UserError`: the environments are no objects of their own."""
        raise UserError(f"the environments of a vector share their attributes: set '{attr_name}' on `env` instead")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Raises a `UserError`: the environments are no objects of their own."""
        raise UserError(f"the environments of a vector have no methods: call '{method_name}' of `env` instead")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Returns false for each environment."""
        return [False for _ in self._get_indices(indices)]
