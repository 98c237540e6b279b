"""Attention to demonstrations: at each step the policy reads those moments of them that matter now."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.imitation.config import AttentionConfig
from metarl.algorithms.imitation.library import Steps
from metarl.algorithms.imitation.way import Memory, Way, mlp


class Attentive(Way):
    """A policy attends to the moments of the demonstrations that are like the present one (Duan et al. 2017b).

    All that it gets is *relative* to its own observation: where a moment was, where the demonstration went from there,
    and the action. To go on as it was shown is then the same function at each goal and of each class.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: AttentionConfig) -> None:
        super().__init__(observation_size)
        self._heads, self._size = config.heads, observation_size
        self.likeness = nn.Linear(observation_size, config.heads * config.key_size, bias=False)
        read = config.heads * (2 * observation_size + action_size)
        self.policy = mlp([read, *config.hidden_sizes, action_size])

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; keys and contents of all moments looked at: observation, next one looked at, action."""
        observations, actions = shown
        after = torch.cat([observations[:, :, 1:], observations[:, :, -1:]], 2)
        contents = torch.cat([observations, after, actions], -1).flatten(1, 2)
        keys = self.likeness(observations.flatten(1, 2)).unflatten(-1, (self._heads, -1))
        return {"keys": keys, "contents": contents}

    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """See `Way`."""
        return self._outputs(observations.unsqueeze(1), memory).squeeze(1), memory

    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """See `Way`."""
        return self._outputs(observations.flatten(1, 2), memory).reshape(*observations.shape[:3], -1)

    def _outputs(self, observations: Float[Tensor, "task n obs"], memory: Memory) -> Float[Tensor, "task n action"]:
        queries, keys = self.likeness(observations).unflatten(-1, (self._heads, -1)), memory["keys"]
        # w_i = softmax_i(-|M o_i - M o|²); |M o|² is the same for all i and is left out
        scores = 2 * torch.einsum("tnhd,tmhd->tnhm", queries, keys) - keys.square().sum(-1).mT.unsqueeze(1)
        weights = scores.softmax(-1)
        # read = sum_i w_i (o_i - o, o_next(i) - o, a_i); nothing is read where nothing was shown
        read = torch.einsum("tnhm,tmc->tnhc", weights, memory["contents"])
        own = nn.functional.pad(torch.cat([observations] * 2, -1), (0, read.shape[-1] - 2 * self._size))
        relative = read - own.unsqueeze(2) * weights.sum(-1, keepdim=True)
        outputs: Tensor = self.policy(relative.flatten(2))
        return outputs
