"""Random tabular MDPs, the second experiment of the RL² paper (Duan et al. 2016, section 3.2).

A task draws, for each state and action, the mean reward from a normal distribution of mean 1 and variance 1, and the
probabilities of the next state from a flat Dirichlet distribution. A reward is its mean plus standard normal noise.
Every episode begins in state 0. The paper's table reports trials of n = 10 to 100 episodes of 10 steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.counts import Count, Seed, check_counts, check_seed, check_size
from metarl_envs.errors import UserError
from metarl_envs.random_blocks import RandomBlocks

_NAME = "tabular"


class TabularMDP(TaskDistribution):
    """MDPs over a few states; a task's parameters are its mean rewards, then its transition probabilities, flat.

    Args:
        states: Number of states; 10 in the paper.
        actions: Number of actions; 5 in the paper.
        horizon: Steps per episode; 10 in the paper.
        num_train_tasks: Number of training MDPs.
        num_test_tasks: Number of held-out MDPs.
        seed: Seed of the drawn MDPs.

    Raises:
        UserError: If a number is out of its range.
    """

    renderable = False

    def __init__(
        self,
        states: Count = 10,
        actions: Count = 5,
        horizon: Count = 10,
        num_train_tasks: Count = 10_000,
        num_test_tasks: Count = 500,
        seed: Seed = 1,
    ) -> None:
        check_counts(states=states, actions=actions, horizon=horizon)
        check_counts(num_train_tasks=num_train_tasks, num_test_tasks=num_test_tasks)
        check_seed(seed)
        check_size(max(num_train_tasks, num_test_tasks), states * actions * (states + 1))
        train, test = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
        splits = _draw(train, num_train_tasks, states, actions), _draw(test, num_test_tasks, states, actions)
        spaces = _observation_space(states), gym.spaces.Discrete(actions)
        super().__init__(f"{_NAME}-{states}-{actions}", *splits, *spaces, horizon)
        self.states = states
        self.actions = actions

    def make_env(self, num_envs: int, render_mode: str | None = None) -> "TabularVectorEnv":
        """Makes a vector of environments, which step in this process as one array operation."""
        if render_mode is not None:
            raise UserError("a tabular MDP has nothing to render")
        return TabularVectorEnv(num_envs, self.states, self.actions, self.horizon)


class Model(NamedTuple):
    """MDPs in the form for planning, with any leading axes."""

    rewards: FloatArray
    """Mean rewards `(..., state, action)`."""
    transitions: FloatArray
    """Probabilities of the next state `(..., state, action, next state)`."""


def models(tasks: Sequence[Task], states: int, actions: int) -> Model:
    """Reads the MDPs of tasks, with the leading axis `task`."""
    parameters = np.stack([task.parameters for task in tasks])
    pairs = states * actions
    rewards, transitions = parameters[:, :pairs], parameters[:, pairs:]
    return Model(rewards.reshape(-1, states, actions), transitions.reshape(-1, states, actions, states))


def action_values(model: Model, horizon: int) -> FloatArray:
    """Action values of the best strategy, by backward induction.

    Args:
        model: The MDPs, with any leading axes.
        horizon: Steps per episode.

    Returns:
        Expected sums of rewards until the episode's end, `(..., step, state, action)`. Their maximum at step 0 in state
        0 is the best return of an episode.
    """
    # Q_T-1(s, a) = r(s, a);  Q_t(s, a) = r(s, a) + sum_p P(p | s, a) max_b Q_t+1(p, b)
    values = [model.rewards]
    for _ in range(horizon - 1):
        following = values[-1].max(axis=-1)
        values.append(model.rewards + np.einsum("...sap,...p->...sa", model.transitions, following))
    return np.stack(values[::-1], axis=-3)


class TabularVectorEnv(TaskVectorEnv):
    """Tabular MDPs with one-hot observations of the state; an action that a best strategy may choose is a success.

    The results of an environment depend on its own seed and actions only, not on the other environments.

    Args:
        num_envs: Number of environments.
        states: Number of states of each.
        actions: Number of actions of each.
        horizon: Steps after which an episode is truncated.
    """

    def __init__(self, num_envs: int, states: int, actions: int, horizon: int) -> None:
        self.num_envs = num_envs
        self.states = states
        self.actions = actions
        self.horizon = horizon
        self.single_observation_space = _observation_space(states)
        self.single_action_space = gym.spaces.Discrete(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._index = np.arange(num_envs)
        self._noise = RandomBlocks(num_envs, np.random.Generator.standard_normal)
        self._moves = RandomBlocks(num_envs, np.random.Generator.random)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives environment `i` the MDP of `tasks[i]`, from the next `reset` on."""
        checked = self._check_count(tasks)
        size = self.states * self.actions * (1 + self.states)
        for task in checked:
            if task.name != _NAME or task.parameters.shape != (size,):
                wanted = f"an MDP of {self.states} states and {self.actions} actions"
                raise UserError(f"'{task.name}' task {task.id} is not {wanted}")
        transitions = models(checked, self.states, self.actions).transitions
        distributed = (transitions >= 0).all(axis=-1) & (np.abs(transitions.sum(axis=-1) - 1) < 1e-6)
        for task, good in zip(checked, distributed.all(axis=(1, 2)), strict=True):
            if not good:
                raise UserError(f"transition probabilities of task {task.id} are negative or do not sum to 1")
        self.tasks = checked

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Puts every environment in state 0; a seed restarts its random rewards and moves."""
        for index, own_seed in enumerate(self._seed_each(seed)):
            if own_seed is not None:
                noise, moves = np.random.default_rng(own_seed).spawn(2)
                self._noise.begin(index, noise)
                self._moves.begin(index, moves)
        model = models(self.tasks, self.states, self.actions)
        self._rewards = model.rewards
        self._bounds = model.transitions.cumsum(axis=-1)[..., :-1]
        """Cumulated transition probabilities; a move goes to the first state whose bound exceeds its random number."""
        values = action_values(model, self.horizon)
        self._best = values >= values.max(axis=-1, keepdims=True)
        self._elapsed = 0
        self._state = np.zeros(self.num_envs, dtype=np.int64)
        return self._observe(), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Takes an action in every MDP."""
        # r ~ N(mean(s, a), 1);  s' = number of bounds of (s, a) that u ~ U(0, 1) reaches
        at = (self._index, self._state, self._in_action_space(actions))
        success = self._best[self._index, self._elapsed, *at[1:]]
        rewards = self._rewards[at] + self._noise.next()
        self._state = (self._moves.next()[:, None] >= self._bounds[at]).sum(axis=-1)
        self._elapsed += 1
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {"success": success}
        if self._elapsed == self.horizon:
            truncated[:] = True
            infos |= {"final_obs": self._observe(), "_final_obs": truncated.copy()}
            self._state = np.zeros_like(self._state)
            self._elapsed = 0
        return self._observe(), rewards, terminated, truncated, infos

    def _observe(self) -> FloatArray:
        observations = np.zeros((self.num_envs, self.states))
        observations[self._index, self._state] = 1.0
        return observations


def _observation_space(states: int) -> gym.spaces.Box:
    return gym.spaces.Box(0.0, 1.0, (states,), np.float64)


def _draw(rng: np.random.Generator, count: int, states: int, actions: int) -> list[Task]:
    tasks = []
    for _ in range(count):  # one by one: a smaller count draws a prefix of a larger one
        rewards = rng.normal(1.0, 1.0, (states, actions))
        transitions = rng.dirichlet(np.ones(states), (states, actions))
        tasks.append(Task(_NAME, np.concatenate([rewards.ravel(), transitions.ravel()])))
    return tasks
