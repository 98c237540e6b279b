"""Words about a run that pages and cards share."""

from __future__ import annotations

from collections.abc import Mapping

_PACKAGES = ("torch", "mujoco", "metaworld", "gymnasium", "numpy")


def duration(seconds: float) -> str:
    """Returns a duration in the largest unit that it fills."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def packages(versions: Mapping[str, str]) -> str:
    """Returns the versions of the packages that results depend on, in a line."""
    found = [f"{name} {versions[name]}" for name in _PACKAGES if name in versions]
    return ", ".join([f"Python {versions.get('python', 'unknown')}", *found])


def plural(count: int, noun: str) -> str:
    """Returns a number of things, such as "3 episodes"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
