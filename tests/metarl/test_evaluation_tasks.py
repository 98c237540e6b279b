import pytest

from metarl.evaluation.tasks import select_tasks
from metarl_envs.core import Task
from metarl_envs.errors import UserError

TASKS = [Task("a", [0]), Task("b", [1]), Task("a", [2]), Task("b", [3]), Task("a", [4])]


@pytest.mark.parametrize(("count", "kept"), [(1, [0, 1]), (2, [0, 1, 2, 3]), (None, [0, 1, 2, 3, 4])])
def test_the_first_of_each_name_are_taken_in_order(count, kept) -> None:
    assert select_tasks(TASKS, count) == [TASKS[index] for index in kept]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (3, "tasks_per_name must be at most 2, as b has no more: got 3"),
        (0, "tasks_per_name must be at least 1: got 0"),
        (-1, "tasks_per_name must be at least 1: got -1"),
    ],
)
def test_counts_that_cannot_be_are_refused(count, message) -> None:
    with pytest.raises(UserError, match=message):
        select_tasks(TASKS, count)
