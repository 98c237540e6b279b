"""Recurrent policies whose hidden state carries what is learned about a task."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarl.policies.distributions import ActionDistribution
from metarl.policies.mlp import ActionHead
from metarl.policies.normalizer import Normalizer


class RecurrentInput(NamedTuple):
    """What an RL² policy sees before each action (Duan et al. 2016, section 2.2); leading axes are the caller's."""

    observations: Float[Tensor, "*b obs"]
    previous_actions: Float[Tensor, "*b action"]
    """The action of the step before, one-hot if discrete; zero at the start of a trial."""
    previous_rewards: Float[Tensor, "*b"]
    """The reward of the step before, in the environment's units; zero at the start of a trial."""
    episode_start: Bool[Tensor, "*b"]
    """Whether this is the first step of an episode."""


class RecurrentPolicy(nn.Module):
    """A GRU from (observation, previous action, previous reward, episode start) to an action distribution.

    Args:
        observation_size: Length of an observation.
        distribution: The action distribution.
        hidden_size: Units of the GRU.
        observation_to_head: Whether the head sees the current observation beside the GRU's output.
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Its floor.
    """

    def __init__(
        self,
        observation_size: int,
        distribution: ActionDistribution,
        hidden_size: int,
        observation_to_head: bool,
        init_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        self.observation_normalizer = Normalizer(observation_size)
        self.reward_normalizer = Normalizer(1)
        self.core = nn.GRU(observation_size + distribution.action_size + 2, hidden_size, batch_first=True)
        self.observation_to_head = observation_to_head
        feature_size = hidden_size + (observation_size if observation_to_head else 0)
        self.head = ActionHead(feature_size, distribution, init_std, min_std)
        for name, parameter in self.core.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            elif "weight" in name:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.head.linear.weight, gain=0.01)  # starts near the same action for every input
        nn.init.zeros_(self.head.linear.bias)

    def initial_state(self, batch: int) -> Float[Tensor, "batch hidden"]:
        """The hidden state at the start of a trial: zeros."""
        return self.head.linear.weight.new_zeros(batch, self.core.hidden_size)

    def step(
        self, inputs: RecurrentInput, state: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch hidden"]]:
        """Acts once: distribution parameters and the next hidden state, for inputs with the leading axis `batch`."""
        parameters, state = self.sequence(RecurrentInput(*(x.unsqueeze(1) for x in inputs)), state)
        return parameters.squeeze(1), state

    def sequence(
        self, inputs: RecurrentInput, state: Float[Tensor, "batch hidden"]
    ) -> tuple[Float[Tensor, "batch time p"], Float[Tensor, "batch hidden"]]:
        """Acts along a whole sequence: inputs have the leading axes `batch time`."""
        observations = self.observation_normalizer(inputs.observations)
        rewards = self.reward_normalizer(inputs.previous_rewards.unsqueeze(-1))
        start = inputs.episode_start.unsqueeze(-1).to(observations.dtype)
        hidden, last = self.core(
            torch.cat([observations, inputs.previous_actions, rewards, start], dim=-1), state.unsqueeze(0)
        )
        features = torch.cat([hidden, observations], dim=-1) if self.observation_to_head else hidden
        return self.head(features), last.squeeze(0)
