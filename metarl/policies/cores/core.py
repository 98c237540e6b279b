"""The contract of recurrent cores.

A core's state is a single matrix `(batch, state)`, a row per sequence, whatever the core keeps in it: rows can be
selected, stored and exported without knowing what they hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Core(nn.Module, ABC):
    """Maps sequences of feature vectors to sequences of outputs, each of which depends on nothing that comes later."""

    output_size: int
    """Length of an output vector."""

    @abstractmethod
    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """The state at the start of a trial."""

    @abstractmethod
    def sequence(
        self, features: Float[Tensor, "batch time f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch state"]]:
        """Outputs along sequences that go on from a state, and the state after the last step."""

    def step(
        self, features: Float[Tensor, "batch f"], state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch state"]]:
        """The output of one step and the state after it: what `sequence` gives, a step at a time."""
        output, state = self.sequence(features.unsqueeze(1), state)
        return output.squeeze(1), state
