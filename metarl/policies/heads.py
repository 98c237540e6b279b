"""Heads: networks from a recurrent core's output to the parameters of an action distribution."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.policies.config import HeadConfig, LinearHeadConfig
from metarl.policies.distributions import ActionDistribution
from metarl.policies.feedforward import ActionHead

_SMALL_GAIN = 0.01
"""Gain of the last layer's initial weights: actions start nearly equal for every input."""


class LinearHead(nn.Module):
    """Linear layer on the core's output, and on the current observation if asked for.

    Args:
        core_size: Length of the core's output.
        observation_size: Length of an observation.
        observation_to_head: Feed the current observation to the layer too.
        distribution: Action distribution.
        init_std: See `ActionHead`.
        min_std: See `ActionHead`.
    """

    def __init__(
        self,
        core_size: int,
        observation_size: int,
        observation_to_head: bool,
        distribution: ActionDistribution,
        init_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        self.observation_to_head = observation_to_head
        feature_size = core_size + (observation_size if observation_to_head else 0)
        self.action = _action_head(feature_size, distribution, init_std, min_std)

    def forward(self, hidden: Float[Tensor, "*b h"], observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b p"]:
        """Parameters of the action distribution."""
        features = torch.cat([hidden, observations], dim=-1) if self.observation_to_head else hidden
        parameters: Tensor = self.action(features)
        return parameters

    def keep_floor(self) -> None:
        """See `ActionHead.keep_floor`."""
        self.action.keep_floor()


class HypernetworkHead(nn.Module):
    """Network of one tanh layer on the current observation, whose weights the core's output generates.

    The weights are a learned base plus a linear function of the core's output that starts at zero: Bias-HyperInit
    (Beck et al. 2022, "Hypernetworks in Meta-Reinforcement Learning"), where the base is the hypernetwork's bias.

    Args:
        core_size: Length of the core's output.
        observation_size: Length of an observation.
        hidden_size: Units of the tanh layer.
        distribution: Action distribution.
        init_std: See `ActionHead`.
        min_std: See `ActionHead`.
    """

    def __init__(
        self,
        core_size: int,
        observation_size: int,
        hidden_size: int,
        distribution: ActionDistribution,
        init_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(observation_size, hidden_size)
        self.action = _action_head(hidden_size, distribution, init_std, min_std)
        base = [parameter for layer in (self.first, self.action.linear) for parameter in (layer.weight, layer.bias)]
        self._shapes = [parameter.shape for parameter in base]
        self.generator = nn.Linear(core_size, sum(parameter.numel() for parameter in base), bias=False)
        nn.init.xavier_uniform_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.generator.weight)

    def forward(self, hidden: Float[Tensor, "*b h"], observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b p"]:
        """Parameters of the action distribution."""
        # (W, b, W', b') = G h, for the core's output h; W_0, b_0, W'_0, b'_0 are the learned base
        generated = self.generator(hidden).split([shape.numel() for shape in self._shapes], dim=-1)
        weight, bias, last_weight, last_bias = (
            each.unflatten(-1, shape) for each, shape in zip(generated, self._shapes, strict=True)
        )
        # u = tanh((W_0 + W) o + b_0 + b),  y = (W'_0 + W') u + b'_0 + b'
        units = torch.tanh(self.first(observations) + (weight @ observations.unsqueeze(-1)).squeeze(-1) + bias)
        output = self.action.linear(units) + (last_weight @ units.unsqueeze(-1)).squeeze(-1) + last_bias
        return self.action.with_std(output)

    def keep_floor(self) -> None:
        """See `ActionHead.keep_floor`."""
        self.action.keep_floor()


def make_head(
    config: HeadConfig,
    core_size: int,
    observation_size: int,
    observation_to_head: bool,
    distribution: ActionDistribution,
    init_std: float,
    min_std: float,
) -> LinearHead | HypernetworkHead:
    """Creates the head that the settings name; a hypernetwork always gets the observation."""
    if isinstance(config, LinearHeadConfig):
        return LinearHead(core_size, observation_size, observation_to_head, distribution, init_std, min_std)
    return HypernetworkHead(core_size, observation_size, config.hidden_size, distribution, init_std, min_std)


def _action_head(feature_size: int, distribution: ActionDistribution, init_std: float, min_std: float) -> ActionHead:
    """Last layer with small weights."""
    head = ActionHead(feature_size, distribution, init_std, min_std)
    nn.init.xavier_uniform_(head.linear.weight, gain=_SMALL_GAIN)
    nn.init.zeros_(head.linear.bias)
    return head
