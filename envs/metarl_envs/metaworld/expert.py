"""Meta-World's scripted experts, which are told the goal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from metaworld.policies import ENV_POLICY_MAP
from metaworld.policies.policy import Policy

from metarl_envs.core import FloatArray, Task
from metarl_envs.metaworld.class_model import ClassModel
from metarl_envs.metaworld.reference import GOAL


class Experts:
    """The expert of each class of tasks; none has a memory, so all environments share them."""

    def __init__(self) -> None:
        self._experts: dict[str, Policy] = {}

    def act(self, tasks: Sequence[Task], observations: FloatArray) -> npt.NDArray[Any]:
        """Chooses the experts' actions `(env, 4)`, clipped to the action space.

        Args:
            tasks: Task of each environment.
            observations: Observations `(env, 39)` that show the goal.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Constant")  # says that actions beyond the space are clipped, as here
            actions = [self._expert(task.name).get_action(row) for task, row in zip(tasks, observations, strict=True)]
        return np.clip(np.stack(actions), -1.0, 1.0)

    def _expert(self, name: str) -> Policy:
        if name not in self._experts:
            make: Callable[[], Policy] = ENV_POLICY_MAP[name]
            self._experts[name] = make()
        return self._experts[name]


def have_experts(names: Iterable[str]) -> bool:
    """Returns true if each of these classes of tasks has an expert; classes of the user's own have none."""
    return ENV_POLICY_MAP.keys() >= set(names)


class GoalTold:
    """Experts that are told the goal by the task, for observations that may hide it; see `metarl_envs.core.Expert`."""

    def __init__(self) -> None:
        self._experts = Experts()
        self._class_models: dict[str, ClassModel] = {}
        self._goals: dict[str, FloatArray] = {}

    def __call__(self, tasks: Sequence[Task], observations: FloatArray) -> npt.NDArray[Any]:
        """Chooses the actions `(row, 4)` for the tasks of rows and their observations `(row, obs)`.

        A task's goal is read once, which takes 8 ms.
        """
        shown = observations[:, : GOAL.stop].copy()
        shown[:, GOAL] = [self._goal(task) for task in tasks]
        return self._experts.act(tasks, shown)

    def _goal(self, task: Task) -> FloatArray:
        """Goal `(3,)` as observations show it after an episode's first."""
        if task.id not in self._goals:
            if task.name not in self._class_models:
                self._class_models[task.name] = ClassModel(task.name)
            self._goals[task.id] = self._class_models[task.name].task_state(task).goals[1]
        return self._goals[task.id]
