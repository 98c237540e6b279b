"""Feed-forward policies."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.policies.distributions import ActionDistribution, Gaussian
from metarl.policies.normalizer import Normalizer

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class ActionHead(nn.Module):
    """A linear layer from features to the parameters of an action distribution.

    A Gaussian's standard deviation is a learned vector that does not depend on the features, with a floor.

    Args:
        feature_size: Length of the feature vector.
        distribution: The distribution whose parameters are put out.
        init_std: Initial standard deviation (Gaussian only).
        min_std: Floor of the standard deviation (Gaussian only).
    """

    def __init__(self, feature_size: int, distribution: ActionDistribution, init_std: float, min_std: float) -> None:
        super().__init__()
        self.linear = nn.Linear(feature_size, distribution.action_size)
        self.min_log_std = math.log(min_std)
        gaussian = isinstance(distribution, Gaussian)
        self.log_std = nn.Parameter(torch.full((distribution.action_size,), math.log(init_std))) if gaussian else None

    @property
    def std(self) -> Float[Tensor, "a"] | None:
        """The standard deviation of each action, its floor included; None where actions are not Gaussian."""
        return None if self.log_std is None else self.log_std.detach().clamp(min=self.min_log_std).exp()

    @torch.no_grad()
    def keep_floor(self) -> None:
        """Puts a log standard deviation below its floor onto it: below, no gradient would ever move it again."""
        if self.log_std is not None:
            self.log_std.clamp_(min=self.min_log_std)

    def forward(self, features: Float[Tensor, "*b f"]) -> Float[Tensor, "*b p"]:
        """The distribution's parameters."""
        return self.with_std(self.linear(features))

    def with_std(self, output: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """Distribution parameters from means, to which a Gaussian's log standard deviation is put, or from logits."""
        if self.log_std is None:
            return output
        return torch.cat([output, self.log_std.clamp(min=self.min_log_std).expand_as(output)], dim=-1)


class MLPPolicy(nn.Module):
    """A multi-layer perceptron from observations to the parameters of an action distribution.

    Weights start from Xavier's uniform initialisation, the last layer's times `output_gain`, biases at zero.

    Args:
        observation_size: Length of an observation.
        distribution: The action distribution.
        hidden_sizes: Units of each hidden layer.
        activation: "tanh" or "relu".
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Its floor.
        output_gain: With a small one actions start near zero for every input.
    """

    def __init__(
        self,
        observation_size: int,
        distribution: ActionDistribution,
        hidden_sizes: Sequence[int],
        activation: str,
        init_std: float,
        min_std: float,
        output_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.normalizer = Normalizer(observation_size)
        sizes = [observation_size, *hidden_sizes]
        layers = [(nn.Linear(n, m), ACTIVATIONS[activation]()) for n, m in pairwise(sizes)]
        self.body = nn.Sequential(*(module for layer in layers for module in layer))
        self.head = ActionHead(sizes[-1], distribution, init_std, min_std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, output_gain if module is self.head.linear else 1.0)
                nn.init.zeros_(module.bias)

    def forward(self, observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b p"]:
        """Parameters of the action distribution for each observation."""
        output: Tensor = self.head(self.body(self.normalizer(observations)))
        return output
