"""Whole numbers that a user may set: their types for pydantic, and the same bounds as a function."""

from operator import index
from typing import Annotated, Any

from pydantic import Field

from metarl_envs.errors import UserError

MOST = 1_000_000
"""Largest number of tasks, episodes, steps and the like; what is beyond it is a slip of the pen."""
MOST_NUMBERS = 10**9
"""Largest number of parameters that the tasks of a split may have together: 8 GB."""

Count = Annotated[int, Field(gt=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]


def check_counts(**counts: Any) -> None:
    """Checks numbers of tasks, steps and the like, given by their names.

    Raises:
        UserError: If one is not a whole number from 1 to a million.
    """
    for name, value in counts.items():
        _check_whole(name, value, 1, MOST)


def check_seed(seed: Any) -> None:
    """Checks a seed.

    Raises:
        UserError: If it is not a whole number from 0 to 2**64 - 1.
    """
    _check_whole("seed", seed, 0, 2**64 - 1)


def check_size(tasks: int, numbers: int) -> None:
    """Checks that the parameters of a split fit into memory.

    Args:
        tasks: Number of tasks.
        numbers: Number of parameters of each.

    Raises:
        UserError: If they do not.
    """
    if tasks * numbers > MOST_NUMBERS:
        raise UserError(
            f"{tasks} tasks of {numbers} numbers each take {tasks * numbers * 8 / 1e9:,.0f} GB: make tasks fewer or"
            f" smaller, to at most {MOST_NUMBERS * 8 / 1e9:.0f} GB"
        )


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise UserError(f"{name} must be a whole number from {least} to {most}: got {value!r}")
