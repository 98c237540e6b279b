"""Discriminator of GAIL (Ho & Ermon 2016), which tells the steps of a policy from those of demonstrations."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from metarl.algorithms.imitation.library import Steps

HIDDEN = (100, 100)
"""Units of each hidden layer, with tanh (Ho & Ermon 2016, section 6)."""


class Discriminator(nn.Module):
    """D(s, a), the probability that a step is the policy's and not a demonstrator's.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
    """

    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        sizes = (observation_size + action_size, *HIDDEN)
        hidden = [module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), nn.Tanh())]
        self.network = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))

    def forward(self, steps: Steps) -> Float[Tensor, "*b"]:
        """Logit x of each step, with D = 1 / (1 + exp(-x)).

        Args:
            steps: Standardised observations s, and actions a in units of the action space.
        """
        logits: Tensor = self.network(torch.cat([*steps], -1))
        return logits.squeeze(-1)


def discriminator_loss(own: Float[Tensor, "own"], shown: Float[Tensor, "shown"]) -> Float[Tensor, ""]:
    """Logistic loss, minus what a discriminator ascends (Ho & Ermon 2016, equation 17).

    Where the policy's steps are distributed as the demonstrated ones it is least at D = 1/2, and 2 log 2 there.

    Args:
        own: Logits of steps of the policy.
        shown: Logits of steps of demonstrations.
    """
    # L = -E_pi[log D(s, a)] - E_piE[log(1 - D(s, a))],  -log D = softplus(-x),  -log(1 - D) = softplus(x)
    return softplus(-own).mean() + softplus(shown).mean()


def imitation_reward(logits: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Reward for steps that look demonstrated: minus the cost log D(s, a) of Ho & Ermon (2016, equation 18).

    It is never negative, so it would reward mere survival where episodes end early; here all are of one length.

    Args:
        logits: Logits of the steps.
    """
    # r(s, a) = -log D(s, a)
    return softplus(-logits)


class DiscriminatorLearner:
    """Adam steps on minibatches, half of them the policy's steps and half demonstrated ones.

    Args:
        discriminator: What learns.
        shown: Steps of the demonstrations, `(step, ...)`.
        lr: Adam's step size.
        steps: Adam steps for each rollout of the policy.
        batch: Steps of each kind in a minibatch, drawn with replacement.
        generator: The source of randomness.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        shown: Steps,
        *,
        lr: float,
        steps: int,
        batch: int,
        generator: torch.Generator,
    ) -> None:
        self._discriminator, self._shown = discriminator, shown
        self._adam = torch.optim.Adam(discriminator.parameters(), lr)
        self._steps, self._batch, self._generator = steps, batch, generator

    def learn(self, own: Steps) -> None:
        """Learns to tell the policy's steps `(step, ...)` from the demonstrated ones."""
        for _ in range(self._steps):
            logits = (self._discriminator(self._draw(steps)) for steps in (own, self._shown))
            self._adam.zero_grad()
            torch.autograd.backward(discriminator_loss(*logits))
            self._adam.step()

    def _draw(self, steps: Steps) -> Steps:
        rows = torch.randint(len(steps.actions), (self._batch,), generator=self._generator)
        return Steps(*(part[rows] for part in steps))
