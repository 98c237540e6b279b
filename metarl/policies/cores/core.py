"""Contract of recurrent cores.

The state of every core is a matrix `(batch, state)` with one row per sequence, so that rows can be selected, stored and
exported without knowledge of the core.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

CoreStep = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps features `(batch, f)` and state to output and state, see `Core.step`."""


class Core(nn.Module, ABC):
    """Causal map from sequences of feature vectors to sequences of outputs."""

    output_size: int
    """Length of an output vector."""

    @abstractmethod
    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """State at the start of a trial."""

    @abstractmethod
    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Outputs along sequences that start from a state, and the state after the last step.

        Args:
            features: Feature vectors of each step.
            state: State before the first step.
        """

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """Output of one step and the state after it; equal to `sequence` on one step.

        Args:
            features: Feature vectors of the step.
            state: State before the step.
        """
        output, state = self.sequence(features.unsqueeze(1), state)
        return output.squeeze(1), state

    def prepare_step(self) -> CoreStep:
        """Returns `step` for many calls, without a gradient, as long as the weights stay as they are now."""
        return self.step
