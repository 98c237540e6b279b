"""What is to be reached, and whether it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A measured value and the bound it is held against."""

    what: str
    """What was measured."""
    value: float
    """What came out."""
    bound: float
    """What is to be reached."""
    at_most: bool = False
    """Whether the bound is one from above."""
    unit: str = ""
    """Of both."""

    @property
    def met(self) -> bool:
        """Whether the value is as it is to be."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def shown(self) -> str:
        """The value with two decimals, rounded to the side of failure: what looks met is met."""
        rounded = math.ceil(100 * self.value) if self.at_most else math.floor(100 * self.value)
        return f"{rounded / 100:.2f}{self.unit}"

    @property
    def wanted(self) -> str:
        """The bound."""
        return f"{'at most' if self.at_most else 'at least'} {self.bound:g}{self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, for a file."""
        keys = ("what", "value", "unit", "bound", "at_most", "met")
        return {key: getattr(self, key) for key in keys}
