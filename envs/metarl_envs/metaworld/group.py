"""The environments of one class: stepped by any thread, some at a time, then rewarded together."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import numpy.typing as npt

from metarl_envs.arrays import Array
from metarl_envs.core import FloatArray
from metarl_envs.metaworld.blueprints import Blueprint, TaskState
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.simulation import STATE, SharedModel, Simulation

_PADS = ("leftpad_geom", "rightpad_geom")

IntArray = npt.NDArray[np.int64]


class ArmSimulation(Simulation):
    """A simulation whose hand is moved by a mocap body."""

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        super().__init__(model, arrays)
        self.mocap_position: FloatArray = self.data.mocap_pos[0]


class Group:
    """Environments of one class.

    Args:
        blueprint: The class.
        envs: Which they are among all environments, in ascending order.
        tasks: Their tasks.
        simulations: Their physics.
        grasp_success: Whether the outcome includes it.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        envs: IntArray,
        tasks: Sequence[TaskState],
        simulations: Sequence[ArmSimulation],
        grasp_success: bool = False,
    ) -> None:
        self.blueprint, self.task_class = blueprint, blueprint.task_class
        self.name = self.task_class.name
        self.envs, self.tasks, self.simulations = envs, tasks, simulations
        self.members = slice(envs[0], envs[-1] + 1) if envs[-1] - envs[0] == len(envs) - 1 else envs
        """The same; a slice if possible, which is quicker."""
        self.first_observations = np.stack([task.observation for task in tasks])
        self._constants = {name: np.stack([task.constants[name] for task in tasks]) for name in tasks[0].constants}
        views = zip(blueprint.arrays, simulations[0].views, strict=True)
        self._buffers = {array: np.empty((len(tasks), *view.shape)) for array, view in views}
        self._grasp_success = grasp_success
        touched = {"never": False, "grasp_success": grasp_success, "always": True}[self.task_class.touching]
        self._grip = [*(blueprint.names.geom[pad] for pad in _PADS), blueprint.main_object] if touched else []
        self._touching = np.zeros(len(tasks), dtype=np.bool_)
        self.diverged = np.zeros(len(tasks), dtype=np.bool_)

    def restore(self, model: SharedModel, which: IntArray, hands: FloatArray) -> None:
        """Puts environments back to where their episodes begin.

        Args:
            model: The calling thread's.
            which: Indices into this group.
            hands: `(env, 3)` of all environments; takes where those are.
        """
        for i in which:
            task, simulation = self.tasks[i], self.simulations[i]
            mujoco.mj_setState(model.become(task.fields), simulation.data, task.state, STATE)
            hands[self.envs[i]] = simulation.mocap_position

    def advance(self, model: SharedModel, which: range, hands: FloatArray, efforts: FloatArray) -> None:
        """Makes the physics steps of one step in some environments: all that happens once per environment.

        Args:
            model: The calling thread's.
            which: Indices into this group.
            hands: `(env, 3)` of all environments, where to move the hands.
            efforts: `(env, 2)` of all environments, of the two fingers.
        """
        substeps, buffers = self.blueprint.frame_skip, tuple(self._buffers.values())
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
            if self._grip:
                self._touching[i] = _touching(data, *self._grip)

    def snapshot(self, actions: FloatArray) -> Snapshot:
        """What the last `advance` of all environments came to, without observations, for rewards to be computed from.

        Args:
            actions: `(env, 4)` of all environments.
        """
        actions = actions[self.members]
        return Snapshot(self.blueprint.names, self._buffers, self._constants, actions, touching=self._touching)

    def outcome(self, snapshot: Snapshot, observations: FloatArray) -> tuple[Array, ...]:
        """The fields of `Outcome`, and `grasp_success` if asked for, from the observations `(env, 39)` of all."""
        snapshot.observations = observations[self.members]
        outcome = self.task_class.outcome(snapshot)
        return (*outcome, self.task_class.grasp_success(snapshot, outcome)) if self._grasp_success else outcome


def _touching(data: mujoco.MjData, left_pad: int, right_pad: int, geom: int) -> bool:
    """Whether contacts press both pads on a geom (`SawyerXYZEnv.touching_object`)."""
    contacts, forces = data.contact, data.efc_force
    geoms, rows = contacts.geom, contacts.efc_address
    on_geom = (geoms == geom).any(axis=1)
    return all(forces[rows[on_geom & (geoms == pad).any(axis=1)]].sum() > 0 for pad in (left_pad, right_pad))
