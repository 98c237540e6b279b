"""Factors by which a simulator's masses, friction and damping differ from the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dynamics:
    """Factors of the quantities that the motion depends on; 1 leaves them as they are in the model."""

    mass: float = 1.0
    """Factor of all masses and moments of inertia."""
    friction: float = 1.0
    """Factor of all coefficients of contact friction."""
    damping: float = 1.0
    """Factor of all joints' damping."""


UNCHANGED = Dynamics()
"""The model as it is."""
