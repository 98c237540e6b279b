"""Scripted experts in training: their actions in the states that the policy visits, as targets that fade out."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actions import to_vectors
from metarl.algorithms.rl2.config import ExpertConfig
from metarl.algorithms.rl2.losses import Samples, Trials
from metarl.policies.distributions import ActionDistribution
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError


class ExpertGuidance:
    """Adds to the loss how far the policy's means are from an expert's actions, with a weight that falls to zero.

    The policy plays, and the expert is asked in the states that it visits (DAgger, Ross et al. 2011); the loss of
    reinforcement learning is there from the start, and the only one in the end (kickstarting, Schmitt et al. 2018).
    Acting and adapting need no expert, and none is ever asked about a task that is not one of training.

    Args:
        config: Settings.
        distribution: Family of the tasks.

    Raises:
        UserError: If the family has no expert, or its actions are not numbers.
    """

    def __init__(self, config: ExpertConfig, distribution: TaskDistribution) -> None:
        expert, space = distribution.expert(), distribution.action_space
        if expert is None:
            raise UserError(f"algorithm.expert: {distribution.name} has no scripted expert; set it to None")
        if not isinstance(space, gym.spaces.Box):
            raise UserError(f"algorithm.expert: needs actions that are numbers, not {space}; set it to None")
        self._expert = expert
        self._config = config
        self._training_tasks = frozenset(distribution.train_tasks)
        self._observation_size = distribution.observation_space.shape[0]
        self._space = space
        self._iterations = 0

    @property
    def weight(self) -> float:
        """Weight c_t of the error in this iteration's loss."""
        # c_t = weight max(0, 1 - t / iterations),  t iterations done
        return self._config.weight * max(0.0, 1 - self._iterations / self._config.iterations)

    def label(self, trials: Trials) -> Float[Tensor, "task time action"]:
        """Asks the expert about each state of trials; answers in the policy's units, and zero in padding.

        Args:
            trials: Whole trials of training tasks, whose observations begin with those of the environment.

        Raises:
            ValueError: If a task is not one of training.
        """
        others = set(trials.tasks) - self._training_tasks
        if others:
            raise ValueError(f"experts are for training tasks only: {min(others, key=str)} is none")
        valid = trials.valid.cpu().numpy()
        observations = trials.inputs.observations[..., : self._observation_size].double().cpu().numpy()
        tasks = [task for task, steps in zip(trials.tasks, valid.sum(1), strict=True) for _ in range(steps)]
        actions = np.zeros(trials.actions.shape, dtype=np.float32)
        possible = np.clip(self._expert(tasks, observations[valid]), self._space.low, self._space.high)
        actions[valid] = to_vectors(possible, self._space)
        return torch.from_numpy(actions).to(trials.actions)

    def error(
        self, distribution: ActionDistribution, outputs: Float[Tensor, "row time p"], samples: Samples
    ) -> Float[Tensor, ""]:
        """Mean squared distance from the expert's actions to the policy's likeliest ones.

        The noise of the actions is left to reinforcement learning: a likelihood would shrink it with the error, and
        with it what is explored.

        Args:
            distribution: Action distribution.
            outputs: Distribution parameters of the current policy along the rows.
            samples: Samples with the expert's actions.
        """
        assert samples.expert_actions is not None
        means = distribution.mode(samples.without_padding(outputs))
        # 1/N Σ_t |mu(h_t) - a*_t|²
        return samples.mean(((means - samples.expert_actions) ** 2).sum(-1))

    def finish_iteration(self) -> None:
        """Counts an iteration, after its outer step."""
        self._iterations += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Number of iterations done."""
        return {"iterations": torch.tensor(self._iterations)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self._iterations = int(state["iterations"])
