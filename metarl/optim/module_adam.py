"""Adam on the parameters of a module, for losses that may not reach all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.optim.adam import AdamState, adam_start, adam_step
from metarl.optim.guard import UpdateGuard
from metarl.optim.vectors import flatten, unflatten


class ModuleAdam:
    """Adam on all parameters of a module, those that a loss does not depend on included.

    Args:
        module: Module to learn, on its device already.
        lr: Adam's step size.
        guard: Skips steps whose loss or gradient is not finite.
    """

    def __init__(self, module: nn.Module, lr: float, guard: UpdateGuard) -> None:
        self._module, self._lr, self._guard = module, lr, guard
        self._adam = adam_start(flatten(self._parameters()).detach())

    def step(self, loss: Float[Tensor, ""]) -> Float[Tensor, "n"]:
        """Takes a step down the gradient of a loss, unless one of the two is not finite.

        Returns:
            The gradient.

        Raises:
            RunFailure: See `UpdateGuard`.
        """
        parameters = self._parameters()
        values = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        gradient = flatten(dict(zip(parameters, values, strict=True)))
        if self._guard.passes(loss, gradient):
            vector, self._adam = adam_step(flatten(parameters).detach(), gradient, self._adam, self._lr)
            with torch.no_grad():
                for name, value in unflatten(vector, parameters).items():
                    parameters[name].copy_(value)
        return gradient

    def state_dict(self) -> dict[str, Tensor]:
        """Returns Adam's state; that of the module is not in it."""
        return self._adam._asdict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned, which is on the module's device."""
        self._adam = AdamState(**{name: state[name] for name in AdamState._fields})

    def _parameters(self) -> dict[str, Tensor]:
        return dict(self._module.named_parameters())
