"""Full context embeddings of matching networks (Vinyals et al. 2016, section 2.1.2 and appendix A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SupportLSTM(nn.Module):
    """Embeds each example in the context of the support, by an LSTM in either direction over its examples.

    The examples are a sequence here, in the order in which they were drawn, and the result depends on it.

    Args:
        size: Length of an embedding.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(size, size, batch_first=True, bidirectional=True)

    def forward(self, support: Float[Tensor, "task example z"]) -> Float[Tensor, "task example z"]:
        """Returns g(x_i, S) = h_i forward + h_i backward + g'(x_i)."""
        forward, backward = self.rnn(support)[0].chunk(2, dim=-1)
        embedded: Tensor = forward + backward + support
        return embedded


class AttentionLSTM(nn.Module):
    """Embeds each query in the context of the support, by an LSTM that attends to it (Vinyals et al. 2015).

    Args:
        size: Length of an embedding.
        steps: K, number of steps.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(size, size)
        self.read = nn.Linear(size, size, bias=False)
        """Map of what was read, r, into the hidden vector's place: [h, r] of the paper as one vector."""
        self._steps = steps

    def forward(
        self, queries: Float[Tensor, "task query z"], support: Float[Tensor, "task example z"]
    ) -> Float[Tensor, "task query z"]:
        """Returns f(x^, S) = attLSTM(f'(x^), g(S), K)."""
        start = queries.flatten(0, 1)
        hidden, cell = torch.zeros_like(start), torch.zeros_like(start)
        for _ in range(self._steps):
            # r = sum_i softmax_i(hᵀ g_i) g_i;  h^, c = LSTM(f', [h, r], c);  h = h^ + f'
            weights = (hidden.view_as(queries) @ support.transpose(1, 2)).softmax(-1)
            reading = (weights @ support).flatten(0, 1)
            hidden, cell = self.cell(start, (hidden + self.read(reading), cell))
            hidden = hidden + start
        return hidden.view_as(queries)
