"""Recurrent policies and value functions, whose state holds what a trial has shown of its task."""

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
from metarl.ranks import ALONE, Ranks


class RecurrentBody(nn.Module):
    """Encoder and core: from standardised inputs to the core's output. See `metarl.policies.cores.core.Core`.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        encoder: Settings of the encoder.
        core: Settings of the core.
    """

    def __init__(self, observation_size: int, action_size: int, encoder: EncoderConfig, core: CoreConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(observation_size, action_size, encoder)
        self.core = make_core(self.encoder.output_size, core)
        self.output_size = self.core.output_size

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """Output of one step and the next state; inputs have the leading axis `batch`."""
        return self.core.step(self.encoder(inputs), state)

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Outputs along sequences and the last state; inputs have the leading axes `batch time`."""
        return self.core.sequence(self.encoder(inputs), state)


class RecurrentPolicy(nn.Module):
    """Policy from (observation, previous action, previous reward, episode start) and a state to an action distribution.

    Args:
        observation_size: Length of an observation.
        distribution: Action distribution.
        encoder: Settings of the encoder.
        core: Settings of the core.
        head: Settings of the head.
        observation_to_head: Feed the current observation to a linear head beside the core's output.
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Lower bound of that standard deviation.
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
        """State at the start of a trial; later episodes start from the state that the episode before ended in."""
        return self.body.core.initial_state(batch)

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """Distribution parameters of one step and the next state; inputs have the leading axis `batch`."""
        inputs = self.standardize(inputs)
        hidden, state = self.body.step(inputs, state)
        return self.head(hidden, inputs.observations), state

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time p"], Float[Tensor, "batch state"]]:
        """Distribution parameters along sequences and the last state; inputs have the leading axes `batch time`."""
        inputs = self.standardize(inputs)
        hidden, state = self.body.sequence(inputs, state)
        return self.head(hidden, inputs.observations), state

    forward = sequence

    def standardize(self, inputs: PolicyInput) -> PolicyInput:
        """Inputs with standardised observations and rewards, in the type of the previous actions."""
        dtype = inputs.previous_actions.dtype
        rewards = self.reward_normalizer(inputs.previous_rewards.unsqueeze(-1), dtype).squeeze(-1)
        observations = self.observation_normalizer(inputs.observations, dtype)
        return inputs._replace(observations=observations, previous_rewards=rewards)


class Critic(nn.Module):
    """Value function on the core's output and the current observation, in standard units of the returns.

    Its last layer is rescaled with the statistics of the returns, so that values in the units of the returns do not
    change (PopArt, van Hasselt et al. 2016, section 2.2).

    Args:
        hidden_size: Length of the core's output.
        observation_size: Length of an observation.
        body: Encoder and core of its own; None if it shares the policy's.
    """

    def __init__(self, hidden_size: int, observation_size: int, body: RecurrentBody | None) -> None:
        super().__init__()
        self.body = body
        self.return_normalizer = Normalizer(1)
        self.linear = nn.Linear(hidden_size + observation_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Float[Tensor, "*b hidden"], observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b"]:
        """Values n in standard units."""
        values: Tensor = self.linear(torch.cat([hidden, observations], dim=-1)).squeeze(-1)
        return values

    def to_standard(self, returns: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Returns in standard units; unlike network inputs they are not clipped."""
        # (R - mu) / sigma
        mean, std = self._statistics(returns.dtype)
        return (returns - mean) / std

    def to_returns(self, values: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Values in the units of the returns: the inverse of `to_standard`."""
        # V = mu + sigma n
        mean, std = self._statistics(values.dtype)
        return mean + std * values

    @torch.no_grad()
    def update_statistics(self, returns: Float[Tensor, "*b"], valid: Bool[Tensor, "*b"], ranks: Ranks = ALONE) -> None:
        """Adds returns to the statistics and rescales the last layer.

        Args:
            returns: Discounted returns, in the environment's units.
            valid: False for padding.
            ranks: Ranks whose returns are added together.
        """
        # sigma' (w' x + b') + mu' = sigma (w x + b) + mu for all x, hence
        # w' = w sigma / sigma'  and  b' = (sigma b + mu - mu') / sigma'
        dtype = self.linear.weight.dtype
        old_mean, old_std = (each.clone() for each in self._statistics(dtype))
        self.return_normalizer.update(returns.unsqueeze(-1), valid, ranks)
        mean, std = self._statistics(dtype)
        self.linear.weight *= old_std / std
        self.linear.bias.copy_((old_std * self.linear.bias + old_mean - mean) / std)

    def _statistics(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Mean mu and standard deviation sigma of the returns."""
        return self.return_normalizer.mean[0].to(dtype), self.return_normalizer.std[0].to(dtype)


class ActorCritic(nn.Module):
    """Recurrent policy and its critic, if there is one, run along sequences together.

    The state is the policy's, followed by the critic's if that has a core of its own.

    Args:
        policy: Policy.
        critic: Critic; None without one.
    """

    def __init__(self, policy: RecurrentPolicy, critic: Critic | None) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """State at the start of a trial."""
        state = self.policy.initial_state(batch)
        if self.critic is None or self.critic.body is None:
            return state
        return torch.cat([state, self.critic.body.core.initial_state(batch)], dim=1)

    def sequence(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time p"], Float[Tensor, "batch time"] | None, Float[Tensor, "batch state"]]:
        """Distribution parameters, values in standard units (None without a critic), and the last state."""
        inputs = self.policy.standardize(inputs)
        policy_size = self.policy.initial_state(0).shape[1]
        hidden, after = self.policy.body.sequence(inputs, state[:, :policy_size])
        parameters = self.policy.head(hidden, inputs.observations)
        if self.critic is None:
            return parameters, None, after
        if self.critic.body is not None:
            hidden, critic_after = self.critic.body.sequence(inputs, state[:, policy_size:])
            after = torch.cat([after, critic_after], dim=1)
        return parameters, self.critic(hidden, inputs.observations), after
