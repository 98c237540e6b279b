"""Inputs of recurrent policies, and the networks that encode them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarl.policies.config import EncoderConfig, JointEncoderConfig, SeparateEncoderConfig


class PolicyInput(NamedTuple):
    """Inputs of a policy before each action (Duan et al. 2016, section 2.2), with any leading axes."""

    observations: Float[Tensor, "*b obs"]
    """Observation, in the environment's units; float64 from environments, in which it is standardised."""
    previous_actions: Float[Tensor, "*b action"]
    """Action of the step before, one-hot if discrete; zero at the start of a trial."""
    previous_rewards: Float[Tensor, "*b"]
    """Reward of the step before, in the environment's units; zero at the start of a trial."""
    episode_start: Bool[Tensor, "*b"]
    """True at the first step of an episode."""


class JointEncoder(nn.Module):
    """One network on observation, previous action, previous reward and episode start, concatenated.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: JointEncoderConfig) -> None:
        super().__init__()
        self.input_size = observation_size + action_size + 2
        sizes = (self.input_size, *config.hidden_sizes)
        self.network = _tanh_layers(sizes)
        self.output_size = sizes[-1]

    def forward(self, inputs: PolicyInput) -> Float[Tensor, "*b f"]:
        """Features of standardised inputs."""
        features: Tensor = self.network(
            torch.cat([inputs.observations, inputs.previous_actions, _reward_and_start(inputs)], -1)
        )
        return features


class SeparateEncoder(nn.Module):
    """Three networks: on the observation, on the previous action, and on previous reward and episode start.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: SeparateEncoderConfig) -> None:
        super().__init__()
        sizes = (
            (observation_size, *config.observation_sizes),
            (action_size, *config.action_sizes),
            (2, *config.reward_sizes),
        )
        self.observation, self.action, self.reward = map(_tanh_layers, sizes)
        self.output_size = sum(each[-1] for each in sizes)

    def forward(self, inputs: PolicyInput) -> Float[Tensor, "*b f"]:
        """Features of standardised inputs."""
        features = (
            self.observation(inputs.observations),
            self.action(inputs.previous_actions),
            self.reward(_reward_and_start(inputs)),
        )
        return torch.cat(features, dim=-1)


def make_encoder(observation_size: int, action_size: int, config: EncoderConfig) -> JointEncoder | SeparateEncoder:
    """Creates the encoder that the settings name."""
    if isinstance(config, JointEncoderConfig):
        return JointEncoder(observation_size, action_size, config)
    return SeparateEncoder(observation_size, action_size, config)


def _reward_and_start(inputs: PolicyInput) -> Float[Tensor, "*b 2"]:
    rewards = inputs.previous_rewards
    return torch.stack([rewards, inputs.episode_start.to(rewards.dtype)], dim=-1)


def _tanh_layers(sizes: Sequence[int]) -> nn.Sequential:
    """Tanh layers with Xavier-uniform weights and zero biases; the identity for a single size."""
    network = nn.Sequential()
    for before, after in pairwise(sizes):
        linear = nn.Linear(before, after)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        network += nn.Sequential(linear, nn.Tanh())
    return network
