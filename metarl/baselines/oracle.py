"""Multi-task PPO of stable-baselines3, which importing this module takes, on tasks whose goals are visible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback

from metarl.baselines.learners import make_learner
from metarl.devices import one_torch_thread
from metarl.seeding import Stream, derive_seeds, generator
from metarl_envs.core import TaskDistribution
from metarl_envs.stable_baselines import StableBaselinesVecEnv


class TaskVecEnv(StableBaselinesVecEnv):
    """Vector of stable-baselines3 in which every environment gets another training task after each horizon.

    An episode that is in progress then, as others of its environment ended early, is cut.

    Args:
        distribution: Family whose training tasks to draw.
        num_envs: Number of environments.
        seed: Seed of the drawing and of the environments.
    """

    def __init__(self, distribution: TaskDistribution, num_envs: int, seed: int) -> None:
        env = distribution.make_env(num_envs)
        env.set_tasks(distribution.train_tasks[:num_envs])  # until the first reset
        self._distribution, self._task_seed = distribution, seed
        self._rounds = 0
        super().__init__(env)

    def reset(self) -> npt.NDArray[np.float64]:
        """Draws tasks and begins an episode of each."""
        rng = generator(self._task_seed, Stream.BASELINES, self._rounds)
        self.env.set_tasks(self._distribution.sample(self.num_envs, rng))
        self.seed(int(rng.integers(2**31)))
        self._rounds += 1
        self._elapsed = 0
        return super().reset()

    def step_wait(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        """See `StableBaselinesVecEnv`."""
        observations, rewards, ended, details = super().step_wait()
        self._elapsed += 1
        if self._elapsed == self._distribution.horizon:
            for env in np.flatnonzero(~ended):
                details[env] |= {"terminal_observation": observations[env], "TimeLimit.truncated": True}
            observations, ended = self.reset(), np.ones_like(ended)
        return observations, rewards, ended, details


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
