"""Adam on gradients of bounded norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.guard import UpdateGuard

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class ClippedAdam:
    """Adam (Kingma and Ba 2015) on gradients whose norm is clipped.

    Args:
        network: Network whose parameters are learned.
        clipped_apart: Modules that the network consists of; the gradient of each is clipped separately.
        lr: Adam's step size.
        max_grad_norm: Norm that longer gradients are scaled down to.
        guard: Skips steps whose loss or gradient is not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        clipped_apart: Sequence[nn.Module],
        lr: float,
        max_grad_norm: float,
        guard: UpdateGuard,
    ) -> None:
        self._network = network
        self._clipped_apart = clipped_apart
        self._max_grad_norm = max_grad_norm
        self._guard = guard
        self._adam = torch.optim.Adam(network.parameters(), lr, eps=1e-5)

    def accumulate_gradient(self, losses: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """Computes the gradient of a sum of losses; frees each loss's graph before it asks for the next loss.

        Returns:
            The sum.
        """
        self._adam.zero_grad()
        values = []
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]
            values.append(loss.detach())
        return torch.stack(values).sum()

    def step(self, loss: Float[Tensor, ""]) -> None:
        """Takes one step along the accumulated gradient, unless it or its loss is not finite.

        Args:
            loss: Loss that the gradient belongs to.

        Raises:
            RunFailure: See `UpdateGuard`.
        """
        # g <- g * min(1, max_grad_norm / |g|), for each module of its own
        norms = [nn.utils.clip_grad_norm_(module.parameters(), self._max_grad_norm) for module in self._clipped_apart]
        if self._guard.passes(loss, *norms):
            self._adam.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments by parameter name; zeros before the first step, as which Adam starts them."""
        state: dict[str, Tensor] = {}
        for name, parameter in self._network.named_parameters():
            start = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter)}
            moments = start | {"exp_avg_sq": start["exp_avg"]} | self._adam.state[parameter]
            state |= {f"{name}.{key}": tensor.detach() for key, tensor in moments.items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        for name, parameter in self._network.named_parameters():
            self._adam.state[parameter] = {key: state[f"{name}.{key}"].clone() for key in _MOMENTS}
