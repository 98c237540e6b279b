"""Errors that the user can mend, each told in one line."""

import os
import traceback
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Wrong input by the user: one line that names what is wrong and what would be right (exit code 2)."""


class WorkerFailure(RuntimeError):
    """Failure of a process that steps environments, or of the environments in it."""


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


def one_line(error: BaseException) -> str:
    """Returns type and message of an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def place(error: BaseException) -> str:
    """Returns the file and line where an exception was raised, such as "my_env.py, line 3"."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}"
