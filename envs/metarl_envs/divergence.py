"""Record of an episode whose simulation diverged, by which it can be replayed."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from metarl_envs.core import FloatArray, Task
from metarl_envs.dynamics import UNCHANGED, Dynamics


@dataclass(frozen=True)
class Divergence:
    """An episode up to the step in which MuJoCo found a state that was huge or not finite.

    Physics is deterministic: task, dynamics, initial state and actions determine every state in between.
    """

    task: Task
    """Task of the episode."""
    initial_state: FloatArray
    """MuJoCo's integration state (`mjSTATE_INTEGRATION`) at the episode's start."""
    actions: FloatArray
    """Actions `(step, action)` up to the step that diverged."""
    dynamics: Dynamics = UNCHANGED
    """Factors of masses, friction and damping in the episode."""

    def save(self, path: Path | BytesIO) -> None:
        """Writes an npz file, or to an open one, without pickled objects."""
        np.savez(
            path,
            name=np.array(self.task.name),
            parameters=self.task.parameters,
            initial_state=self.initial_state,
            actions=self.actions,
            dynamics=np.array(astuple(self.dynamics)),
        )

    @staticmethod
    def load(path: Path | BytesIO) -> Divergence:
        """Reads a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            task = Task(str(file["name"]), file["parameters"])
            dynamics = Dynamics(*file["dynamics"].tolist()) if "dynamics" in file else UNCHANGED
            return Divergence(task, file["initial_state"], file["actions"], dynamics)
