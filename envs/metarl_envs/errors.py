"""Errors that the user can mend, each told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Wrong input by the user: one line that names what is wrong and what would be right (exit code 2)."""


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """Makes a `UserError` for an unknown name, which suggests the nearest known one.

    Args:
        kind: Kind of the named thing, such as "Meta-World task".
        name: Name that the user wrote.
        options: Known names.
    """
    known = sorted(options)
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")
