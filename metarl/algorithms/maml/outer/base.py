"""Contract between the MAML family and its outer rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.optim.adam import AdamState
from metarl.optim.vectors import Parameters


class NonFiniteError(ArithmeticError):
    """A loss, gradient or parameter came out not finite; the rule that raises it is as it was before."""


class OuterStep(NamedTuple):
    """Result of an outer step."""

    theta: Parameters
    """The new meta-parameters."""
    metrics: dict[str, float]
    """Metrics by their logged names."""


class OuterRule(ABC):
    """Updates the meta-parameters by one meta-batch; may keep a state between iterations, such as Adam's moments."""

    @abstractmethod
    def step(self, objective: MetaObjective) -> OuterStep:
        """Takes one outer step from `objective.theta`.

        Raises:
            NonFiniteError: If there is no finite step to take.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """State by name; names and shapes never change."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state that `state_dict` returned."""
        assert not state


class AdamRule(OuterRule):
    """Outer rule whose state is that of Adam.

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
