"""A few environments of one class that one thread steps and evaluates together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from envs.core import FloatArray
from envs.metaworld.blueprints import STATE, Blueprint, TaskState
from envs.metaworld.snapshot import Snapshot
from envs.metaworld.task_class import Outcome, observe

_MOCAP_QUATERNION = np.array([1.0, 0.0, 1.0, 0.0])

IntArray = npt.NDArray[np.int64]


class Simulation:
    """One environment's physics, with views into MuJoCo's memory that last as long as it does.

    Args:
        model: Any model of the class.
        arrays: MuJoCo's arrays to keep views of.
    """

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        self.data = mujoco.MjData(model)
        self.mocap_position, self.mocap_quaternion = self.data.mocap_pos[0], self.data.mocap_quat[0]
        self.control = self.data.ctrl
        self.warnings = self.data.warning.number
        self.views = tuple(getattr(self.data, array) for array in arrays)


class ThreadModel:
    """A thread's model of one class, which takes on the task of whichever environment is stepped next.

    Args:
        blueprint: The class.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        self.model = blueprint.copy_model()
        self._pristine = blueprint.pristine
        self._fields = {field: getattr(self.model, field) for field in self._pristine}
        self._current: TaskState | None = None

    def become(self, task: TaskState) -> mujoco.MjModel:
        """The model as Meta-World's reset leaves it for the task."""
        if task is not self._current:
            previous = self._current.fields if self._current else {}
            for field in previous.keys() - task.fields.keys():
                self._fields[field][:] = self._pristine[field]
            for field, values in task.fields.items():
                self._fields[field][:] = values
            self._current = task
        return self.model


class Step(NamedTuple):
    """What a step of a chunk came to, with the leading axis of its environments."""

    observations: FloatArray
    outcome: Outcome
    diverged: npt.NDArray[np.bool_]


class Chunk:
    """Environments of one class.

    Args:
        blueprint: The class.
        envs: Their indices among all environments.
        tasks: Their tasks.
        simulations: Their physics.
    """

    def __init__(
        self, blueprint: Blueprint, envs: IntArray, tasks: Sequence[TaskState], simulations: Sequence[Simulation]
    ) -> None:
        self.blueprint, self.envs, self.tasks, self.simulations = blueprint, envs, tasks, simulations
        self.first_observations = np.stack([task.observation for task in tasks])
        self._frames = self.first_observations[:, :18].copy()
        self._constants = {name: np.stack([task.constants[name] for task in tasks]) for name in tasks[0].constants}
        views = zip(blueprint.arrays, simulations[0].views, strict=True)
        self._buffers = {array: np.empty((len(envs), *view.shape)) for array, view in views}

    def restore(self, model: ThreadModel, members: IntArray) -> None:
        """Puts environments back to where their episodes begin; `members` are indices into this chunk."""
        for i in members:
            mujoco.mj_setState(model.become(self.tasks[i]), self.simulations[i].data, self.tasks[i].state, STATE)
        self._frames[members] = self.first_observations[members, :18]

    def step(self, model: ThreadModel, actions: FloatArray, low: FloatArray, high: FloatArray) -> Step:
        """Makes one step in each environment (`SawyerXYZEnv.step`).

        Args:
            model: The calling thread's.
            actions: `(env, 4)`.
            low: Bounds that Meta-World clips observations to, `(39,)`.
            high: The upper ones.
        """
        self._simulate(model, actions)
        snapshot = Snapshot(self.blueprint.names, self._buffers, self._constants, actions)
        frames = observe(self.blueprint.task_class, snapshot)
        observations = np.concatenate([frames, self._frames, np.zeros((len(frames), 3))], axis=1)
        self._frames = frames
        observations = np.clip(observations, low, high)
        object.__setattr__(snapshot, "observations", observations)
        return Step(observations, self.blueprint.task_class.outcome(snapshot), self._diverged)

    def _simulate(self, model: ThreadModel, actions: FloatArray) -> None:
        blueprint = self.blueprint
        moves = np.clip(actions[:, :3], -1, 1) * blueprint.action_scale
        buffers = tuple(self._buffers.values())
        diverged = np.zeros(len(self.envs), dtype=np.bool_)
        for i, simulation in enumerate(self.simulations):
            task_model, data = model.become(self.tasks[i]), simulation.data
            target = simulation.mocap_position + moves[i]
            simulation.mocap_position[:] = np.minimum(np.maximum(target, blueprint.mocap_low), blueprint.mocap_high)
            simulation.mocap_quaternion[:] = _MOCAP_QUATERNION
            effort = actions[i, 3]
            simulation.control[:] = (effort, -effort)
            simulation.warnings[:] = 0
            mujoco.mj_step(task_model, data, blueprint.frame_skip)
            mujoco.mj_forward(task_model, data)
            diverged[i] = simulation.warnings[4:8].any()
            for buffer, view in zip(buffers, simulation.views, strict=True):
                buffer[i] = view
        self._diverged = diverged
