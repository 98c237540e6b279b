"""Agent of skill search: plays an episode with each of several skills and keeps the one with the highest return."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.acting.actors import InputTransfer
from metarl.acting.agents import AdaptationTrace
from metarl.acting.episode_returns import EpisodeReturns
from metarl.acting.export import Exportable
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.skills.policy import SHIFT_SIZE, SkillPolicy, append_context
from metarl.algorithms.skills.search import Search
from metarl.data.steps import BoolArray, Timestep, TimestepLike
from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import PolicyInput
from metarl.seeding import Stream
from metarl_envs.errors import UserError, unknown


class SkillAgent(RL2Agent):
    """Tries skills, an episode each, and acts with the one that returned most. See `metarl.acting.agents.Agent`.

    Every episode starts from an empty memory, so that `act` has to be told of its start. Before any episode each
    environment gets a skill at random.

    Args:
        policy: Policy with skills.
        distribution: Action distribution of the policy.
        action_space: Action space of a single environment.
        seed: Seed of the order in which skills are tried, and of sampled actions.
        skills: Name of each skill.
        greedy: True to try skills by their likeliest actions.
    """

    attackable = False  # which skill acts depends on how the action is asked for

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
        self._greedy = greedy
        self._only: int | None = None
        super().__init__(policy, distribution, action_space, seed)
        self._transfer = InputTransfer(self.observation_size + len(skills) + SHIFT_SIZE, self._device)

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
        observations = self._check_observations(observations)
        if not self._exploring:
            self._start_searches(len(observations))
            super().reset(np.ones(len(observations), dtype=np.bool_))
            self._exploring = True
            self._returns = EpisodeReturns(len(observations))
            self._weights = np.stack([search.candidate for search in self._searches])
        return self._act(observations, explore=not self._greedy), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`; where an episode of the search ends, its return counts and the next skill's turn comes."""
        super().step(timestep, valid)
        if not self._exploring:
            return
        returns, ended = self._returns.step(timestep, valid)
        for env in np.flatnonzero(ended):
            self._searches[env].tell(float(returns[env]))
            self._weights[env] = self._searches[env].candidate
        if ended.any():
            super().reset(ended)

    def adapt(self) -> None:
        """See `Agent`; keeps the skill of the highest return in each environment."""
        if self._searches:
            self._best = np.stack([search.best for search in self._searches])

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        best = self._initial_weights(len(env_mask))
        if self._exploring or len(self._weights) != len(best):
            self._exploring, self._weights = False, best
        self._weights = np.where(env_mask[:, None], best, self._weights)
        super().reset(env_mask)

    def _begin_episode(self) -> None:
        """Prepares `act` for an episode: empties the memory and takes the skill kept by the last `adapt`."""
        self.reset(np.ones(1, dtype=np.bool_))

    def _initial_weights(self, num_envs: int) -> npt.NDArray[np.float64]:
        """Weights `(env, skill)` that an evaluation episode is played with."""
        if self._best is not None:
            return self._best
        self._start_searches(num_envs)
        return np.stack([search.best for search in self._searches])

    @property
    def chosen(self) -> npt.NDArray[np.float64]:
        """Weights over the skills `(env, skill)` that each environment is played with now."""
        return self._weights.copy()

    @property
    def acting_as(self) -> list[str]:
        """Name of the skill of the largest weight in each environment, see `metarl.acting.agents.Named`."""
        return [self.skills[skill] for skill in self._weights.argmax(axis=1)]

    def intent(self, env: int) -> str | None:
        """See `TrainedAgent`: the skill that is played, or the shares of several."""
        shares = [(weight, name) for weight, name in zip(self._weights[env], self.skills, strict=True) if weight]
        if len(shares) == 1:
            return f"skill {shares[0][1]}"
        return "skills " + " + ".join(f"{weight:.0%} {name}" for weight, name in sorted(shares, reverse=True))

    def with_skill(self, name: str) -> SkillAgent:
        """Returns a copy that always plays one skill.

        Raises:
            UserError: If there is no skill of this name.
        """
        if name not in self.skills:
            raise unknown("skill", name, self.skills)
        fixed = copy(self)
        fixed._only = self.skills.index(name)
        fixed.init()
        return fixed

    def _start_searches(self, num_envs: int) -> None:
        """Begins the search of each environment, unless it has begun."""
        if self._searches:
            return
        for rng in self.exploration.generators(num_envs, Stream.SEARCH):
            order = rng.permutation(len(self.skills)) if self._only is None else [self._only]
            self._searches.append(Search(list(np.eye(len(self.skills))[order]), rng))

    def trace(self) -> AdaptationTrace | None:
        """See `TrainedAgent`; the weights over the skills that were kept."""
        return None if self._best is None else AdaptationTrace("chosen skill", self._best.copy(), self.skills)

    def replay(self, timestep: Timestep) -> None:
        """See `TrainedAgent`; such agents do not learn from recorded episodes."""
        raise UserError("skill search cannot adapt to recorded episodes: they do not tell which skill played them")

    def exportable(self, env: int) -> Exportable:
        """See `TrainedAgent`; the file plays the skill that was kept."""
        weights = self._initial_weights(self.num_envs or 1)[env]
        exportable = super().exportable(env)
        policy = deepcopy(self.policy)
        assert isinstance(policy, SkillPolicy)
        exportable.module.policy = _OneSkill(policy.cpu(), torch.as_tensor(weights, dtype=torch.float32))
        told = {"algorithm": "skills", "adapted": "false" if self._best is None else "true"}
        share = dict(zip(self.skills, weights.tolist(), strict=True))
        told["skill"] = json.dumps({name: weight for name, weight in share.items() if weight})
        return exportable._replace(metadata=exportable.metadata | told)

    def _with_context(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # weights, and a shift of zero
        return np.concatenate([observations, np.pad(self._weights, ((0, 0), (0, SHIFT_SIZE)))], axis=1)


class _OneSkill(nn.Module):
    """Policy that always plays with the same weights over skills.

    Args:
        policy: Policy with skills.
        weights: Weights `(skill,)`.
    """

    weights: Tensor

    def __init__(self, policy: SkillPolicy, weights: Float[Tensor, "skill"]) -> None:
        super().__init__()
        self.policy = policy
        self.observation_normalizer = policy.observation_normalizer
        self.register_buffer("weights", weights)

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """See `RecurrentPolicy`."""
        context = nn.functional.pad(self.weights, (0, SHIFT_SIZE))
        return self.policy.step(inputs._replace(observations=append_context(inputs.observations, context)), state)
