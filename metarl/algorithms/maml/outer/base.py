"""The contract between the MAML family and its outer rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.algorithms.maml.problem import Problem
from metarl.optim.adam import AdamState
from metarl.optim.vectors import Parameters


class NonFiniteError(ArithmeticError):
    """A loss, gradient or parameter came out not finite; the rule that raises it is as it was before."""


class OuterStep(NamedTuple):
    """What an outer rule came to."""

    theta: Parameters
    """The new meta-parameters."""
    metrics: dict[str, float]
    """By their logged names."""


class OuterRule(ABC):
    """Improves the meta-parameters by one meta-batch; what it remembers between iterations is its state."""

    @abstractmethod
    def step(self, problem: Problem) -> OuterStep:
        """New meta-parameters for `problem.theta`.

        Raises:
            NonFiniteError: If there is no finite step to take.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What it remembers, by name; always the same names and shapes."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        assert not state  # there is nothing to take over


class AdamRule(OuterRule):
    """An outer rule that remembers the state of Adam.

    Args:
        state: The state before the first step.
    """

    def __init__(self, state: AdamState) -> None:
        self._adam = state

    def state_dict(self) -> dict[str, Tensor]:
        """See `OuterRule`."""
        return self._adam._asdict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `OuterRule`."""
        self._adam = AdamState(**{name: state[name].to(like) for name, like in self._adam._asdict().items()})


def check_finite(loss: Tensor, gradient: Tensor) -> float:
    """The gradient's norm.

    Raises:
        NonFiniteError: If it or the loss is not finite.
    """
    norm: Tensor = torch.linalg.vector_norm(gradient)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise NonFiniteError("the meta-gradient is not finite")
    return float(norm)
