"""Targets and their verdicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """Measured value and its bound."""

    what: str
    """Name of the quantity."""
    value: float
    """Measured value."""
    bound: float
    """Bound on the value."""
    at_most: bool = False
    """True if the bound is an upper one."""
    unit: str = ""
    """Unit of value and bound."""

    @property
    def met(self) -> bool:
        """True if the value is within its bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def shown(self) -> str:
        """Value with two decimals, rounded towards failure: a target that looks met is met."""
        rounded = math.ceil(100 * self.value) if self.at_most else math.floor(100 * self.value)
        return f"{rounded / 100:.2f}{self.unit}"

    @property
    def wanted(self) -> str:
        """Bound in words."""
        return f"{'at most' if self.at_most else 'at least'} {self.bound:g}{self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields for a JSON file."""
        keys = ("what", "value", "unit", "bound", "at_most", "met")
        return {key: getattr(self, key) for key in keys}
