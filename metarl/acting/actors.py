"""Actors of training episodes: policies, and random actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actions import make_to_environment
from metarl.acting.exploration import Noise
from metarl.data.steps import PARAMETERS, UNCLIPPED, Array, BoolArray, TimestepLike
from metarl.policies.distributions import action_distribution
from metarl.policies.inputs import PolicyInput


class PreviousStep(NamedTuple):
    """Inputs of a policy from the previous step of each environment."""

    actions: Float[Tensor, "env action"]
    """Action vectors as drawn, before clipping, on the policy's device; zero at the start of a trial."""
    rewards: npt.NDArray[np.float64]
    """`(env,)`, in the environment's units; zero at the start of a trial."""
    episode_start: BoolArray
    """`(env,)`, true where the previous step ended an episode, and at the start of a trial."""

    @staticmethod
    def none(num_envs: int, action_size: int, device: torch.device) -> PreviousStep:
        """Returns the stand-in for a previous step at the start of a trial: zeros, and `episode_start` true."""
        nothing = torch.zeros(num_envs, action_size, device=device)
        return PreviousStep(nothing, np.zeros(num_envs), np.ones(num_envs, np.bool_))

    @staticmethod
    def of(actions: Float[Tensor, "env action"], timestep: TimestepLike) -> PreviousStep:
        """Returns the inputs for the next step from this one's action vectors and outcome."""
        # a copy of the rewards: whoever steps the environments may write to that array again
        rewards = np.array(timestep.reward, dtype=np.float64)
        return PreviousStep(actions, rewards, timestep.terminated | timestep.truncated)


class InputTransfer:
    """Moves a policy's inputs to its device, with all new numbers of a step in one transfer.

    Args:
        observation_size: Number of elements of an observation.
        device: Device of the policy.
    """

    def __init__(self, observation_size: int, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(0, observation_size + 2, dtype=torch.float64)

    def __call__(self, observations: Array, previous: PreviousStep) -> PolicyInput:
        """Returns the inputs on the device, by way of a buffer that every call reuses.

        On a GPU the copy is asynchronous: call again only once the action chosen from the inputs is on the CPU.

        Args:
            observations: `(env, obs)`, in the environment's units.
            previous: Previous step of each environment.
        """
        if len(self._buffer) != len(observations):
            size = self._buffer.shape[1]
            pin = self._device.type == "cuda"
            self._buffer = torch.empty(len(observations), size, dtype=torch.float64, pin_memory=pin)
        buffer = self._buffer.numpy()
        # row of the buffer: observation, previous reward, episode_start
        buffer[:, :-2], buffer[:, -2], buffer[:, -1] = observations, previous.rewards, previous.episode_start
        here = self._buffer.to(self._device, non_blocking=True, copy=True)
        # rewards in float32, as in trajectories; observations are standardised in float64
        return PolicyInput(here[:, :-2], previous.actions, here[:, -2].float(), here[:, -1] != 0)


class PolicyActor(ABC):
    """Actor that chooses actions by a network and keeps the previous step as its input.

    Args:
        space: Action space of a single environment.
        device: Device of the network.
        generators: Generator of each environment, for the noise of its actions.
    """

    def __init__(
        self,
        space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
        generators: Sequence[np.random.Generator],
    ) -> None:
        self.distribution = action_distribution(space)
        self._noise = Noise(self.distribution.noise, generators)
        self._device = device
        self._to_environment = make_to_environment(space)
        self._transfer: InputTransfer | None = None

    @abstractmethod
    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """Draws action vectors; returns them and the parameters of their distributions."""

    def sample(self, parameters: Float[Tensor, "env p"]) -> Float[Tensor, "env action"]:
        """Draws an action of each environment from the distribution with these parameters."""
        return self.distribution.sample_by(parameters, self._noise.like(parameters))

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """See `Actor`."""
        if self._transfer is None:
            self._transfer = InputTransfer(observations.shape[1], self._device)
            self._previous = PreviousStep.none(len(observations), self.distribution.action_size, self._device)
        with torch.inference_mode():
            actions, parameters = self.choose(self._transfer(observations, self._previous))
            self._actions = actions.to(self._device)
            both = torch.cat([actions, parameters], dim=1).cpu().numpy()
        size = actions.shape[1]
        return self._to_environment(both[:, :size]), {UNCLIPPED: both[:, :size], PARAMETERS: both[:, size:]}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Actor`."""
        self._previous = PreviousStep.of(self._actions, timestep)


class RandomActor(PolicyActor):
    """Actor that draws actions uniformly from a bounded action space; its distribution parameters are all zero.

    Args:
        space: Action space of a single environment.
        generators: Generator of each environment, for its actions.
    """

    def __init__(self, space: gym.spaces.Box | gym.spaces.Discrete, generators: Sequence[np.random.Generator]) -> None:
        super().__init__(space, torch.device("cpu"), generators)
        self._discrete = isinstance(space, gym.spaces.Discrete)
        size = self.distribution.action_size
        self._uniform = Noise(lambda rng, count: rng.random((count, size), np.float32), generators)

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        nothing = torch.zeros(len(inputs.observations), self.distribution.parameter_size)
        if self._discrete:
            return self.sample(nothing), nothing  # equal logits: each choice has the same probability
        # a = 2 u - 1 with u ~ U[0, 1): uniform over the box, in units of the action space
        return 2 * self._uniform.like(nothing) - 1, nothing
