"""Multi-task PPO of stable-baselines3, which importing this module takes, on tasks whose goals are visible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from metarl.baselines.learners import make_learner
from metarl.devices import one_torch_thread
from metarl.seeding import Stream, derive_seeds, generator
from metarl_envs.core import TaskDistribution


class TaskVecEnv(VecEnv):
    """Vector of stable-baselines3 in which every environment gets another training task after each horizon.

    An episode that is in progress then, as others of its environment ended early, is cut.

    Args:
        distribution: Family whose training tasks to draw.
        num_envs: Number of environments.
        seed: Seed of the drawing and of the environments.
    """

    def __init__(self, distribution: TaskDistribution, num_envs: int, seed: int) -> None:
        self.env = distribution.make_env(num_envs)
        self.render_mode = None
        self._distribution, self._seed = distribution, seed
        self._rounds = 0
        super().__init__(num_envs, distribution.observation_space, distribution.action_space)

    def reset(self) -> npt.NDArray[np.float64]:
        """Draws tasks and begins an episode of each."""
        rng = generator(self._seed, Stream.BASELINES, self._rounds)
        self.env.set_tasks(self._distribution.sample(self.num_envs, rng))
        self._rounds += 1
        self._elapsed = 0
        return self.env.reset(seed=rng.integers(2**31, size=self.num_envs).tolist())[0]

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Begins a step."""
        self.env.send(actions)

    def step_wait(self) -> tuple[Any, Any, npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Ends the step that `step_async` began."""
        observations, rewards, terminated, truncated, infos = self.env.receive()
        self._elapsed += 1
        final = np.where((terminated | truncated)[:, None], infos.get("final_obs", observations), observations)
        if self._elapsed == self._distribution.horizon:
            truncated = ~terminated
            observations = self.reset()
        ended = terminated | truncated
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(ended):
            told[index] = {"terminal_observation": final[index], "TimeLimit.truncated": bool(truncated[index])}
        return observations, rewards, ended, told

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute once for each environment; they all share it."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises: environments of one vector have no attributes of their own."""
        raise NotImplementedError(f"cannot set {attr_name}")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Raises: environments of one vector have no methods of their own."""
        raise NotImplementedError(f"cannot call {method_name}")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Returns false for each environment."""
        return [False] * len(list(self._get_indices(indices)))


class _Counting(BaseCallback):
    def __init__(self, tell: Callable[[int], object]) -> None:
        super().__init__()
        self._tell = tell

    def _on_step(self) -> bool:
        self._tell(self.training_env.num_envs)
        return True


@one_torch_thread()
def train_oracle(
    distribution: TaskDistribution, steps: int, num_envs: int, seed: int, tell: Callable[[int], object]
) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Trains PPO with the defaults of stable-baselines3 on the training tasks.

    Args:
        distribution: Family whose observations show the task.
        steps: Environment steps to train for, rounded up to whole rollouts.
        num_envs: Number of environments.
        seed: Seed of learner, tasks and environments.
        tell: Is told the number of environment steps since it was last told.

    Returns:
        Function from observations `(env, obs)` to the likeliest actions.
    """
    vector = TaskVecEnv(distribution, num_envs, seed)
    try:
        model = make_learner("ppo", vector, *derive_seeds(seed, Stream.BASELINES, count=1))
        model.learn(steps, _Counting(tell))
    finally:
        vector.close()
    return lambda observations: np.asarray(model.predict(observations, deterministic=True)[0])
