"""Meta-World's scripted experts, which are told the goal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from metaworld.policies import ENV_POLICY_MAP
from metaworld.policies.policy import Policy

from metarl_envs.core import FloatArray, Task


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
