"""Action distributions as functions of a flat vector of distribution parameters, so that they batch over any axes."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.errors import RunFailure


@runtime_checkable
class ActionDistribution(Protocol):
    """A family of distributions over actions, indexed by a parameter vector that a network puts out.

    Actions are float vectors everywhere; discrete ones are one-hot.
    """

    action_size: int
    """Length of an action vector."""
    parameter_size: int
    """Length of a parameter vector."""

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """Log-density of the actions, in nats."""

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """Gradient of the actions' log-density with respect to the parameter vector."""

    def score_tangent(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """How the score changes along a tangent: the Hessian of the log-density times it."""

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """KL(old || new), in nats."""

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """Entropy, in nats."""

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """The likeliest action."""

    def sample(self, parameters: Float[Tensor, "*b p"], generator: torch.Generator) -> Float[Tensor, "*b a"]:
        """Draws one action for each parameter vector."""

    def fisher_product(
        self, parameters: Float[Tensor, "*b p"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """The Fisher information matrix of the parameter vector times a tangent: the Hessian of `kl` at old = new."""


class Gaussian:
    """Independent normal actions; the parameter vector is (mean, log standard deviation).

    Args:
        action_size: Number of action dimensions.
    """

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size
        self.parameter_size = 2 * action_size

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        mean, log_std = parameters.chunk(2, dim=-1)
        standardised = (actions - mean) * torch.exp(-log_std)
        return -(0.5 * standardised**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """(z / sigma, z² - 1) for z = (a - mean) / sigma."""
        mean, log_std = parameters.chunk(2, dim=-1)
        inverse = torch.exp(-log_std)
        standardised = (actions - mean) * inverse
        return torch.cat([standardised * inverse, standardised**2 - 1], dim=-1)

    def score_tangent(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """Of the above: z itself changes by minus (the mean's tangent / sigma + z times log sigma's)."""
        mean, log_std = parameters.chunk(2, dim=-1)
        mean_tangent, log_std_tangent = tangent.chunk(2, dim=-1)
        inverse = torch.exp(-log_std)
        standardised = (actions - mean) * inverse
        change = -(mean_tangent * inverse + standardised * log_std_tangent)
        return torch.cat([(change - standardised * log_std_tangent) * inverse, 2 * standardised * change], dim=-1)

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        (mean, log_std), (new_mean, new_log_std) = old.chunk(2, dim=-1), new.chunk(2, dim=-1)
        squares = torch.exp(2 * log_std) + (mean - new_mean) ** 2
        return (new_log_std - log_std + 0.5 * squares * torch.exp(-2 * new_log_std) - 0.5).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        return (parameters.chunk(2, dim=-1)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        return parameters.chunk(2, dim=-1)[0]

    def sample(self, parameters: Float[Tensor, "*b p"], generator: torch.Generator) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        mean, log_std = parameters.chunk(2, dim=-1)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=generator.device)
        return mean + torch.exp(log_std) * noise.to(mean.device)

    def fisher_product(
        self, parameters: Float[Tensor, "*b p"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """Diagonal: 1/sigma² for the mean, 2 for the log standard deviation."""
        _, log_std = parameters.chunk(2, dim=-1)
        mean_tangent, log_std_tangent = tangent.chunk(2, dim=-1)
        return torch.cat([mean_tangent * torch.exp(-2 * log_std), 2 * log_std_tangent], dim=-1)


class Categorical:
    """One of `action_size` choices, one-hot; the parameter vector holds the logits.

    Args:
        action_size: Number of choices.
    """

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size
        self.parameter_size = action_size

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        return (parameters.log_softmax(-1) * actions).sum(-1)

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """The one-hot action minus the probabilities."""
        return actions - parameters.softmax(-1)

    def score_tangent(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """Minus the Fisher matrix times the tangent, whatever the action."""
        return -self.fisher_product(parameters, tangent)

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        return (old.softmax(-1) * (old.log_softmax(-1) - new.log_softmax(-1))).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        return -(parameters.softmax(-1) * parameters.log_softmax(-1)).sum(-1)

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        return self._one_hot(parameters.argmax(-1), parameters.dtype)

    def sample(self, parameters: Float[Tensor, "*b p"], generator: torch.Generator) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`.

        Raises:
            RunFailure: If the parameters are not finite.
        """
        probabilities = parameters.softmax(-1).reshape(-1, self.action_size).to(generator.device)
        if not torch.isfinite(probabilities).all():
            raise RunFailure("the policy's action probabilities are not finite; the last checkpoint is as it was")
        choices = torch.multinomial(probabilities, 1, generator=generator).to(parameters.device)
        return self._one_hot(choices.reshape(parameters.shape[:-1]), parameters.dtype)

    def fisher_product(
        self, parameters: Float[Tensor, "*b p"], tangent: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """diag(p) - p pᵀ, p being the probabilities."""
        probabilities = parameters.softmax(-1)
        return probabilities * (tangent - (probabilities * tangent).sum(-1, keepdim=True))

    def _one_hot(self, choices: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.nn.functional.one_hot(choices, self.action_size).to(dtype)


def action_distribution(space: gym.Space[np.ndarray] | gym.Space[np.int64]) -> ActionDistribution:
    """The distribution for an action space: `Gaussian` for a flat `Box`, `Categorical` for `Discrete`.

    Raises:
        TypeError: If the space is neither.
    """
    if isinstance(space, gym.spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return Gaussian(space.shape[0])
    raise TypeError(f"actions must be a flat Box or Discrete, not {space}")
