"""Bernoulli bandits, the first experiment of the RL² paper (Duan et al. 2016, section 3.1), and classic strategies.

Each arm pays 1 with a probability of its own, which a task draws uniformly from [0, 1]. A pull is an episode of one
step, so a trial of n pulls is n episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space
from pydantic import NonNegativeInt, PositiveInt

from envs.core import FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from envs.errors import UserError, unknown

_NAME = "bandit"
_OBSERVATION_SPACE = gym.spaces.Box(0.0, 0.0, (1,), np.float64)
_UCB1_WEIGHT = 0.2
_BLOCK = 256
"""How many random numbers are drawn at a time for each environment."""


class Bandit(TaskDistribution):
    """Bandits with arm means uniform in [0, 1]; a task's parameters are its arm means, shape `(arm,)`.

    Args:
        arms: How many arms; the paper's are 5, 10 and 50.
        num_train_tasks: How many training bandits.
        num_test_tasks: How many held-out bandits.
        seed: What the arm means are drawn from.
    """

    renderable: ClassVar[bool] = False

    def __init__(
        self,
        arms: PositiveInt = 5,
        num_train_tasks: PositiveInt = 10_000,
        num_test_tasks: PositiveInt = 500,
        seed: NonNegativeInt = 1,
    ) -> None:
        train, test = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
        splits = _draw(train, num_train_tasks, arms), _draw(test, num_test_tasks, arms)
        super().__init__(f"{_NAME}-{arms}", *splits, _OBSERVATION_SPACE, gym.spaces.Discrete(arms), horizon=1)
        self.arms = arms

    def make_env(self, num_envs: int, render_mode: str | None = None) -> "BanditVectorEnv":
        """A vector of environments, in this process: all of them step as one array operation."""
        if render_mode is not None:
            raise UserError("a bandit has nothing to render")
        return BanditVectorEnv(num_envs, self.arms)


class BanditVectorEnv(TaskVectorEnv):
    """Bandits that observe a constant zero; a pull of the best arm is a success, whatever it pays.

    What environment `i` pays depends on its own seed and pulls only, not on the other environments.

    Args:
        num_envs: How many environments.
        arms: How many arms each has.
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
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._drawn = np.empty((num_envs, _BLOCK))
        """The next random numbers of each environment, from position `_used` on."""
        self._used = np.full(num_envs, _BLOCK)

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
        """Begins with the tasks set last; a seed begins an environment's stream of payments anew."""
        for index, own_seed in enumerate(self._seed_each(seed)):
            if own_seed is not None:
                self._rngs[index] = np.random.default_rng(own_seed)
                self._used[index] = _BLOCK
        self._means = np.stack([task.parameters for task in self.tasks])
        return np.zeros((self.num_envs, 1)), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Pulls an arm of every bandit, which ends the episode."""
        means = self._means[self._index, self._in_action_space(actions)]
        rewards = (self._uniforms() < means).astype(np.float64)
        terminated, truncated = np.zeros(self.num_envs, dtype=np.bool_), np.ones(self.num_envs, dtype=np.bool_)
        infos = {
            "success": means == self._means.max(axis=-1),
            "final_obs": np.zeros((self.num_envs, 1)),
            "_final_obs": truncated.copy(),
        }
        return np.zeros((self.num_envs, 1)), rewards, terminated, truncated, infos

    def _uniforms(self) -> FloatArray:
        for index in np.flatnonzero(self._used == _BLOCK):
            self._rngs[index].random(out=self._drawn[index])
            self._used[index] = 0
        self._used += 1
        uniforms: FloatArray = self._drawn[self._index, self._used - 1]
        return uniforms


def baseline_returns(name: str, tasks: Sequence[Task], pulls: int, rng: np.random.Generator) -> FloatArray:
    """What a classic strategy earns in one trial on each task, to hold a learned one against.

    Args:
        name: "random"; "ucb1", as the paper runs it: from a uniform prior, with a bonus of 0.2 times that of Auer et
            al. (2002); or "thompson", Thompson sampling from a uniform prior.
        tasks: Bandit tasks, all with the same number of arms.
        pulls: How many pulls a trial has.
        rng: The source of randomness, of the strategy and of the arms.

    Returns:
        The summed rewards of each task, shape `(task,)`.

    Raises:
        UserError: If there is no strategy of that name.
    """
    if name not in _STRATEGIES:
        raise unknown("bandit strategy", name, _STRATEGIES)
    means = np.stack([task.parameters for task in tasks])
    index = np.arange(len(means))
    counts, paid = np.zeros((2, *means.shape))
    for _ in range(pulls):
        arms = _STRATEGIES[name](counts, paid, rng).argmax(axis=-1)
        counts[index, arms] += 1
        paid[index, arms] += rng.random(len(means)) < means[index, arms]
    total: FloatArray = paid.sum(axis=-1)
    return total


Scores = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]
"""Scores arms by how often each was pulled and what it paid; all `(task, arm)`. The highest score is pulled next."""


def _ucb1(counts: FloatArray, paid: FloatArray, rng: np.random.Generator) -> FloatArray:
    pulls, counts = 1 + counts.sum(axis=-1, keepdims=True), 2 + counts  # one payment and one blank to begin with
    bounds: FloatArray = (1 + paid) / counts + _UCB1_WEIGHT * np.sqrt(2 * np.log(pulls) / counts)
    return bounds


_STRATEGIES: dict[str, Scores] = {
    "random": lambda counts, paid, rng: rng.random(counts.shape),
    "ucb1": _ucb1,
    "thompson": lambda counts, paid, rng: rng.beta(1 + paid, 1 + counts - paid),
}


def _draw(rng: np.random.Generator, count: int, arms: int) -> list[Task]:
    return [Task(_NAME, means) for means in rng.random((count, arms))]
