"""Evidence of a simulation that blew up: enough to play it again, without a cost to those that did not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarl_envs.core import FloatArray, Task


@dataclass(frozen=True)
class Divergence:
    """An episode up to the step in which MuJoCo found a state that was not finite, or huge.

    Physics is deterministic, so the task, the state the episode began in and its actions give every state in between.
    """

    task: Task
    """What was played."""
    initial_state: FloatArray
    """MuJoCo's integration state (`mjSTATE_INTEGRATION`) at the episode's start."""
    actions: FloatArray
    """`(step, action)`, the last one being that of the step that diverged."""

    def save(self, path: Path) -> None:
        """Writes it as an npz file without pickled objects."""
        np.savez(
            path,
            name=np.array(self.task.name),
            parameters=self.task.parameters,
            initial_state=self.initial_state,
            actions=self.actions,
        )

    @staticmethod
    def load(path: Path) -> Divergence:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            task = Task(str(file["name"]), file["parameters"])
            return Divergence(task, file["initial_state"], file["actions"])
