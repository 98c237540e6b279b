"""Attention to demonstrations: at each step the policy reads those moments of them that matter now."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.imitation.config import AttentionConfig
from metarl.algorithms.imitation.library import Steps
from metarl.algorithms.imitation.way import Memory, Way, mlp


class Attentive(Way):
    """A policy attends to the steps of the demonstrations (Duan et al. 2017b, one-shot imitation learning).

    What it reads are observations *relative to its own*, and actions: to reach where a demonstration ended is then the
    same function for each goal, and holds for goals that were never shown.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: AttentionConfig) -> None:
        super().__init__(observation_size)
        self._heads, self._size = config.heads, config.key_size
        keys = config.heads * config.key_size
        # observation, action, and the time within the demonstration, from -1 to 1
        self.keys = mlp([observation_size + action_size + 1, *config.key_hidden_sizes, keys])
        self.queries = mlp([observation_size, *config.key_hidden_sizes, keys])
        read = config.heads * (observation_size + action_size + 1)
        self.policy = mlp([observation_size + read, *config.hidden_sizes, action_size])

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; keys and contents of all steps looked at."""
        observations, actions = shown
        looks = observations.shape[2]
        time = torch.linspace(-1, 1, looks).to(observations)[:, None].expand(*observations.shape[:2], looks, 1)
        contents = torch.cat([observations, actions, time], -1).flatten(1, 2)
        keys = self.keys(contents).unflatten(-1, (self._heads, self._size))
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
        queries = self.queries(observations).unflatten(-1, (self._heads, self._size))
        # w_i = softmax_i(q k_i / sqrt(d)),  read = sum_i w_i (content_i - own)
        scores = torch.einsum("tnhd,tmhd->tnhm", queries, memory["keys"]) / math.sqrt(self._size)
        weights = scores.softmax(-1)
        read = torch.einsum("tnhm,tmc->tnhc", weights, memory["contents"])
        own = nn.functional.pad(observations, (0, read.shape[-1] - observations.shape[-1])).unsqueeze(2)
        relative = read - own * weights.sum(-1, keepdim=True)  # nothing is read where nothing was shown
        outputs: Tensor = self.policy(torch.cat([observations, relative.flatten(2)], -1))
        return outputs
