"""Agent of skill search: plays an episode with each of several skills and keeps the one with the highest return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl.acting.actors import InputTransfer
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.skills.policy import SkillPolicy
from metarl.algorithms.skills.search import Search
from metarl.data.steps import BoolArray, Timestep, TimestepLike
from metarl.policies.distributions import ActionDistribution
from metarl_envs.errors import UserError


class SkillAgent(RL2Agent):
    """Tries skills, an episode each, and acts with the one that returned most. See `metarl.acting.agents.Agent`.

    Every episode starts from an empty memory. Before any episode each environment gets a skill at random.

    Args:
        policy: Policy with skills.
        distribution: Action distribution of the policy.
        action_space: Action space of a single environment.
        seed: Seed of the order in which skills are tried, and of sampled actions.
        skills: Name of each skill.
        greedy: True to try skills by their likeliest actions.
    """

    def __init__(
        self,
        policy: SkillPolicy,
        distribution: ActionDistribution,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        seed: int,
        skills: Sequence[str],
        *,
        greedy: bool = True,
    ) -> None:
        self.skills = tuple(skills)
        """Name of each skill."""
        self._greedy, self._seed = greedy, seed
        super().__init__(policy, distribution, action_space, seed)
        self._transfer = InputTransfer(self.observation_size + len(skills), self._device)

    def init(self) -> None:
        """See `Agent`."""
        super().init()
        self._searches: list[Search] = []
        self._exploring = False
        self._weights = np.zeros((0, len(self.skills)))
        self._best: npt.NDArray[np.float64] | None = None

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        if not self._exploring:
            self._start_searches(len(observations))
            super().reset(np.ones(len(observations), dtype=np.bool_))
            self._exploring = True
            self._returns = np.zeros(len(observations))
            self._weights = np.stack([search.candidate for search in self._searches])
        return self._act(observations, explore=not self._greedy), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`; where an episode of the search ends, its return counts and the next skill's turn comes."""
        super().step(timestep, valid)
        if not self._exploring:
            return
        played = np.ones(len(timestep.reward), np.bool_) if valid is None else valid
        self._returns += np.where(played, timestep.reward, 0.0)
        ended = played & (timestep.terminated | timestep.truncated)
        for env in np.flatnonzero(ended):
            self._searches[env].tell(float(self._returns[env]))
            self._weights[env] = self._searches[env].candidate
        self._returns[ended] = 0.0
        if ended.any():
            super().reset(ended)

    def adapt(self) -> None:
        """See `Agent`; keeps the skill of the highest return in each environment."""
        if self._searches:
            self._best = np.stack([search.best for search in self._searches])

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        if self._exploring or len(self._weights) != len(env_mask):
            self._exploring = False
            self._start_searches(len(env_mask))
            self._weights = np.stack([search.best for search in self._searches])
        best = self._weights if self._best is None else self._best
        self._weights = np.where(env_mask[:, None], best, self._weights)
        super().reset(env_mask)

    @property
    def chosen(self) -> npt.NDArray[np.float64]:
        """Weights over the skills `(env, skill)` that each environment is played with now."""
        return self._weights.copy()

    def _start_searches(self, num_envs: int) -> None:
        """Begins the search of each environment, unless it has begun."""
        if not self._searches:
            self._searches = [
                Search(len(self.skills), np.random.default_rng((self._seed, env))) for env in range(num_envs)
            ]

    def _replay(self, timestep: Timestep) -> None:
        raise UserError("skill search cannot adapt to recorded episodes: they do not tell which skill played them")

    def _act(self, observations: npt.NDArray[np.float64], *, explore: bool) -> npt.NDArray[Any]:
        return super()._act(np.concatenate([observations, self._weights], axis=1), explore=explore)
