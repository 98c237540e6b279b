"""Errors that are the user's to mend, told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user's input was wrong: one line that names what is wrong and what would be right (exit code 2)."""


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """A `UserError` for a name that is not among the options, with the nearest one suggested.

    Args:
        kind: What the name stands for, such as "Meta-World task".
        name: What the user wrote.
        options: The names that would be right.
    """
    known = sorted(options)
    nearest = get_close_matches(name, known, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}'; {hint}")
