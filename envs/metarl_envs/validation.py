"""Training tasks put aside: what settings are chosen by, so that no test task is ever looked at."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import numpy as np

from metarl_envs.core import Expert, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.counts import check_counts
from metarl_envs.errors import UserError

T = TypeVar("T")


class Validation(TaskDistribution):
    """Training tasks of a family, of which some are put aside: those are its test tasks.

    The family's own test tasks are in neither split. Tasks are put aside at random, by a seed.

    Args:
        family: Family whose training tasks to split.
        by: "tasks" puts aside some tasks of each name, "classes" all tasks of some names.
        count: Number of tasks of each name, or of names, to put aside.
        seed: Seed of the choice.

    Raises:
        UserError: If the family holds nothing out itself, or nothing would be left to train on.
    """

    def __init__(self, family: TaskDistribution, by: Literal["tasks", "classes"], count: int, seed: int = 1) -> None:
        if not family.held_out:
            raise UserError(
                f"{family.name}: its test tasks are its training tasks, so none can be put aside without playing them"
            )
        check_counts(count=count)
        self.family = family
        aside = _draw(family, by, count, np.random.default_rng(seed))
        self.renderable, self.positions, self.shown = family.renderable, family.positions, family.shown
        self.task_visible = family.task_visible
        super().__init__(
            name=f"{family.name}-validation",
            train_tasks=[task for task in family.train_tasks if not aside(task)],
            test_tasks=[task for task in family.train_tasks if aside(task)],
            observation_space=family.observation_space,
            action_space=family.action_space,
            horizon=family.horizon,
        )

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """See `TaskDistribution`."""
        self.family.workers = self.workers
        return self.family.make_env(num_envs, render_mode)

    def expert(self) -> Expert | None:
        """See `TaskDistribution`."""
        return self.family.expert()


def _draw(family: TaskDistribution, by: str, count: int, rng: np.random.Generator) -> Callable[[Task], bool]:
    """Draws what is put aside, and returns the function that recognises it."""
    by_name: dict[str, list[Task]] = {}
    for task in dict.fromkeys(family.train_tasks):
        by_name.setdefault(task.name, []).append(task)
    if by == "classes":
        names = set(_choose(list(by_name), count, rng, f"{family.name} has {{}} classes of training tasks"))
        return lambda task: task.name in names
    tasks: set[Task] = set()
    for name, group in by_name.items():
        tasks.update(_choose(group, count, rng, f"{family.name} has {{}} training tasks of {name}"))
    return lambda task: task in tasks


def _choose(among: Sequence[T], count: int, rng: np.random.Generator, what: str) -> list[T]:
    if count >= len(among):
        least = f"put aside at most {len(among) - 1}" if len(among) > 1 else "put aside the other kind"
        raise UserError(f"{what.format(len(among))}, so that {count} put aside leave none to train on; {least}")
    return [among[index] for index in rng.permutation(len(among))[:count]]
