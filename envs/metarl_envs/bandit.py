"""Bernoulli bandits, the first experiment of the RL² paper (Duan et al. 2016, section 3.1).

An arm pays 1 with its own probability, which a task draws uniformly from [0, 1], else 0. A pull is an episode of one
step, so a trial of n pulls has n episodes.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.counts import Count, Seed, check_counts, check_seed, check_size
from metarl_envs.errors import UserError
from metarl_envs.random_blocks import RandomBlocks

_NAME = "bandit"
_OBSERVATION_SPACE = gym.spaces.Box(0.0, 0.0, (1,), np.float64)


class Bandit(TaskDistribution):
    """Bandits with arm means uniform in [0, 1]; a task's parameters are its arm means, shape `(arm,)`.

    Args:
        arms: Number of arms; 5, 10 and 50 in the paper.
        num_train_tasks: Number of training bandits.
        num_test_tasks: Number of held-out bandits.
        seed: Seed of the drawn arm means.

    Raises:
        UserError: If a number is out of its range.
    """

    renderable = False

    def __init__(
        self,
        arms: Count = 5,
        num_train_tasks: Count = 10_000,
        num_test_tasks: Count = 500,
        seed: Seed = 1,
    ) -> None:
        check_counts(arms=arms, num_train_tasks=num_train_tasks, num_test_tasks=num_test_tasks)
        check_seed(seed)
        check_size(max(num_train_tasks, num_test_tasks), arms)
        train, test = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
        splits = _draw(train, num_train_tasks, arms), _draw(test, num_test_tasks, arms)
        super().__init__(f"{_NAME}-{arms}", *splits, _OBSERVATION_SPACE, gym.spaces.Discrete(arms), horizon=1)
        self.arms = arms

    def make_env(self, num_envs: int, render_mode: str | None = None) -> "BanditVectorEnv":
        """Makes a vector of environments, which step in this process as one array operation."""
        if render_mode is not None:
            raise UserError("a bandit has nothing to render")
        return BanditVectorEnv(num_envs, self.arms)


class BanditVectorEnv(TaskVectorEnv):
    """Bandits with the constant observation 0; a pull of the best arm is a success, whatever it pays.

    The payments of an environment depend on its own seed and pulls only, not on the other environments.

    Args:
        num_envs: Number of environments.
        arms: Number of arms of each.
    """

    horizon = 1

    def __init__(self, num_envs: int, arms: int) -> None:
        self.num_envs = num_envs
        self.arms = arms
        self.single_observation_space = _OBSERVATION_SPACE
        self.single_action_space = gym.spaces.Discrete(arms)
        self.observation_space = batch_space(_OBSERVATION_SPACE, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._index = np.arange(num_envs)
        self._payments = RandomBlocks(num_envs, np.random.Generator.random)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives bandit `i` the arm means of `tasks[i]`, from the next `reset` on."""
        checked = self._check_count(tasks)
        for task in checked:
            if task.name != _NAME or task.parameters.shape != (self.arms,):
                raise UserError(f"{task} is not a bandit task of {self.arms} arms")
        self.tasks = checked

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins episodes of the tasks set last; a seed restarts an environment's random payments."""
        for index, own_seed in enumerate(self._seed_each(seed)):
            if own_seed is not None:
                self._payments.begin(index, np.random.default_rng(own_seed))
        self._means = np.stack([task.parameters for task in self.tasks])
        return np.zeros((self.num_envs, 1)), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Pulls an arm of every bandit, which ends the episode."""
        # r = 1 if u < mean(arm) else 0, u ~ U(0, 1)
        means = self._means[self._index, self._in_action_space(actions)]
        rewards = (self._payments.next() < means).astype(np.float64)
        terminated, truncated = np.zeros(self.num_envs, dtype=np.bool_), np.ones(self.num_envs, dtype=np.bool_)
        infos = {
            "success": means == self._means.max(axis=-1),
            "final_obs": np.zeros((self.num_envs, 1)),
            "_final_obs": truncated.copy(),
        }
        return np.zeros((self.num_envs, 1)), rewards, terminated, truncated, infos


def _draw(rng: np.random.Generator, count: int, arms: int) -> list[Task]:
    return [Task(_NAME, means) for means in rng.random((count, arms))]
