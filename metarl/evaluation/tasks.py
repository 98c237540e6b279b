"""Selection of the tasks to evaluate."""

from collections import Counter
from collections.abc import Sequence

from metarl_envs.core import Task
from metarl_envs.errors import UserError


def select_tasks(
    tasks: Sequence[Task], tasks_per_name: int | None, *, or_all: bool = False, option: str = "tasks_per_name"
) -> list[Task]:
    """Selects the first tasks of each name, in the order given; draws nothing at random.

    Args:
        tasks: Tasks to select from.
        tasks_per_name: Number of tasks of each name; None takes all.
        or_all: True to take all tasks of a name that has fewer.
        option: Name of the number in messages.

    Raises:
        UserError: If `tasks_per_name` is below 1, or a name has fewer tasks and `or_all` is false.
    """
    if tasks_per_name is None:
        return list(tasks)
    if tasks_per_name < 1:
        raise UserError(f"{option} must be at least 1: got {tasks_per_name}")
    for name, count in Counter(task.name for task in tasks).items():
        if count < tasks_per_name and not or_all:
            raise UserError(f"{option} must be at most {count}, as {name} has no more: got {tasks_per_name}")
    taken: Counter[str] = Counter()
    selected = []
    for task in tasks:
        if taken[task.name] < tasks_per_name:
            taken[task.name] += 1
            selected.append(task)
    return selected
