"""Action distributions as functions of a flat parameter vector, with any leading axes.

Below, y is the parameter vector that a network puts out, a an action, and p(a; y) its density or probability.
"""

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
    """Family of distributions over actions, indexed by the parameter vector that a network puts out.

    Actions are float vectors; discrete ones are one-hot.
    """

    action_size: int
    """Length of an action vector."""
    parameter_size: int
    """Length of a parameter vector."""

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """Log-density log p(a; y), in nats."""

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """Score: the gradient of log p(a; y) with respect to y."""

    def score_jvp(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], vector: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """Jacobian of the score with respect to y, times a vector: the Hessian of log p(a; y) times it."""

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """KL divergence KL(old || new) = E_old[log p_old - log p_new], in nats."""

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """Entropy -E[log p], in nats."""

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """Most likely action."""

    def noise(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "count a"]:
        """Draws the noise of `count` actions, float32, for `sample_by`."""

    def sample_by(self, parameters: Float[Tensor, "*b p"], noise: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """Draws one action per parameter vector, by the noise of `noise`."""

    def fisher_product(self, parameters: Float[Tensor, "*b p"], vector: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        """Fisher information matrix F(y) = E[score scoreᵀ], the Hessian of `kl` at old = new, times a vector."""


class Gaussian:
    """Independent normal actions with the parameter vector y = (mu, log sigma).

    Args:
        action_size: Number of action dimensions.
    """

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size
        self.parameter_size = 2 * action_size

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # log p = -Σ_i (z_i² / 2 + log sigma_i + log(2 pi) / 2),  z = (a - mu) / sigma
        mean, log_std = parameters.chunk(2, dim=-1)
        standardised = (actions - mean) * torch.exp(-log_std)
        return -(0.5 * standardised**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # d log p / d mu = z / sigma,  d log p / d log sigma = z² - 1,  z = (a - mu) / sigma
        mean, log_std = parameters.chunk(2, dim=-1)
        inverse = torch.exp(-log_std)
        standardised = (actions - mean) * inverse
        return torch.cat([standardised * inverse, standardised**2 - 1], dim=-1)

    def score_jvp(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], vector: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # For v = (v_mu, v_sigma), along mu + t v_mu and log sigma + t v_sigma:
        # dz/dt = -(v_mu / sigma + z v_sigma)
        # d(z / sigma)/dt = (dz/dt - z v_sigma) / sigma,  d(z² - 1)/dt = 2 z dz/dt
        mean, log_std = parameters.chunk(2, dim=-1)
        v_mean, v_log_std = vector.chunk(2, dim=-1)
        inverse = torch.exp(-log_std)
        standardised = (actions - mean) * inverse
        change = -(v_mean * inverse + standardised * v_log_std)
        return torch.cat([(change - standardised * v_log_std) * inverse, 2 * standardised * change], dim=-1)

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # KL = Σ_i (log(sigma'_i / sigma_i) + (sigma_i² + (mu_i - mu'_i)²) / (2 sigma'_i²) - 1/2), ' being new
        (mean, log_std), (new_mean, new_log_std) = old.chunk(2, dim=-1), new.chunk(2, dim=-1)
        squares = torch.exp(2 * log_std) + (mean - new_mean) ** 2
        return (new_log_std - log_std + 0.5 * squares * torch.exp(-2 * new_log_std) - 0.5).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # H = Σ_i (log sigma_i + log(2 pi e) / 2)
        return (parameters.chunk(2, dim=-1)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        return parameters.chunk(2, dim=-1)[0]

    def noise(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "count a"]:
        """See `ActionDistribution`."""
        return rng.standard_normal((count, self.action_size), dtype=np.float32)

    def sample_by(self, parameters: Float[Tensor, "*b p"], noise: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        # a = mu + sigma * noise,  noise ~ N(0, I)
        mean, log_std = parameters.chunk(2, dim=-1)
        return mean + torch.exp(log_std) * noise

    def fisher_product(self, parameters: Float[Tensor, "*b p"], vector: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # F = diag(1 / sigma², 2)
        _, log_std = parameters.chunk(2, dim=-1)
        v_mean, v_log_std = vector.chunk(2, dim=-1)
        return torch.cat([v_mean * torch.exp(-2 * log_std), 2 * v_log_std], dim=-1)


class Categorical:
    """One of `action_size` choices, one-hot; the parameter vector y holds the logits, and p = softmax(y).

    Args:
        action_size: Number of choices.
    """

    def __init__(self, action_size: int) -> None:
        self.action_size = action_size
        self.parameter_size = action_size

    def log_prob(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # log p(a) = Σ_i a_i log p_i,  p = softmax(y)
        return (parameters.log_softmax(-1) * actions).sum(-1)

    def score(self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # d log p(a) / dy = a - p
        return actions - parameters.softmax(-1)

    def score_jvp(
        self, parameters: Float[Tensor, "*b p"], actions: Float[Tensor, "*b a"], vector: Float[Tensor, "*b p"]
    ) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # d²log p(a) / dy² = -dp/dy = -F for every action
        return -self.fisher_product(parameters, vector)

    def kl(self, old: Float[Tensor, "*b p"], new: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # KL = Σ_i p_i (log p_i - log p'_i), ' being new
        return (old.softmax(-1) * (old.log_softmax(-1) - new.log_softmax(-1))).sum(-1)

    def entropy(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
        """See `ActionDistribution`."""
        # H = -Σ_i p_i log p_i
        return -(parameters.softmax(-1) * parameters.log_softmax(-1)).sum(-1)

    def mode(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`."""
        return self._one_hot(parameters.argmax(-1), parameters.dtype)

    def noise(self, rng: np.random.Generator, count: int) -> Float[np.ndarray, "count a"]:
        """See `ActionDistribution`."""
        return rng.gumbel(size=(count, self.action_size)).astype(np.float32)

    def sample_by(self, parameters: Float[Tensor, "*b p"], noise: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """See `ActionDistribution`.

        Raises:
            RunFailure: If the parameters are not finite.
        """
        # argmax_i (log p_i + g_i) = i with probability p_i, for g_i ~ Gumbel(0, 1)
        return self._one_hot((self._probabilities(parameters).log() + noise).argmax(-1), parameters.dtype)

    def fisher_product(self, parameters: Float[Tensor, "*b p"], vector: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        """See `ActionDistribution`."""
        # F v = (diag(p) - p pᵀ) v = p * (v - pᵀ v)
        probabilities = parameters.softmax(-1)
        return probabilities * (vector - (probabilities * vector).sum(-1, keepdim=True))

    def _probabilities(self, parameters: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
        probabilities = parameters.softmax(-1)
        if not torch.isfinite(probabilities).all():
            raise RunFailure("the policy's action probabilities are not finite; the last checkpoint is as it was")
        return probabilities

    def _one_hot(self, choices: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.nn.functional.one_hot(choices, self.action_size).to(dtype)


def action_distribution(space: gym.Space[np.ndarray] | gym.Space[np.int64]) -> ActionDistribution:
    """Action distribution for an action space: `Gaussian` for a flat `Box`, `Categorical` for `Discrete`.

    Raises:
        TypeError: If the space is neither.
    """
    if isinstance(space, gym.spaces.Discrete):
        return Categorical(int(space.n))
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return Gaussian(space.shape[0])
    raise TypeError(f"actions must be a flat Box or Discrete, not {space}")
