"""A causal transformer with a bounded memory, as a recurrent core."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from metarl.policies.config import TransformerConfig
from metarl.policies.cores.core import Core

_LONGEST_WAVE = 10_000.0
"""What the slowest rotation of the position encoding is slower by than the fastest."""


class TransformerCore(Core):
    """Layers of attention over the last `memory` steps, normalised before each sublayer (Xiong et al. 2020).

    Positions are rotations of queries and keys (Su et al. 2021), so attention depends on how long ago a step was and
    not on when; that makes a bounded window exact. The state is a ring buffer of the last `memory` keys and values of
    each layer, the step at position p standing in slot p mod `memory`, and the number of steps so far.

    Args:
        input_size: Length of a feature vector.
        config: The settings.
    """

    def __init__(self, input_size: int, config: TransformerConfig) -> None:
        super().__init__()
        self.output_size = config.model_size
        self.memory = config.memory
        self.embedding = nn.Linear(input_size, config.model_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.model_size)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.zeros_(self.embedding.bias)

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """An empty memory."""
        return self.embedding.weight.new_zeros(batch, len(self.layers) * 2 * self.memory * self.output_size + 1)

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """See `Core`: writes to one slot of the ring and attends to all that are filled."""
        cache, count = self._unpack(state)
        slots = torch.arange(self.memory, device=state.device)
        here = (slots == count.unsqueeze(1) % self.memory).unsqueeze(-1)
        filled = (slots <= count.unsqueeze(1)).unsqueeze(1)
        hidden, written = self.embedding(features).unsqueeze(1), []
        for layer, (keys, values) in zip(cast(Iterable[Layer], self.layers), cache, strict=True):
            query, key, value = layer.project(hidden, count.unsqueeze(1))
            keys, values = torch.where(here, key, keys), torch.where(here, value, values)
            hidden = layer.transform(hidden, layer.attend(query, keys, values, filled))
            written += [keys, values]
        return self.norm(hidden).squeeze(1), _pack(written, count + 1)

    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """See `Core`: attends in blocks of at most `memory` steps, each to itself and to the window before it."""
        cache, count = self._unpack(state)
        steps = features.shape[1]
        positions = count.unsqueeze(1) + torch.arange(steps, device=state.device)
        slots = torch.arange(self.memory, device=state.device)
        by_age = ((count.unsqueeze(1) + slots) % self.memory).long()  # the slots, oldest first
        to_ring = ((slots - positions[:, -1:] - 1) % self.memory).long()  # its inverse, after the sequence
        mask = self._mask(steps, count)
        hidden, written = self.embedding(features), []
        for layer, (keys, values) in zip(cast(Iterable[Layer], self.layers), cache, strict=True):
            query, *new = layer.project(hidden, positions)
            both = [torch.cat([_take(old, by_age), x], dim=1) for old, x in zip((keys, values), new, strict=True)]
            hidden = layer.transform(hidden, self._attend_in_blocks(layer, query, both[0], both[1], mask))
            written += [_take(x[:, -self.memory :], to_ring) for x in both]
        return self.norm(hidden), _pack(written, count + steps)

    def _attend_in_blocks(
        self,
        layer: Layer,
        query: Float[Tensor, "batch time d"],
        keys: Float[Tensor, "batch key d"],
        values: Float[Tensor, "batch key d"],
        mask: Bool[Tensor, "row query window"],
    ) -> Float[Tensor, "batch time d"]:
        batch, steps, _ = query.shape
        block, window = mask.shape[1:]
        behind = -steps % block  # padding at the end, so that all blocks are whole
        queries = pad(query, (0, 0, 0, behind)).reshape(-1, block, self.output_size)
        keys, values = (
            pad(x, (0, 0, 0, behind)).unfold(1, window, block).mT.reshape(-1, window, self.output_size)
            for x in (keys, values)
        )
        attended = layer.attend(queries, keys, values, mask)
        return attended.reshape(batch, -1, self.output_size)[:, :steps]

    def _mask(self, steps: int, count: Float[Tensor, "batch"]) -> Bool[Tensor, "row query window"]:
        """Which keys a query may see, for each block of queries; keys begin `memory` steps before the block."""
        block = min(self.memory, steps)
        blocks = -(-steps // block)
        queries = torch.arange(block, device=count.device).unsqueeze(1)
        keys = torch.arange(self.memory + block, device=count.device)
        in_window = (keys > queries) & (keys <= queries + self.memory)
        first = torch.arange(blocks, device=count.device).unsqueeze(1) * block
        played = first + keys >= self.memory - count.reshape(-1, 1, 1)  # what is older was not part of the trial
        return (in_window & played.unsqueeze(2)).flatten(0, 1)

    def _unpack(
        self, state: Float[Tensor, "batch state"]
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "batch"]]:
        """Keys and values of each layer, `(batch, memory, d)`, and the number of steps so far."""
        parts = state[:, :-1].reshape(-1, 2 * len(self.layers), self.memory, self.output_size).unbind(1)
        return list(zip(parts[::2], parts[1::2], strict=True)), state[:, -1]


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to what it works on.

    Args:
        config: The settings.
    """

    frequencies: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        size = config.model_size
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(size)
        self.projection = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        last = nn.Linear(4 * size, size)
        self.feed_forward = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 4 * size), nn.GELU(), last)
        half = size // config.heads // 2
        frequencies = _LONGEST_WAVE ** -(torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for linear in (self.output, last):  # a sum over layers starts no larger than a single one
            linear.weight.data /= math.sqrt(2 * config.layers)

    def project(
        self, hidden: Float[Tensor, "batch time d"], positions: Float[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time d"], Float[Tensor, "batch time d"], Float[Tensor, "batch time d"]]:
        """Queries and keys, rotated by their positions, and values."""
        query, key, value = self.projection(self.attention_norm(hidden)).chunk(3, dim=-1)
        angles = positions.unsqueeze(-1) * self.frequencies.to(positions.dtype)
        sine, cosine = angles.sin().unsqueeze(-2), angles.cos().unsqueeze(-2)

        def rotate(vectors: Tensor) -> Tensor:
            first, second = self._by_head(vectors).chunk(2, dim=-1)
            turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
            return turned.flatten(-2)

        return rotate(query), rotate(key), value

    def attend(
        self,
        query: Float[Tensor, "n q d"],
        keys: Float[Tensor, "n k d"],
        values: Float[Tensor, "n k d"],
        mask: Bool[Tensor, "n #q k"],
    ) -> Float[Tensor, "n q d"]:
        """Values weighted by how well their keys match, by head, where the mask allows."""
        query, keys, values = (self._by_head(x).transpose(1, 2) for x in (query, keys, values))
        attended = scaled_dot_product_attention(query, keys, values, attn_mask=mask.unsqueeze(1))
        return attended.transpose(1, 2).flatten(-2)

    def transform(
        self, hidden: Float[Tensor, "batch time d"], attended: Float[Tensor, "batch time d"]
    ) -> Float[Tensor, "batch time d"]:
        """What the layer makes of its input and of what attention found."""
        hidden = hidden + self.output(attended)
        result: Tensor = hidden + self.feed_forward(hidden)
        return result

    def _by_head(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b head dh"]:
        return vectors.reshape(*vectors.shape[:-1], self.heads, -1)


def _take(values: Float[Tensor, "batch time d"], index: Tensor) -> Float[Tensor, "batch memory d"]:
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _pack(parts: list[Tensor], count: Float[Tensor, "batch"]) -> Float[Tensor, "batch state"]:
    return torch.cat([torch.stack(parts, dim=1).flatten(1), count.unsqueeze(1)], dim=1)
