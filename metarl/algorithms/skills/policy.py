"""Recurrent policy with a skill for each class of training tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.policies.config import CoreConfig, EncoderConfig, LinearHeadConfig
from metarl.policies.distributions import ActionDistribution, Gaussian
from metarl.policies.heads import LinearHead
from metarl.policies.inputs import PolicyInput
from metarl.policies.normalizer import Normalizer
from metarl.policies.recurrent import RecurrentPolicy

SHIFT_SIZE = 3
"""Length of the shift of the frame of reference: x, y and z."""


def append_context(
    observations: Float[Tensor, "*b obs"], context: Float[Tensor, "*c context"]
) -> Float[Tensor, "*b both"]:
    """Returns observations followed by the weights and the shift that a `SkillPolicy` takes.

    Args:
        observations: Observations, in the environment's units.
        context: Weights and shift, with leading axes that broadcast over those of the observations.
    """
    return torch.cat([observations, context.expand(*observations.shape[:-1], -1)], dim=-1)


class SkillPolicy(RecurrentPolicy):
    """Recurrent policy whose observations end in weights over skills, which select or mix their learned codes.

    The code of weights w is e = Eᵀw / |Eᵀw|, with a learned row of E for each skill. Behind the weights is the shift of
    the frame of reference, three numbers, which training adds to all positions and which is zero otherwise.

    Args:
        observation_size: Length of an observation, weights and shift excluded.
        positions: Elements of an observation that are positions; see `TaskDistribution.positions`.
        skills: Number of skills.
        code_size: Length of a code.
        distribution: Action distribution.
        encoder: Settings of the encoder.
        core: Settings of the core.
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Lower bound of that standard deviation.
    """

    def __init__(
        self,
        observation_size: int,
        positions: Sequence[tuple[int, int, int]],
        skills: int,
        code_size: int,
        distribution: ActionDistribution,
        encoder: EncoderConfig,
        core: CoreConfig,
        init_std: float,
        min_std: float,
    ) -> None:
        size = observation_size + code_size
        super().__init__(size, distribution, encoder, core, LinearHeadConfig(), True, init_std, min_std)
        self.observation_normalizer = Normalizer(observation_size)
        self.head: SkillHead = SkillHead(self.body.output_size, size, code_size, distribution, init_std, min_std)
        self.codes = nn.Parameter(torch.empty(skills, code_size))
        nn.init.orthogonal_(self.codes)
        self._positions = torch.tensor(positions, dtype=torch.long).reshape(-1, 3)
        self._splits = [observation_size, observation_size + skills]

    def standardize(self, inputs: PolicyInput) -> PolicyInput:
        """Inputs with standardised observations and rewards, and codes in the place of weights."""
        observations, weights, shift = inputs.observations.tensor_split(self._splits, dim=-1)
        # e = Eᵀw / |Eᵀw|
        codes = nn.functional.normalize(weights.to(self.codes) @ self.codes, dim=-1)
        dtype = inputs.previous_actions.dtype
        rewards = self.reward_normalizer(inputs.previous_rewards.unsqueeze(-1), dtype).squeeze(-1)
        seen = torch.cat([self.observation_normalizer(self._shifted(observations, shift), dtype), codes], dim=-1)
        return inputs._replace(observations=seen, previous_rewards=rewards)

    def _shifted(self, observations: Float[Tensor, "*b obs"], shift: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b obs"]:
        """Adds the shift to the positions of all objects that are there."""
        if len(self._positions) == 0:
            return observations
        positions = observations[..., self._positions]
        there = (positions != 0).any(-1, keepdim=True)
        moved = torch.where(there, positions + shift.unsqueeze(-2), positions)
        return observations.index_copy(-1, self._positions.flatten(), moved.flatten(-2))


class SkillHead(LinearHead):
    """Linear layer whose standard deviation of actions depends on the skill's code.

    A skill that is learned already can then act precisely while others still explore.

    Args:
        core_size: Length of the core's output.
        observation_size: Length of a standardised observation, which ends in the code.
        code_size: Length of the code.
        distribution: Action distribution.
        init_std: Initial standard deviation.
        min_std: Lower bound of the standard deviation.
    """

    def __init__(
        self,
        core_size: int,
        observation_size: int,
        code_size: int,
        distribution: ActionDistribution,
        init_std: float,
        min_std: float,
    ) -> None:
        super().__init__(core_size, observation_size, True, distribution, init_std, min_std)
        self._code_size, self._min_std = code_size, min_std
        self.spread: nn.Linear | None = None
        if isinstance(distribution, Gaussian):
            self.spread = nn.Linear(code_size, distribution.action_size, bias=False)
            nn.init.zeros_(self.spread.weight)
            assert self.action.log_std is not None
            nn.init.constant_(self.action.log_std, math.log(max(init_std - min_std, min_std)))

    def forward(self, hidden: Float[Tensor, "*b h"], observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b p"]:
        """Parameters of the action distribution."""
        output: Tensor = self.action.linear(torch.cat([hidden, observations], dim=-1))
        if self.spread is None:
            return output
        # sigma = sigma_min + exp(s + S e): its gradient vanishes nowhere, unlike a clamp's
        std = self._min_std + torch.exp(self.action.log_std + self.spread(observations[..., -self._code_size :]))
        return torch.cat([output, std.log().expand_as(output)], dim=-1)

    def keep_floor(self) -> None:
        """Does nothing: the floor is part of the formula."""
