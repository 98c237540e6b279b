"""RL² outside of training: adapts by playing."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from typing import Any, NamedTuple, SupportsFloat

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from metarl.agents import TrainedAgent
from metarl.exporting import EnvironmentActions, Exportable
from metarl.policies.distributions import ActionDistribution
from metarl.policies.recurrent import RecurrentInput, RecurrentPolicy
from metarl.sampling import to_environment, to_vectors
from metarl.types import Timestep, TimestepLike
from metarl_envs.errors import UserError


class Memory(NamedTuple):
    """All that an RL² agent remembers of each environment, with the leading axis `env`."""

    state: Tensor
    """The policy's state."""
    previous_actions: Tensor
    previous_rewards: Tensor
    episode_start: Tensor


def _select(mask: Tensor, chosen: Memory, other: Memory) -> Memory:
    """`chosen` for the environments in the mask, `other` for the rest."""
    pairs = zip(chosen, other, strict=True)
    return Memory(*(torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


class RL2Agent(TrainedAgent):
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
        self.action_space = action_space
        self.observation_size = policy.observation_normalizer.mean.shape[0]
        self._device = next(policy.parameters()).device
        self._generator = torch.Generator().manual_seed(seed)
        self._holds_state = False
        self.init()

    def init(self) -> None:
        """See `Agent`."""
        self._memory: Memory | None = None
        self._before_action: Memory | None = None  # while an action has been taken whose outcome is not known
        self._adapted: Memory | None = None

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        return self._act(observations, explore=True), {}

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        return self._act(observations, explore=False)

    def step(self, timestep: TimestepLike) -> None:
        """See `Agent`."""
        assert self._memory is not None
        assert self._before_action is not None
        played = self._memory._replace(
            previous_rewards=self._tensor(timestep.reward),
            episode_start=torch.as_tensor(timestep.terminated | timestep.truncated, device=self._device),
        )
        valid = timestep.aux_policy_outputs.get("valid", np.ones_like(timestep.reward))
        self._memory = _select(torch.as_tensor(valid != 0, device=self._device), played, self._before_action)
        self._before_action = None

    def adapt(self) -> None:
        """See `Agent`."""
        self._adapted = self._memory

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        adapted = self._adapted or self._fresh(len(env_mask))
        adapted = adapted._replace(episode_start=torch.ones_like(adapted.episode_start))
        mask = torch.as_tensor(env_mask, device=self._device)
        self._memory = _select(mask, adapted, self._memory or adapted)
        if env_mask.all():
            self._before_action = None

    def act(
        self,
        observation: npt.NDArray[Any],
        reward: SupportsFloat = 0.0,
        episode_start: bool | np.bool_ = False,
        *,
        explore: bool = False,
    ) -> npt.NDArray[Any]:
        """One step of a single environment, which goes on learning: the memory lasts over episodes, until `init`.

        `reset` takes it back to what the last `adapt` kept, or to nothing.

        Args:
            observation: `(obs,)`.
            reward: What the action before earned, be it in this episode or at the end of the one before; of no account
                after `init` or `reset`.
            episode_start: Whether an episode begins with this observation; always so after `init` or `reset`.
            explore: Whether to sample the action, as in training, rather than take the likeliest.

        Returns:
            The action `(action,)`, or an integer `()` where actions are discrete.

        Raises:
            UserError: If the agent is used with several environments, or the numbers are not what they should be.
        """
        self._check_single("act")
        if np.shape(observation) != (self.observation_size,):
            raise UserError(f"observation must have shape {(self.observation_size,)}: got {np.shape(observation)}")
        if not (np.isfinite(observation).all() and math.isfinite(float(reward))):
            raise UserError("observation and reward must be finite numbers")
        if self._memory is not None and self._before_action is not None:
            self._memory = self._memory._replace(
                previous_rewards=self._tensor(np.array([float(reward)])),
                episode_start=torch.tensor([bool(episode_start)], device=self._device),
            )
        return np.asarray(self._act(np.asarray(observation, dtype=np.float64)[None], explore=explore)[0])

    def hold_state(self) -> None:
        """See `TrainedAgent`; the action and the reward of the step before remain inputs."""
        self._holds_state = True
        self.init()

    @property
    def num_envs(self) -> int | None:
        """See `TrainedAgent`."""
        return None if self._memory is None else len(self._memory.previous_rewards)

    def _replay(self, timestep: Timestep) -> None:
        self._act(timestep.observation, explore=False)
        assert self._memory is not None
        actions = to_vectors(timestep.action, self.action_space)
        self._memory = self._memory._replace(previous_actions=self._tensor(actions))
        self.step(timestep)

    def _exportable(self, env: int) -> Exportable:
        if self._holds_state:
            raise UserError("an agent whose state is held is a control for evaluations, not for export")
        memory = self._adapted or self._fresh(self.num_envs or 1)
        state, action, reward, start = (tensor[env : env + 1].cpu() for tensor in memory)
        initial = {
            "previous_action": action,
            "previous_reward": reward,
            "episode_start": torch.ones_like(start),
            "state": state,
        }
        policy = deepcopy(self._policy).cpu()
        return Exportable(
            _Step(policy, self._distribution, EnvironmentActions(self.action_space)),
            {"observation": torch.zeros(2, self.observation_size)}
            | {name: torch.cat([tensor, tensor]) for name, tensor in initial.items()},
            ["action", "next_previous_action", "next_state"],
            {
                "algorithm": "rl2",
                "adapted": "true" if self._adapted else "false",
                "initial_inputs": json.dumps({name: tensor.tolist() for name, tensor in initial.items()}),
            },
        )

    @torch.no_grad()
    def _act(self, observations: npt.NDArray[np.float64], *, explore: bool) -> npt.NDArray[Any]:
        memory = self._memory or self._fresh(len(observations))
        inputs = RecurrentInput(self._tensor(observations), *memory[1:])
        outputs, state = self._policy.step(inputs, memory.state)
        if self._holds_state:
            state = memory.state
        actions = self._distribution.sample(outputs, self._generator) if explore else self._distribution.mode(outputs)
        self._before_action = memory
        self._memory = Memory(
            state, actions, torch.zeros_like(memory.previous_rewards), torch.zeros_like(memory.episode_start)
        )
        return to_environment(actions.cpu().numpy(), self.action_space)

    def _fresh(self, num_envs: int) -> Memory:
        return Memory(
            self._policy.initial_state(num_envs),
            torch.zeros(num_envs, self._distribution.action_size, device=self._device),
            torch.zeros(num_envs, device=self._device),
            torch.ones(num_envs, dtype=torch.bool, device=self._device),
        )

    def _tensor(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)


class _Step(nn.Module):
    """What `eval_action` does, with the memory going in and coming out."""

    def __init__(self, policy: RecurrentPolicy, distribution: ActionDistribution, to_environment: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.to_environment = to_environment
        self._distribution = distribution

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        *seen, state = inputs
        parameters, state = self.policy.step(RecurrentInput(*seen), state)
        actions = self._distribution.mode(parameters)
        return self.to_environment(actions), actions, state
