"""Feed-forward policies: standardised observations through a body to the parameters of an action distribution."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.policies.distributions import ActionDistribution, Gaussian
from metarl.policies.normalizer import Normalizer


class ActionHead(nn.Module):
    """Linear layer from features to the parameters of an action distribution.

    The log standard deviation of a Gaussian is a learned vector with a floor; it does not depend on the features.

    Args:
        feature_size: Length of a feature vector.
        distribution: The action distribution.
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
        """Standard deviation of each action dimension, floor applied; None where actions are not Gaussian."""
        return None if self.log_std is None else self.log_std.detach().clamp(min=self.min_log_std).exp()

    @torch.no_grad()
    def keep_floor(self) -> None:
        """Raises a log standard deviation below its floor to the floor, since its gradient below the floor is zero."""
        if self.log_std is not None:
            self.log_std.clamp_(min=self.min_log_std)

    def forward(self, features: Float[Tensor, "*b f"]) -> Float[Tensor, "*b p"]:
        """Returns the distribution's parameters."""
        return self.with_std(self.linear(features))

    def with_std(self, output: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """Appends the log standard deviation to the means of a Gaussian; returns logits unchanged."""
        if self.log_std is None:
            return output
        return torch.cat([output, self.log_std.clamp(min=self.min_log_std).expand_as(output)], dim=-1)


class FeedForwardPolicy(nn.Module):
    """Policy without memory: normaliser, body, head.

    MAML meta-trains any such policy; ANIL adapts the parameters whose names begin with `head.`. A subclass may replace
    `forward` by any function of the observations that `torch.func` can differentiate.

    Args:
        observation_size: Length of an observation.
        body: Maps standardised observations `(..., obs)` to features `(..., f)`.
        head: Maps the features to the parameters of the action distribution.
    """

    def __init__(self, observation_size: int, body: nn.Module, head: ActionHead) -> None:
        super().__init__()
        self.normalizer = Normalizer(observation_size)
        self.body = body
        self.head = head

    def forward(self, observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b p"]:
        """Returns the parameters of the action distribution for each observation."""
        standardised = self.normalizer(observations, self.head.linear.weight.dtype)
        output: Tensor = self.head(self.body(standardised))
        return output
