"""What Meta-World's own environment objects know, read off once: models, and the state each task begins in."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl_envs.core import FloatArray, Task
from metarl_envs.errors import UserError, unknown
from metarl_envs.metaworld.classes import TASK_CLASSES
from metarl_envs.metaworld.reference import encode
from metarl_envs.metaworld.snapshot import Names
from metarl_envs.simulation import STATE, Fields, SharedModel

BASE_ARRAYS = ("xpos", "site_xpos")
"""MuJoCo's arrays that every class reads."""

_FIELDS = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "site_quat", "jnt_range")
"""Of a model, what Meta-World's resets may write."""


@dataclass(frozen=True)
class TaskState:
    """How an episode of a task begins; a reset depends on nothing but the task."""

    state: FloatArray
    """MuJoCo's integration state after the reset."""
    fields: Fields
    """Fields of the model in which the task differs from its class."""
    constants: Mapping[str, FloatArray]
    """Attributes of Meta-World's environment object that rewards read."""
    observation: FloatArray
    """`(39,)`, the first."""


class Blueprint:
    """One class of tasks, backed by one environment object of Meta-World's.

    Args:
        name: Meta-World's name of the class.

    Raises:
        UserError: If there is no such class.
    """

    def __init__(self, name: str) -> None:
        if name not in TASK_CLASSES:
            raise unknown("Meta-World task", name, TASK_CLASSES)
        self.task_class = TASK_CLASSES[name]
        self._env = ALL_V3_ENVIRONMENTS[name](reward_function_version="v2")
        self.arrays = tuple(dict.fromkeys((*BASE_ARRAYS, *self.task_class.arrays)))
        self.model, self._kept = _without_looks(
            self._env, named=any(array.startswith("geom_") for array in self.arrays)
        )
        self.pristine = {field: self._field(field) for field in _FIELDS}
        model = self.model
        self.names = Names(
            body={model.body(i).name: i for i in range(model.nbody)},
            geom={model.geom(i).name: i for i in range(model.ngeom)},
            site={model.site(i).name: i for i in range(model.nsite)},
            joint={model.joint(i).name: int(model.jnt_qposadr[i]) for i in range(model.njnt)},
        )
        self.mocap_low, self.mocap_high = self._env.mocap_low, self._env.mocap_high
        self.action_scale = self._env.action_scale
        self.frame_skip = self._env.frame_skip
        self._states: dict[str, TaskState] = {}

    @property
    def main_object(self) -> int:
        """The geom that Meta-World's `touching_main_object` asks about, by its index; -1 if nothing can touch it."""
        original = self._env._get_id_main_object()
        return int(self._kept[:original].sum()) if self._kept[original] else -1

    def copy_model(self) -> SharedModel:
        """A model for one thread to step with, 3 MB."""
        return SharedModel(copy.copy(self.model), self.pristine)

    def task_state(self, task: Task) -> TaskState:
        """How episodes of this task begin; 6 to 8 ms the first time.

        Raises:
            UserError: If the task's parameters are out of Meta-World's range.
        """
        if task.id not in self._states:
            space = self._env._random_reset_space
            assert space is not None  # each class sets its own
            if not space.contains(task.parameters):
                raise UserError(
                    f"{task} is out of Meta-World's range: its rand_vec lies in {space.low} to {space.high}"
                )
            self._states[task.id] = self._build(task)
        return self._states[task.id]

    def _build(self, task: Task) -> TaskState:
        env = self._env
        env.set_task(encode(task))
        observation, _ = env.reset()
        state = np.empty(mujoco.mj_stateSize(env.model, STATE))
        mujoco.mj_getState(env.model, env.data, state, STATE)
        changed = {
            field: values
            for field, pristine in self.pristine.items()
            if not np.array_equal(values := self._field(field), pristine)
        }
        constants = {name: _constant(env, name) for name in self.task_class.constants}
        if self.task_class.late_constants:
            env.step(np.zeros(4, dtype=np.float32))
            constants |= {name: _constant(env, name) for name in self.task_class.late_constants}
        return TaskState(state, changed, constants, observation.copy())

    def _field(self, name: str) -> FloatArray:
        """A field of Meta-World's own model as `model` has it."""
        values: FloatArray = getattr(self._env.model, name)
        return values[self._kept] if name.startswith("geom_") else values.copy()


def _without_looks(env: Any, named: bool) -> tuple[mujoco.MjModel, npt.NDArray[np.bool_]]:
    """A model with the same physics, bit for bit, but without what is only there to be seen.

    That is not for memory alone: in each physics step MuJoCo clears a byte for every node of every mesh's bounding
    volumes, 100,000 of which belong to meshes that nothing can collide with.

    Args:
        env: Meta-World's environment object.
        named: Whether to keep geoms that have a name, for rewards to look at.

    Returns:
        The model, and which of the original's geoms it has, `(geom,)`.
    """
    spec = mujoco.MjSpec.from_file(env.fullpath)
    spec.compiler.discardvisual = True
    if named:  # what a tuple refers to is kept
        names = [geom.name for geom in spec.geoms if geom.name]
        spec.add_tuple(objtype=[mujoco.mjtObj.mjOBJ_GEOM] * len(names), objname=names, objprm=[0.0] * len(names))
    model = spec.compile()
    original = env.model
    model.eq_data[:] = original.eq_data  # Meta-World has changed them
    kept = (original.geom_contype != 0) | (original.geom_conaffinity != 0)
    if named:
        kept |= [bool(original.geom(i).name) for i in range(original.ngeom)]
    assert np.array_equal(original.geom_bodyid[kept], model.geom_bodyid)
    return model, kept


def _constant(env: Any, name: str) -> FloatArray:
    """An attribute that stays what it is during an episode."""
    value = np.asarray(getattr(env, name), dtype=np.float64)
    for array in (env.data.xpos, env.data.site_xpos, env.data.geom_xpos, env.data.xquat, env.data.qpos):
        assert not np.shares_memory(value, array), f"{name} is a view of the simulation, not a constant"
    return value.copy()
