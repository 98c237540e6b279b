"""Tasks that are known from demonstrations: a family without a simulator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from metarl.demonstrations.data import Demonstrations
from metarl.demonstrations.reading import load
from metarl.demonstrations.splits import split_classes
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError


class ShownTasks(TaskDistribution):
    """Tasks of a dataset of demonstrations, split by class.

    Args:
        demonstrations: The dataset.
        test: Names of the held-out classes.
        train: Names of the training classes; empty is all that are not held out.

    Raises:
        UserError: If a class is not in the dataset or in both splits, or no class is left to train on.
    """

    renderable = False
    simulated = False

    def __init__(self, demonstrations: Demonstrations, test: Sequence[str], train: Sequence[str] = ()) -> None:
        train = train or [name for name in demonstrations.classes if name not in test]
        both = sorted({*train} & {*test})
        if both:
            raise UserError(f"tasks: {both[0]} is in both train and test")
        self.train = demonstrations.of_classes(train)
        """Demonstrations of the training classes."""
        self.test = demonstrations.of_classes(test)
        """Demonstrations of the held-out classes."""
        super().__init__(
            name=demonstrations.name,
            train_tasks=self.train.tasks,
            test_tasks=self.test.tasks,
            observation_space=demonstrations.observation_space,
            action_space=demonstrations.action_space,
            horizon=max(map(len, demonstrations)),
        )

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """Raises, as nothing can be played.

        Raises:
            UserError: Always.
        """
        raise UserError(f"the tasks of {self.name} are known from demonstrations only: they cannot be played")

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tasks, their splits and all episodes; a checkpoint is resumed only with the same."""
        digest = hashlib.sha256(super().fingerprint.encode())
        for each in (*self.train, *self.test):
            digest.update(each.task.id.encode() + each.observations.tobytes() + each.actions.tobytes())
        return digest.hexdigest()[:16]


def shown_tasks(
    dataset: str, split: str | None, test: Sequence[str], hold_out: Literal["test", "validation"], frames: bool
) -> ShownTasks:
    """Reads a dataset and splits its classes; see `metarl.config.tasks.DemonstrationTasks`.

    Raises:
        UserError: If there is no such dataset, it is damaged, or it lacks classes.
    """
    if (split is None) == (not test):
        raise UserError("tasks: give either split, such as ML45 or 30/10/10, or test, the names of held-out classes")
    demonstrations = load(dataset, frames=frames)
    if split is None:
        return ShownTasks(demonstrations, test)
    parts = split_classes(demonstrations.classes, split)
    held_out = getattr(parts, hold_out)
    if not held_out:
        raise UserError(f"tasks.hold_out: split {split} has no classes to choose settings by")
    return ShownTasks(demonstrations, held_out, parts.train)
