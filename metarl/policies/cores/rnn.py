"""Gated recurrent networks as cores, with PyTorch's parameters and fused kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.curvature import is_twice_differentiable
from metarl.policies.config import GRUConfig, LSTMConfig
from metarl.policies.cores.core import Core, CoreStep
from metarl.policies.cores.gru import GRUSequence

_MAX_GATE_NUMBERS = 6 * 2**20
"""Bound on the numbers in a tensor of gates, which has four vectors per step and sequence. Longer sequences are cut,
since the allocator reuses memory of tensors below 32 MiB only (`metarl.devices.keep_freed_memory`)."""


class GRUCore(Core):
    """Gated recurrent unit; its state is the hidden vector.

    In learning on the CPU it runs `GRUSequence`, elsewhere PyTorch's own kernels.

    Args:
        input_size: Length of a feature vector.
        config: Settings.
    """

    def __init__(self, input_size: int, config: GRUConfig) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.rnn = nn.GRU(input_size, config.hidden_size, batch_first=True)
        _initialize(self.rnn)
        if config.longest_memory is not None:
            # z = sigmoid(b) keeps the share u / (u + 1) of h in a step, which is a memory of about u = e^b steps.
            # PyTorch orders the gates (r, z, n).
            memories = 1 + (config.longest_memory - 2) * torch.rand(config.hidden_size)
            keep = dict(self.rnn.named_parameters())["bias_ih_l0"].data[config.hidden_size : 2 * config.hidden_size]
            keep.copy_(memories.log())

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Zero vectors."""
        return next(self.rnn.parameters()).new_zeros(batch, self.output_size)

    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """See `Core`."""
        if torch.is_grad_enabled() and features.device.type == "cpu" and not is_twice_differentiable():
            hidden = []
            length = max(1, _MAX_GATE_NUMBERS // (4 * self.output_size * len(features)))
            for steps in torch.split(features.transpose(0, 1), length):
                hidden.append(GRUSequence.apply(steps, state, *self.rnn.parameters()))  # type: ignore[no-untyped-call]
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

    def prepare_step(self) -> CoreStep:
        """See `Core`."""
        # Columns in a row: the product of few rows with the weights then need not copy them first.
        parameters = [each.detach() for each in self.rnn.parameters()]
        weights = [each.t().contiguous().t() if each.dim() == 2 else each.clone() for each in parameters]

        def step(features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            after = torch.gru_cell(features, state, *weights)
            return after, after

        return step


class LSTMCore(Core):
    """Long short-term memory; its state is the hidden vector followed by the cell vector.

    Args:
        input_size: Length of a feature vector.
        config: Settings.
    """

    def __init__(self, input_size: int, config: LSTMConfig) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.rnn = nn.LSTM(input_size, config.hidden_size, batch_first=True)
        _initialize(self.rnn)
        # c' = f c + i g: a bias of 1 opens the forget gate f, which keeps gradients alive over long trials. PyTorch
        # orders the gates (i, f, g, o).
        nn.init.ones_(dict(self.rnn.named_parameters())["bias_hh_l0"].data[config.hidden_size : 2 * config.hidden_size])

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Zero vectors."""
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
    """Sets orthogonal recurrent weights, Xavier-uniform input weights and zero biases."""
    for name, parameter in rnn.named_parameters():
        if "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        elif "weight" in name:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
