"""Gradient steps that a number gone wrong does not spoil."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.errors import RunFailure

_MAX_SKIPPED = 5
"""Updates skipped one after the other at which a run is given up."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Guard:
    """Lets updates pass whose numbers are finite, and counts the others."""

    def __init__(self) -> None:
        self.skipped = 0
        """Updates skipped since this was last set to zero."""
        self.in_a_row = 0
        """Updates skipped since the last one that passed."""

    def passes(self, *numbers: Tensor) -> bool:
        """Whether an update with these numbers, such as its loss and its gradient, may be made.

        Raises:
            RunFailure: If it is the fifth in a row that may not.
        """
        if all(bool(torch.isfinite(each).all()) for each in numbers):
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= _MAX_SKIPPED:
            raise RunFailure(
                f"the loss or its gradient was not finite {_MAX_SKIPPED} updates in a row; lower the step size under"
                " algorithm.outer, or check the task's rewards; the last checkpoint is as it was"
            )
        return False


class Descent:
    """Adam (Kingma and Ba 2015) along gradients of bounded length.

    Args:
        module: What is learned.
        parts: Parts that make up the module; the gradient of each is clipped by itself.
        lr: Adam's step size.
        max_grad_norm: Gradients longer than this are shortened to it.
        guard: Has a say in every step.
    """

    def __init__(
        self, module: nn.Module, parts: Sequence[nn.Module], lr: float, max_grad_norm: float, guard: Guard
    ) -> None:
        self._module = module
        self._parts = parts
        self._max_grad_norm = max_grad_norm
        self._guard = guard
        self.optimizer = torch.optim.Adam(module.parameters(), lr, eps=1e-5)

    def differentiate(self, losses: Iterable[Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """Takes the gradient of a sum; what each term kept for its own is let go before the next is asked for.

        Returns:
            The sum.
        """
        self.optimizer.zero_grad()
        values = []
        for loss in losses:
            loss.backward()  # type: ignore[no-untyped-call]
            values.append(loss.detach())
        return torch.stack(values).sum()

    def step(self, loss: Float[Tensor, ""]) -> None:
        """One step down the loss that `differentiate` was given, unless the guard objects.

        Raises:
            RunFailure: See `Guard`.
        """
        norms = [nn.utils.clip_grad_norm_(part.parameters(), self._max_grad_norm) for part in self._parts]
        if self._guard.passes(loss, *norms):
            self.optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments by parameter."""
        return {
            f"{name}.{key}": tensor
            for name, parameter in self._module.named_parameters()
            for key, tensor in self.optimizer.state[parameter].items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        for name, parameter in self._module.named_parameters():
            moments = {key: state[f"{name}.{key}"].clone() for key in _MOMENTS if f"{name}.{key}" in state}
            if moments:
                self.optimizer.state[parameter] = moments
