"""Adam on gradients of bounded norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.guard import UpdateGuard
from metarl.ranks import ALONE, Ranks

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

    def accumulate_gradient(
        self, passes: Iterable[Float[Tensor, "number"]], numbers: int = 1, ranks: Ranks = ALONE
    ) -> Float[Tensor, "number"]:
        """Computes the gradient of a loss that is a sum over passes and ranks; frees each graph before the next pass.

        Args:
            passes: Numbers of each pass, of which the first is its loss; none where a rank has no rows.
            numbers: How many numbers a pass has.
            ranks: Ranks that learn together.

        Returns:
            Sum of the numbers over passes and ranks.
        """
        self._adam.zero_grad()
        parameters = list(self._network.parameters())
        total = parameters[0].new_zeros(numbers)
        for each in passes:
            each[0].backward()  # type: ignore[no-untyped-call]
            total += each.detach()
        # dL/dθ = Σ_ranks dL_rank/dθ; the loss and the other numbers go round with the gradient
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        *gradients, total = ranks.sum(*own, total)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return total

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
