"""The environments of one class: threads step them in chunks, then one thread computes all their rewards at once."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from metarl_envs.arrays import Array
from metarl_envs.core import FloatArray
from metarl_envs.metaworld.class_model import ClassModel, TaskState
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.simulation import STATE, SharedModel, Simulation

_PADS = ("leftpad_geom", "rightpad_geom")

IntArray = npt.NDArray[np.int64]


class ArmSimulation(Simulation):
    """Physics of one environment, whose hand follows a mocap body."""

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        super().__init__(model, arrays)
        self.mocap_position: FloatArray = self.data.mocap_pos[0]


class Group:
    """Environments of one class.

    Args:
        class_model: Model of the class.
        envs: Indices of the group's environments among all of the engine's, ascending.
        tasks: Initial states of their tasks.
        simulations: Their physics.
        grasp_success: Compute `TaskClass.grasp_success` too.

    Attributes:
        diverged: Environments whose last step diverged, `(env,)`.
    """

    def __init__(
        self,
        class_model: ClassModel,
        envs: IntArray,
        tasks: Sequence[TaskState],
        simulations: Sequence[ArmSimulation],
        grasp_success: bool = False,
    ) -> None:
        self.class_model, self.task_class = class_model, class_model.task_class
        self.name = self.task_class.name
        self.envs, self.tasks, self.simulations = envs, list(tasks), simulations
        self.members = slice(envs[0], envs[-1] + 1) if envs[-1] - envs[0] == len(envs) - 1 else envs
        """`envs` as an index; a slice where possible, which is faster."""
        self._constants = {name: np.stack([task.constants[name] for task in tasks]) for name in tasks[0].constants}
        views = zip(class_model.arrays, simulations[0].views, strict=True)
        self._buffers = {array: np.empty((len(tasks), *view.shape)) for array, view in views}
        self._grasp_success = grasp_success
        touched = {"never": False, "grasp_success": grasp_success, "always": True}[self.task_class.touching]
        pads = (class_model.names.geom[pad] for pad in _PADS)
        self._touch_geoms = [*pads, class_model.main_object] if touched else []
        self._touching = np.zeros(len(tasks), dtype=np.bool_)
        self.diverged = np.zeros(len(tasks), dtype=np.bool_)

    def replace(self, i: int, task: TaskState) -> None:
        """Gives environment `i` of the group another task, whose initial state `restore` puts it into."""
        self.tasks[i] = task
        for name, values in self._constants.items():
            values[i] = task.constants[name]

    def restore(self, model: SharedModel, which: IntArray, hands: FloatArray) -> None:
        """Puts environments into the initial states of their tasks.

        Args:
            model: The calling thread's model of the class.
            which: Indices into this group.
            hands: Hand positions `(env, 3)` of all environments; the rows of the restored ones are overwritten.
        """
        for i in which:
            task, simulation = self.tasks[i], self.simulations[i]
            mujoco.mj_setState(model.become(task.fields), simulation.data, task.state, STATE)
            hands[self.envs[i]] = simulation.mocap_position

    def advance(self, model: SharedModel, which: range, hands: FloatArray, efforts: FloatArray) -> None:
        """Makes the physics steps of one step in a chunk of environments and copies the results to this group's arrays.

        Args:
            model: The calling thread's model of the class.
            which: Indices into this group.
            hands: Positions `(env, 3)` that the hands move to, of all environments.
            efforts: Efforts `(env, 2)` of the two fingers, of all environments.
        """
        substeps, buffers = self.class_model.frame_skip, tuple(self._buffers.values())
        hands, efforts = hands[self.members], efforts[self.members]
        for i in which:
            simulation = self.simulations[i]
            task_model, data = model.become(self.tasks[i].fields), simulation.data
            simulation.mocap_position[:] = hands[i]
            simulation.control[:] = efforts[i]
            mujoco.mj_step(task_model, data, substeps)
            mujoco.mj_forward(task_model, data)
            self.diverged[i] = simulation.has_diverged()
            for buffer, view in zip(buffers, simulation.views, strict=True):
                buffer[i] = view
            if self._touch_geoms:
                self._touching[i] = _touching(data, *self._touch_geoms)

    def snapshot(self, actions: FloatArray) -> Snapshot:
        """Returns the group after the last `advance` of all its environments, without observations.

        Args:
            actions: Actions `(env, 4)` of all environments.
        """
        actions = actions[self.members]
        return Snapshot(self.class_model.names, self._buffers, self._constants, actions, touching=self._touching)

    def outcome(self, snapshot: Snapshot, observations: FloatArray) -> tuple[Array, ...]:
        """Computes the fields of `Outcome`, then `grasp_success` if it is asked for.

        Args:
            snapshot: The result of `snapshot`; receives the group's observations.
            observations: Observations `(env, 39)` of all environments.
        """
        snapshot.observations = observations[self.members]
        outcome = self.task_class.outcome(snapshot)
        return (*outcome, self.task_class.grasp_success(snapshot, outcome)) if self._grasp_success else outcome


def _touching(data: mujoco.MjData, left_pad: int, right_pad: int, geom: int) -> bool:
    """Returns true if both pads press on a geom (`SawyerXYZEnv.touching_object`)."""
    contacts, forces = data.contact, data.efc_force
    geoms, rows = contacts.geom, contacts.efc_address
    on_geom = (geoms == geom).any(axis=1)
    # sum of the normal forces of the contacts between pad and geom > 0, for each pad
    return all(forces[rows[on_geom & (geoms == pad).any(axis=1)]].sum() > 0 for pad in (left_pad, right_pad))
