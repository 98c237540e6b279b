"""Recurrent policies and value functions, whose state carries what is learned about a task."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarl.policies.config import CoreConfig, EncoderConfig, HeadConfig
from metarl.policies.cores import make_core
from metarl.policies.distributions import ActionDistribution
from metarl.policies.heads import make_head
from metarl.policies.inputs import PolicyInput as PolicyInput
from metarl.policies.inputs import make_encoder
from metarl.policies.normalizer import Normalizer


class RecurrentBody(nn.Module):
    """An encoder and a core: from standardised inputs to the core's output. See `metarl.policies.cores.core.Core`.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        encoder: The encoder's settings.
        core: The core's settings.
    """

    def __init__(self, observation_size: int, action_size: int, encoder: EncoderConfig, core: CoreConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(observation_size, action_size, encoder)
        self.core = make_core(self.encoder.output_size, core)
        self.output_size = self.core.output_size

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """One step; inputs have the leading axis `batch`."""
        return self.core.step(self.encoder(inputs), state)

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """A sequence that goes on from a state; inputs have the leading axes `batch time`."""
        return self.core.sequence(self.encoder(inputs), state)


class RecurrentPolicy(nn.Module):
    """From (observation, previous action, previous reward, episode start) and a state to an action distribution.

    Args:
        observation_size: Length of an observation.
        distribution: The action distribution.
        encoder: The encoder's settings.
        core: The core's settings.
        head: The head's settings.
        observation_to_head: Whether a linear head sees the current observation beside the core's output.
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Its floor.
    """

    def __init__(
        self,
        observation_size: int,
        distribution: ActionDistribution,
        encoder: EncoderConfig,
        core: CoreConfig,
        head: HeadConfig,
        observation_to_head: bool,
        init_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        self.observation_normalizer = Normalizer(observation_size)
        self.reward_normalizer = Normalizer(1)
        self.body = RecurrentBody(observation_size, distribution.action_size, encoder, core)
        self.head = make_head(
            head, self.body.output_size, observation_size, observation_to_head, distribution, init_std, min_std
        )

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state at the start of a trial; a trial's later episodes go on from where the one before ended."""
        return self.body.core.initial_state(batch)

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """Acts once: distribution parameters and the next state, for inputs with the leading axis `batch`."""
        inputs = self.standardize(inputs)
        hidden, state = self.body.step(inputs, state)
        return self.head(hidden, inputs.observations), state

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time p"], Float[Tensor, "batch state"]]:
        """Acts along sequences that go on from a state; inputs have the leading axes `batch time`."""
        inputs = self.standardize(inputs)
        hidden, state = self.body.sequence(inputs, state)
        return self.head(hidden, inputs.observations), state

    forward = sequence

    def standardize(self, inputs: PolicyInput) -> PolicyInput:
        """The inputs with observations and rewards in standard units."""
        rewards = self.reward_normalizer(inputs.previous_rewards.unsqueeze(-1)).squeeze(-1)
        return inputs._replace(observations=self.observation_normalizer(inputs.observations), previous_rewards=rewards)


class Critic(nn.Module):
    """A value function over the core's output and the current observation, in standard units of the returns.

    When the statistics of the returns change, the last layer is rescaled so that the values it stands for do not
    (PopArt, van Hasselt et al. 2016).

    Args:
        hidden_size: Length of the core's output.
        observation_size: Length of an observation.
        body: Its own encoder and core, or None if it shares the policy's.
    """

    def __init__(self, hidden_size: int, observation_size: int, body: RecurrentBody | None) -> None:
        super().__init__()
        self.body = body
        self.return_normalizer = Normalizer(1)
        self.linear = nn.Linear(hidden_size + observation_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Float[Tensor, "*b hidden"], observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b"]:
        """Values in standard units."""
        values: Tensor = self.linear(torch.cat([hidden, observations], dim=-1)).squeeze(-1)
        return values

    def to_standard(self, returns: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Returns in standard units; unlike network inputs they are not clipped."""
        mean, std = self._statistics(returns.dtype)
        return (returns - mean) / std

    def to_returns(self, values: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Values in the units of the returns: the inverse of `to_standard`."""
        mean, std = self._statistics(values.dtype)
        return mean + std * values

    @torch.no_grad()
    def update_statistics(self, returns: Float[Tensor, "*b"], valid: Bool[Tensor, "*b"]) -> None:
        """Takes in those returns where `valid`."""
        dtype = self.linear.weight.dtype
        old_mean, old_std = (each.clone() for each in self._statistics(dtype))
        self.return_normalizer.update(returns.unsqueeze(-1), valid)
        mean, std = self._statistics(dtype)
        self.linear.weight *= old_std / std
        self.linear.bias.copy_((old_std * self.linear.bias + old_mean - mean) / std)

    def _statistics(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self.return_normalizer.mean[0].to(dtype), self.return_normalizer.std[0].to(dtype)


class ActorCritic(nn.Module):
    """A recurrent policy and, if there is one, its critic, run along sequences together.

    A state is that of the policy, followed by that of the critic if it has a core of its own.

    Args:
        policy: The policy.
        critic: The critic.
    """

    def __init__(self, policy: RecurrentPolicy, critic: Critic | None) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state at the start of a trial."""
        state = self.policy.initial_state(batch)
        if self.critic is None or self.critic.body is None:
            return state
        return torch.cat([state, self.critic.body.core.initial_state(batch)], dim=1)

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time p"], Float[Tensor, "batch time"] | None, Float[Tensor, "batch state"]]:
        """Distribution parameters, values in standard units (None without a critic), and the state afterwards."""
        inputs = self.policy.standardize(inputs)
        own = self.policy.initial_state(0).shape[1]
        hidden, after = self.policy.body.sequence(inputs, state[:, :own])
        parameters = self.policy.head(hidden, inputs.observations)
        if self.critic is None:
            return parameters, None, after
        if self.critic.body is not None:
            hidden, critic_after = self.critic.body.sequence(inputs, state[:, own:])
            after = torch.cat([after, critic_after], dim=1)
        return parameters, self.critic(hidden, inputs.observations), after
