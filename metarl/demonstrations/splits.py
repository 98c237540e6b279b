"""Splits of demonstrations by class and by goal, whose parts never overlap and are the same for everybody."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metarl.demonstrations.data import Demonstrations
from metarl_envs.core import Task
from metarl_envs.errors import UserError


class ClassSplit(NamedTuple):
    """Names of classes, in parts without a common one."""

    train: tuple[str, ...]
    """Classes to learn from."""
    validation: tuple[str, ...]
    """Classes to choose settings by; may be empty."""
    test: tuple[str, ...]
    """Classes to report on."""


def split_classes(classes: Sequence[str], split: str) -> ClassSplit:
    """Splits classes by the name of a split.

    Args:
        classes: Names of all classes, in any order.
        split: "ML10", "ML25" or "ML45" for Meta-World's splits, without validation; or numbers of classes to train,
            validate and test on, such as "30/10/10", drawn by hashes of the names.

    Raises:
        UserError: If the split is none of these, or needs other or more classes.
    """
    known = sorted(set(classes))
    parts = _of_benchmark(split) if split.startswith("ML") else _by_numbers(known, split)
    if set(parts.train) & set(parts.test):  # Meta-World's own ML25 has basketball-v3 in both
        parts = parts._replace(test=tuple(name for name in parts.test if name not in parts.train))
    missing = sorted({name for part in parts for name in part} - set(known))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"split '{split}' needs demonstrations of {missing[0]}{more}, of which there are none")
    return parts


def split_goals(demonstrations: Demonstrations, test: float = 0.2) -> tuple[Demonstrations, Demonstrations]:
    """Splits demonstrations by goal: all those of a goal are on one side, and each class is on both.

    Args:
        demonstrations: Demonstrations of at least two goals of each class.
        test: Share of the goals of each class that is held out, 0 to 1: at least one goal, and not all.

    Returns:
        Demonstrations to train on, and held-out ones.

    Raises:
        UserError: If the share is out of its range, or there is but one goal of a class.
    """
    if not 0 < test < 1:
        raise UserError(f"test must be a share between 0 and 1: got {test:g}")
    held_out: set[Task] = set()
    for name in demonstrations.classes:
        tasks = [task for task in demonstrations.tasks if task.name == name]
        if len(tasks) < 2:
            raise UserError(f"{demonstrations.name} shows one goal of {name}: a split by goal needs two of each class")
        # n_test = round(share * n), at least 1 and at most n - 1
        count = min(max(1, round(test * len(tasks))), len(tasks) - 1)
        held_out.update(sorted(tasks, key=lambda task: _hash(task.id))[:count])
    return (
        demonstrations.where(lambda each: each.task not in held_out),
        demonstrations.where(lambda each: each.task in held_out),
    )


def _of_benchmark(split: str) -> ClassSplit:
    from metarl_envs.metaworld import benchmark_classes  # takes seconds to import

    try:
        train, test = benchmark_classes(split)
    except KeyError:
        raise UserError(f"unknown split '{split}': give ML10, ML25, ML45 or numbers such as 30/10/10") from None
    return ClassSplit(train, (), test)


def _by_numbers(classes: Sequence[str], split: str) -> ClassSplit:
    numbers = re.fullmatch(r"(\d{1,4})/(\d{1,4})/(\d{1,4})", split)
    if numbers is None:
        raise UserError(f"unknown split '{split}': give ML10, ML25, ML45 or numbers such as 30/10/10")
    train, validation, test = (int(number) for number in numbers.groups())
    if not train or not test or train + validation + test > len(classes):
        raise UserError(
            f"split '{split}' of {len(classes)} classes: it must train on one and test on one at least, and"
            f" {train + validation + test} classes must be there"
        )
    order = _shuffled(classes)
    ends = train, train + validation, train + validation + test
    return ClassSplit(*(tuple(sorted(order[first:end])) for first, end in zip((0, *ends), ends, strict=False)))


def _shuffled(names: Iterable[str]) -> list[str]:
    """Orders names by their hashes, an order that looks random and depends on nothing else."""
    return sorted(names, key=_hash)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
