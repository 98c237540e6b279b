"""Causal transformer with a bounded memory, as a recurrent core."""

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

_FREQUENCY_BASE = 10_000.0
"""Base of the frequencies of the rotary positions (Su et al. 2021, section 3.2.2)."""


class TransformerCore(Core):
    """Layers of attention over the last `memory` steps, normalised before each sublayer (Xiong et al. 2020).

    Rotary positions (Su et al. 2021) make attention depend on the distance between steps only, so that a bounded window
    is exact. The state is a ring buffer of the last `memory` keys and values of each layer, with the step at position p
    in the slot p mod `memory`, followed by the number of steps so far.

    Args:
        input_size: Length of a feature vector.
        config: Settings.
    """

    def __init__(self, input_size: int, config: TransformerConfig) -> None:
        super().__init__()
        self.output_size = config.model_size
        self.memory = config.memory
        self.embedding = nn.Linear(input_size, config.model_size)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.model_size)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.zeros_(self.embedding.bias)

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Empty memory."""
        return self.embedding.weight.new_zeros(batch, len(self.layers) * 2 * self.memory * self.output_size + 1)

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """See `Core`; writes to one slot of the ring and attends to all filled slots."""
        cache, count = self._split_state(state)
        slots = torch.arange(self.memory, device=state.device)
        # The step at position p = count overwrites slot p mod memory; slots 0 to min(p, memory - 1) are then filled.
        here = (slots == count.unsqueeze(1) % self.memory).unsqueeze(-1)
        filled = (slots <= count.unsqueeze(1)).unsqueeze(1)
        hidden, written = self.embedding(features).unsqueeze(1), []
        for layer, (keys, values) in zip(cast(Iterable[TransformerLayer], self.layers), cache, strict=True):
            query, key, value = layer.project(hidden, count.unsqueeze(1))
            keys, values = torch.where(here, key, keys), torch.where(here, value, values)
            hidden = layer.transform(hidden, layer.attend(query, keys, values, filled))
            written += [keys, values]
        return self.norm(hidden).squeeze(1), _join_state(written, count + 1)

    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """See `Core`; attends in blocks of at most `memory` queries, each to itself and the `memory` keys before it."""
        cache, count = self._split_state(state)
        steps = features.shape[1]
        positions = count.unsqueeze(1) + torch.arange(steps, device=state.device)
        slots = torch.arange(self.memory, device=state.device)
        # Slots from the oldest to the newest step: position count - memory + i is in slot (count + i) mod memory.
        by_age = ((count.unsqueeze(1) + slots) % self.memory).long()
        # Inverse after the sequence: slot s holds the i-th of the last `memory` steps, i = (s - count') mod memory.
        to_ring = ((slots - positions[:, -1:] - 1) % self.memory).long()
        mask = self._mask(steps, count)
        hidden, written = self.embedding(features), []
        for layer, (keys, values) in zip(cast(Iterable[TransformerLayer], self.layers), cache, strict=True):
            query, *new = layer.project(hidden, positions)
            both = [
                torch.cat([_gather_steps(old, by_age), x], dim=1) for old, x in zip((keys, values), new, strict=True)
            ]
            hidden = layer.transform(hidden, self._attend_in_blocks(layer, query, both[0], both[1], mask))
            written += [_gather_steps(x[:, -self.memory :], to_ring) for x in both]
        return self.norm(hidden), _join_state(written, count + steps)

    def _attend_in_blocks(
        self,
        layer: TransformerLayer,
        query: Float[Tensor, "batch time d"],
        keys: Float[Tensor, "batch key d"],
        values: Float[Tensor, "batch key d"],
        mask: Bool[Tensor, "row query window"],
    ) -> Float[Tensor, "batch time d"]:
        """Attention of whole sequences, whose blocks of queries become rows of one batch."""
        batch, steps, _ = query.shape
        block, window = mask.shape[1:]
        padding = -steps % block  # makes the last block whole
        queries = pad(query, (0, 0, 0, padding)).reshape(-1, block, self.output_size)
        # Block k has the queries k * block + i and the keys k * block + j, i < block, j < window = memory + block.
        keys, values = (
            pad(x, (0, 0, 0, padding)).unfold(1, window, block).mT.reshape(-1, window, self.output_size)
            for x in (keys, values)
        )
        attended = layer.attend(queries, keys, values, mask)
        return attended.reshape(batch, -1, self.output_size)[:, :steps]

    def _mask(self, steps: int, count: Float[Tensor, "batch"]) -> Bool[Tensor, "row query window"]:
        """Keys that each query may attend to, per block of queries; keys start `memory` steps before their block."""
        block = min(self.memory, steps)
        blocks = -(-steps // block)
        queries = torch.arange(block, device=count.device).unsqueeze(1)
        keys = torch.arange(self.memory + block, device=count.device)
        # Key j is at the distance i + memory - j from query i: allowed are 0 <= distance < memory.
        in_window = (keys > queries) & (keys <= queries + self.memory)
        # Key j of block k is at the position count - memory + k * block + j; negative ones are before the trial.
        first = torch.arange(blocks, device=count.device).unsqueeze(1) * block
        played = first + keys >= self.memory - count.reshape(-1, 1, 1)
        return (in_window & played.unsqueeze(2)).flatten(0, 1)

    def _split_state(
        self, state: Float[Tensor, "batch state"]
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "batch"]]:
        """Keys and values of each layer, `(batch, memory, d)` in ring order, and the number of steps so far."""
        cache = state[:, :-1].reshape(-1, 2 * len(self.layers), self.memory, self.output_size).unbind(1)
        return list(zip(cache[::2], cache[1::2], strict=True)), state[:, -1]


class TransformerLayer(nn.Module):
    """Attention and a feed-forward network, each with a residual connection.

    Args:
        config: Settings.
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
        # omega_i = 10000^(-i / half), i = 0, ..., half - 1, for heads of 2 * half numbers
        half = size // config.heads // 2
        frequencies = _FREQUENCY_BASE ** -(torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # Scaled by 1 / sqrt(2 layers), the sum of all 2 layers residual branches starts no larger than a single one.
        for linear in (self.output, last):
            linear.weight.data /= math.sqrt(2 * config.layers)

    def project(
        self, hidden: Float[Tensor, "batch time d"], positions: Float[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time d"], Float[Tensor, "batch time d"], Float[Tensor, "batch time d"]]:
        """Queries and keys, rotated by their positions, and values.

        Args:
            hidden: Input of the layer.
            positions: Number of steps in the trial before each step.
        """
        # (q, k, v) = W LayerNorm(x) + b
        query, key, value = self.projection(self.attention_norm(hidden)).chunk(3, dim=-1)
        # At position p, the pair (a_i, b_i) of the i-th numbers of a head's halves is rotated by the angle p omega_i:
        # a'_i = a_i cos(p omega_i) - b_i sin(p omega_i),  b'_i = a_i sin(p omega_i) + b_i cos(p omega_i)
        angles = positions.unsqueeze(-1) * self.frequencies.to(positions.dtype)
        sine, cosine = angles.sin().unsqueeze(-2), angles.cos().unsqueeze(-2)

        def rotate(vectors: Tensor) -> Tensor:
            a, b = self._by_head(vectors).chunk(2, dim=-1)
            return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1).flatten(-2)

        return rotate(query), rotate(key), value

    def attend(
        self,
        query: Float[Tensor, "n q d"],
        keys: Float[Tensor, "n k d"],
        values: Float[Tensor, "n k d"],
        mask: Bool[Tensor, "n #q k"],
    ) -> Float[Tensor, "n q d"]:
        """Scaled dot-product attention (Vaswani et al. 2017, equation 1) in each head.

        Args:
            query: Queries, with the heads' vectors concatenated.
            keys: Keys, alike.
            values: Values, alike.
            mask: True where a query attends to a key.
        """
        # softmax(q Kᵀ / sqrt(d_head)) V over the keys that the mask allows
        query, keys, values = (self._by_head(x).transpose(1, 2) for x in (query, keys, values))
        attended = scaled_dot_product_attention(query, keys, values, attn_mask=mask.unsqueeze(1))
        return attended.transpose(1, 2).flatten(-2)

    def transform(
        self, hidden: Float[Tensor, "batch time d"], attended: Float[Tensor, "batch time d"]
    ) -> Float[Tensor, "batch time d"]:
        """Output of the layer.

        Args:
            hidden: Input of the layer.
            attended: Result of attention.
        """
        # x' = x + W_o attention,  x'' = x' + W_2 GELU(W_1 LayerNorm(x') + b_1) + b_2
        hidden = hidden + self.output(attended)
        result: Tensor = hidden + self.feed_forward(hidden)
        return result

    def _by_head(self, vectors: Float[Tensor, "*b d"]) -> Float[Tensor, "*b head dh"]:
        """Vectors cut into those of the heads."""
        return vectors.reshape(*vectors.shape[:-1], self.heads, -1)


def _gather_steps(values: Float[Tensor, "batch time d"], index: Tensor) -> Float[Tensor, "batch memory d"]:
    """Vectors of the given steps, by sequence."""
    return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _join_state(cache: list[Tensor], count: Float[Tensor, "batch"]) -> Float[Tensor, "batch state"]:
    """State with the keys and values of each layer and the number of steps so far."""
    return torch.cat([torch.stack(cache, dim=1).flatten(1), count.unsqueeze(1)], dim=1)
