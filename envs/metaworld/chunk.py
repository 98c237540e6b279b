"""A few environments of one class that one thread steps and evaluates together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt

from envs.core import FloatArray
from envs.metaworld.blueprints import Blueprint, TaskState
from envs.metaworld.snapshot import Snapshot
from envs.metaworld.task_class import Outcome, observe
from envs.simulation import STATE, SharedModel, Simulation

_PADS = ("leftpad_geom", "rightpad_geom")

IntArray = npt.NDArray[np.int64]


class ArmSimulation(Simulation):
    """A simulation whose hand is moved by a mocap body."""

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        super().__init__(model, arrays)
        self.mocap_position: FloatArray = self.data.mocap_pos[0]


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
        self, blueprint: Blueprint, envs: IntArray, tasks: Sequence[TaskState], simulations: Sequence[ArmSimulation]
    ) -> None:
        self.name = blueprint.task_class.name
        self.blueprint, self.envs, self.tasks, self.simulations = blueprint, envs, tasks, simulations
        self.first_observations = np.stack([task.observation for task in tasks])
        self._frames = self.first_observations[:, :18].copy()
        self._constants = {name: np.stack([task.constants[name] for task in tasks]) for name in tasks[0].constants}
        views = zip(blueprint.arrays, simulations[0].views, strict=True)
        self._buffers = {array: np.empty((len(envs), *view.shape)) for array, view in views}
        self._hands = np.empty((len(envs), 3))
        main_object = blueprint.task_class.main_object
        self._grip = [] if main_object is None else [blueprint.names.geom[name] for name in (*_PADS, main_object)]
        self._touching = np.zeros(len(envs), dtype=np.bool_)

    def restore(self, model: SharedModel, members: IntArray) -> None:
        """Puts environments back to where their episodes begin; `members` are indices into this chunk."""
        for i in members:
            task, simulation = self.tasks[i], self.simulations[i]
            mujoco.mj_setState(model.become(task.fields), simulation.data, task.state, STATE)
            self._hands[i] = simulation.mocap_position
        self._frames[members] = self.first_observations[members, :18]

    def step(self, model: SharedModel, actions: FloatArray, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> Step:
        """Makes one step in each environment (`SawyerXYZEnv.step`).

        Args:
            model: The calling thread's.
            actions: `(env, 4)`.
            low: Bounds that Meta-World clips observations to, `(39,)`.
            high: The upper ones.
        """
        self._simulate(model, actions)
        snapshot = Snapshot(self.blueprint.names, self._buffers, self._constants, actions, touching=self._touching)
        frames = observe(self.blueprint.task_class, snapshot)
        observations = np.concatenate([frames, self._frames, np.zeros((len(frames), 3))], axis=1)
        self._frames = frames
        observations = np.clip(observations, low, high)
        object.__setattr__(snapshot, "observations", observations)
        return Step(observations, self.blueprint.task_class.outcome(snapshot), self.diverged)

    def _simulate(self, model: SharedModel, actions: FloatArray) -> None:
        blueprint = self.blueprint
        moved = self._hands + np.clip(actions[:, :3], -1, 1) * blueprint.action_scale
        self._hands = np.minimum(np.maximum(moved, blueprint.mocap_low), blueprint.mocap_high)
        efforts = actions[:, 3:] * (1.0, -1.0)
        substeps, buffers, grip = blueprint.frame_skip, tuple(self._buffers.values()), self._grip
        self.diverged = np.zeros(len(self.envs), dtype=np.bool_)
        for i, simulation in enumerate(self.simulations):
            task_model, data = model.become(self.tasks[i].fields), simulation.data
            simulation.mocap_position[:] = self._hands[i]
            simulation.control[:] = efforts[i]
            mujoco.mj_step(task_model, data, substeps)
            mujoco.mj_forward(task_model, data)
            if simulation.has_diverged():
                self.diverged[i] = True
            for buffer, view in zip(buffers, simulation.views, strict=True):
                buffer[i] = view
            if grip:
                self._touching[i] = _touching(data, *grip)


def _touching(data: mujoco.MjData, left_pad: int, right_pad: int, geom: int) -> bool:
    """Whether contacts press both pads on a geom (`SawyerXYZEnv.touching_object`)."""
    contacts, forces = data.contact, data.efc_force
    geoms, rows = contacts.geom, contacts.efc_address
    on_geom = (geoms == geom).any(axis=1)
    return all(forces[rows[on_geom & (geoms == pad).any(axis=1)]].sum() > 0 for pad in (left_pad, right_pad))
