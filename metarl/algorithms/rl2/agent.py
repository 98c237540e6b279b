"""RL² outside of training: adapts by playing."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metarl.policies.distributions import ActionDistribution
from metarl.policies.recurrent import RecurrentInput, RecurrentPolicy
from metarl.sampling import to_environment
from metarl.types import Timestep


class Memory(NamedTuple):
    """All that an RL² agent remembers of each environment, with the leading axis `env`."""

    state: Tensor
    """Hidden state."""
    previous_actions: Tensor
    previous_rewards: Tensor
    episode_start: Tensor


def _select(mask: Tensor, chosen: Memory, other: Memory) -> Memory:
    """`chosen` for the environments in the mask, `other` for the rest."""
    pairs = zip(chosen, other, strict=True)
    return Memory(*(torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


class RL2Agent:
    """Explores by sampling actions, remembers across episodes, and acts by the likeliest action once adapted.

    Every evaluation episode starts from the memory that adaptation ended with. See `metarl.agents.Agent`.

    Args:
        policy: The recurrent policy.
        distribution: Its action distribution.
        action_space: Of a single environment.
        seed: Seeds the exploration.
    """

    adaptation_steps = 1

    def __init__(
        self,
        policy: RecurrentPolicy,
        distribution: ActionDistribution,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        seed: int,
    ) -> None:
        self._policy = policy
        self._distribution = distribution
        self._action_space = action_space
        self._device = next(policy.parameters()).device
        self._generator = torch.Generator().manual_seed(seed)
        self.init()

    def init(self) -> None:
        """See `Agent`."""
        self._memory: Memory | None = None
        self._before_action: Memory | None = None
        self._adapted: Memory | None = None

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        return self._act(observations, explore=True), {}

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        return self._act(observations, explore=False)

    def step(self, timestep: Timestep) -> None:
        """See `Agent`."""
        assert self._memory is not None
        assert self._before_action is not None
        played = self._memory._replace(
            previous_rewards=self._tensor(timestep.reward),
            episode_start=torch.as_tensor(timestep.terminated | timestep.truncated, device=self._device),
        )
        valid = timestep.aux_policy_outputs.get("valid", np.ones_like(timestep.reward))
        self._memory = _select(torch.as_tensor(valid != 0, device=self._device), played, self._before_action)

    def adapt(self) -> None:
        """See `Agent`."""
        self._adapted = self._memory

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        adapted = self._adapted or self._fresh(len(env_mask))
        adapted = adapted._replace(episode_start=torch.ones_like(adapted.episode_start))
        mask = torch.as_tensor(env_mask, device=self._device)
        self._memory = _select(mask, adapted, self._memory or adapted)

    @torch.no_grad()
    def _act(self, observations: npt.NDArray[np.float64], *, explore: bool) -> npt.NDArray[Any]:
        memory = self._memory or self._fresh(len(observations))
        inputs = RecurrentInput(self._tensor(observations), *memory[1:])
        outputs, state = self._policy.step(inputs, memory.state)
        actions = self._distribution.sample(outputs, self._generator) if explore else self._distribution.mode(outputs)
        self._before_action = memory
        self._memory = Memory(
            state, actions, torch.zeros_like(memory.previous_rewards), torch.zeros_like(memory.episode_start)
        )
        return to_environment(actions.cpu().numpy(), self._action_space)

    def _fresh(self, num_envs: int) -> Memory:
        return Memory(
            self._policy.initial_state(num_envs),
            torch.zeros(num_envs, self._distribution.action_size, device=self._device),
            torch.zeros(num_envs, device=self._device),
            torch.ones(num_envs, dtype=torch.bool, device=self._device),
        )

    def _tensor(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)
