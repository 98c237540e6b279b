"""Task distributions over any Gymnasium environment, by a function that applies a task to it."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.parallel import ParallelVectorEnv
from metarl_envs.scenes import Scene
from metarl_envs.single_steps import checked_frame, checked_reset, checked_step

_log = logging.getLogger(__name__)
Env = gym.Env[Any, Any]
MakeSingle = Callable[[str | None], Env]
"""Makes one environment with a given render mode."""
ApplyTask = Callable[[Env, Task], object]
"""Applies a task to an environment that `MakeSingle` returned."""
Success = Callable[[Env, dict[str, Any]], bool]
"""Returns true if the step just made solved the task, from the environment and the step's info."""


SUCCESS_KEYS = ("success", "is_success")
"""Keys of a step's info that tell of success, in the order in which they are asked."""


def info_success(env: Env, info: dict[str, Any]) -> bool:
    """Reads success from the info a step returned, under the first of `SUCCESS_KEYS` that is there; else false."""
    return next((bool(info[key]) for key in SUCCESS_KEYS if key in info), False)


class WrappedVectorEnv(TaskVectorEnv):
    """Steps single Gymnasium environments one after the other, in this process.

    A task is applied once, at the first `reset` after `set_tasks`, before the environment's own `reset`. It should
    change something that the environment's `reset` keeps, such as an attribute that `reset` reads or the physics model.
    Actions are converted to the action space's dtype and clipped to its bounds; observations become float64. An episode
    ends at `horizon`, or earlier if the environment terminates or truncates it; the next one continues the
    environment's random numbers. An answer that is not what the environment declares, or not finite, is an error.

    Args:
        make_single: Makes one environment with the given render mode.
        apply_task: Applies a task to an environment.
        num_envs: Number of environments.
        horizon: Steps after which an episode is truncated.
        success: Returns true if a step solved the task; by default from the step's info, see `info_success`.
        render_mode: None, or "rgb_array" for `render`.

    Raises:
        UserError: If observations are not a flat `Box`, actions neither a flat `Box` nor a `Discrete` from 0, or an
            environment, later, does not answer as it declares.
    """

    def __init__(
        self,
        make_single: MakeSingle,
        apply_task: ApplyTask,
        num_envs: int,
        horizon: int,
        success: Success = info_success,
        render_mode: str | None = None,
    ) -> None:
        self._envs = [make_single(render_mode) for _ in range(num_envs)]
        self._apply_task = apply_task
        self._success = success
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._apply_at_reset = False
        self.num_envs = num_envs
        self.horizon = horizon
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = _flat_spaces(self._envs[0])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assigns `tasks[i]` to environment `i`, from the next `reset` on."""
        self.tasks = self._check_count(tasks)
        self._apply_at_reset = True

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins a new episode of the last set task in every environment; passes `options` to each."""
        seeds = self._seed_each(seed)
        if self._apply_at_reset:
            for env, task in zip(self._envs, self.tasks, strict=True):
                self._apply_task(env, task)
            self._apply_at_reset = False
        self._elapsed[:] = 0
        observations = [checked_reset(env, seed, options) for env, seed in zip(self._envs, seeds, strict=True)]
        return np.stack(observations), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Makes a step in every environment, one after the other."""
        observations, final_observations = np.zeros((2, self.num_envs, *self.single_observation_space.shape))
        rewards = np.zeros(self.num_envs)
        terminated, truncated, success = np.zeros((3, self.num_envs), dtype=np.bool_)
        self._elapsed += 1
        for index, (env, action) in enumerate(zip(self._envs, self._in_action_space(actions), strict=True)):
            observation, rewards[index], terminated[index], truncated[index], info = checked_step(env, action)
            success[index] = self._success(env, info)
            truncated[index] |= self._elapsed[index] >= self.horizon
            if terminated[index] or truncated[index]:
                final_observations[index] = observation
                observation = checked_reset(env, None, None)
                self._elapsed[index] = 0
            observations[index] = observation
        infos: dict[str, Any] = {"success": success}
        ended = terminated | truncated
        if ended.any():
            infos |= {"final_obs": final_observations, "_final_obs": ended}
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Draws one frame `(height, width, 3)` per environment."""
        return tuple(map(checked_frame, self._envs))

    def scene(self, env: int = 0) -> Scene | None:
        """See `TaskVectorEnv`; finds MuJoCo's model and data as `model` and `data` of the unwrapped environment."""
        single = self._envs[env].unwrapped
        model, data = getattr(single, "model", None), getattr(single, "data", None)
        mujoco = sys.modules.get("mujoco")  # without it nothing can be simulated by it
        if mujoco is None or not (isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)):
            return None
        return Scene(model, data)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments."""
        for env in self._envs:
            env.close()


class WrappedDistribution(TaskDistribution):
    """Task distribution over any Gymnasium environment; `WrappedVectorEnv` describes what the functions must do.

    Args:
        name: Name in results.
        train_tasks: Tasks that meta-training draws from.
        test_tasks: Held-out tasks.
        make_single: Makes one environment with the given render mode (None or "rgb_array").
        apply_task: Applies a task to an environment.
        horizon: Steps after which an episode is truncated.
        success: Returns true if a step solved the task; by default from the step's info, see `info_success`.

    Raises:
        UserError: If a split is empty, a task is in both splits, or the environment's spaces are not flat.
    """

    def __init__(
        self,
        name: str,
        train_tasks: Sequence[Task],
        test_tasks: Sequence[Task],
        make_single: MakeSingle,
        apply_task: ApplyTask,
        horizon: int,
        success: Success = info_success,
    ) -> None:
        env = make_single(None)
        try:
            spaces = _flat_spaces(env)
            _warn_of_time_limit(env, horizon)
            self._render_modes = env.metadata.get("render_modes", ())
        finally:
            env.close()
        super().__init__(name, train_tasks, test_tasks, *spaces, horizon)
        self._make_single, self._apply_task, self._success = make_single, apply_task, success
        self._make_shard = partial(WrappedVectorEnv, make_single, apply_task, horizon=horizon, success=success)

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """Makes a vector of environments, in parallel processes unless it renders."""
        if render_mode is None:
            return ParallelVectorEnv(self._make_shard, num_envs, self.workers)
        if render_mode not in self._render_modes:
            raise UserError(f"{self.name} has no render mode '{render_mode}'; its environment has {self._render_modes}")
        return self._make_shard(num_envs, render_mode=render_mode)

    def tells_success(self) -> bool:
        """Plays a step of the first training task; returns false if nothing in it could tell of success."""
        if self._success is not info_success:
            return True
        env = self._make_single(None)
        try:
            self._apply_task(env, self.train_tasks[0])
            checked_reset(env, 0, None)
            info = checked_step(env, env.action_space.sample())[4]
        finally:
            env.close()
        return any(key in info for key in SUCCESS_KEYS)


def _flat_spaces(env: Env) -> tuple[gym.spaces.Box, gym.spaces.Box | gym.spaces.Discrete]:
    observation, action = env.observation_space, env.action_space
    if not isinstance(observation, gym.spaces.Box) or len(observation.shape) != 1:
        raise UserError(f"observations must be a flat Box, not {observation}: {_how_to_flatten(observation)}")
    if isinstance(action, gym.spaces.Discrete):
        if action.start != 0:
            raise UserError(f"discrete actions must start at 0, not {action.start}")
    elif not isinstance(action, gym.spaces.Box) or len(action.shape) != 1:
        raise UserError(f"actions must be a flat Box or a Discrete, not {action}")
    low, high = (bound.astype(np.float64) for bound in (observation.low, observation.high))
    return gym.spaces.Box(low, high, dtype=np.float64), action


def _how_to_flatten(space: gym.Space[Any]) -> str:
    """Advice that does not let a goal environment show the policy its task."""
    if isinstance(space, gym.spaces.Dict) and "desired_goal" in space.spaces:
        kept = [name for name in space.spaces if name != "desired_goal"]
        return f"wrap in FilterObservation with {kept}, since 'desired_goal' shows the task, then in FlattenObservation"
    return "wrap in FlattenObservation"


def _warn_of_time_limit(env: Env, horizon: int) -> None:
    limit = None if env.spec is None else env.spec.max_episode_steps
    if limit is not None and limit < horizon:
        _log.warning(
            "%s ends its episodes after %d steps, before the horizon of %d: make it with max_episode_steps=%d",
            env.spec.id if env.spec else "the environment",
            limit,
            horizon,
            horizon,
        )
