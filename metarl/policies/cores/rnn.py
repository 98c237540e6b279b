"""Gated recurrent networks as cores, with the parameters and the fused forms of PyTorch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.curvature import is_twice_differentiable
from metarl.policies.config import GRUConfig, LSTMConfig
from metarl.policies.cores.core import Core
from metarl.policies.cores.gru import GRUSequence

_NUMBERS_AT_ONCE = 6 * 2**20
"""Gates in one tensor, four vectors for each step of each sequence. Longer sequences are cut: memory of tensors below
32 MiB is used again (`metarl.devices.keep_freed_memory`)."""


class GRUCore(Core):
    """A gated recurrent unit; the state is its hidden vector.

    Args:
        input_size: Length of a feature vector.
        config: The settings.
    """

    def __init__(self, input_size: int, config: GRUConfig) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.rnn = nn.GRU(input_size, config.hidden_size, batch_first=True)
        _initialize(self.rnn)

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Zeros."""
        return next(self.rnn.parameters()).new_zeros(batch, self.output_size)

    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """See `Core`."""
        if torch.is_grad_enabled() and features.device.type == "cpu" and not is_twice_differentiable():
            hidden = []
            length = max(1, _NUMBERS_AT_ONCE // (4 * self.output_size * len(features)))
            for part in torch.split(features.transpose(0, 1), length):
                hidden.append(GRUSequence.apply(part, state, *self.rnn.parameters()))  # type: ignore[no-untyped-call]
                state = hidden[-1][-1]
            return torch.cat(hidden).transpose(0, 1), state
        outputs, last = self.rnn(features, state.unsqueeze(0).contiguous())
        return outputs, last.squeeze(0)

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """See `Core`."""
        after = torch.gru_cell(features, state, *self.rnn.parameters())
        return after, after


class LSTMCore(Core):
    """Long short-term memory; the state is the hidden vector followed by the cell vector.

    Args:
        input_size: Length of a feature vector.
        config: The settings.
    """

    def __init__(self, input_size: int, config: LSTMConfig) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.rnn = nn.LSTM(input_size, config.hidden_size, batch_first=True)
        _initialize(self.rnn)
        # Gates are ordered input, forget, cell, output; open forget gates keep gradients alive over long trials.
        nn.init.ones_(dict(self.rnn.named_parameters())["bias_hh_l0"].data[config.hidden_size : 2 * config.hidden_size])

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Zeros."""
        return next(self.rnn.parameters()).new_zeros(batch, 2 * self.output_size)

    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """See `Core`."""
        hidden, cell = state.unsqueeze(0).chunk(2, dim=-1)
        outputs, last = self.rnn(features, (hidden.contiguous(), cell.contiguous()))
        return outputs, torch.cat(last, dim=-1).squeeze(0)

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """See `Core`."""
        hidden, cell = torch.lstm_cell(features, state.chunk(2, dim=-1), *self.rnn.parameters())
        return hidden, torch.cat([hidden, cell], dim=-1)


def _initialize(rnn: nn.RNNBase) -> None:
    """Orthogonal recurrent weights, Xavier's uniform input weights, zero biases."""
    for name, parameter in rnn.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        elif "weight" in name:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
