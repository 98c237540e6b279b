"""Physics model and initial states of one class of tasks, read once from Meta-World's own environment object."""

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
from metarl_envs.metaworld.reference import encode, reset_task
from metarl_envs.metaworld.snapshot import Names
from metarl_envs.simulation import STATE, Fields, SharedModel, dynamics_fields

BASE_ARRAYS = ("xpos", "site_xpos")
"""MuJoCo's arrays that all classes read."""

_FIELDS = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "site_quat", "jnt_range")
"""Fields of a model that Meta-World's resets may write."""


@dataclass(frozen=True)
class TaskState:
    """Initial state of a task's episodes; a reset depends on nothing but the task."""

    state: FloatArray
    """MuJoCo's integration state (`mjSTATE_INTEGRATION`) after the reset."""
    fields: Fields
    """Fields of the model that differ from those of the class."""
    constants: Mapping[str, FloatArray]
    """Attributes of Meta-World's environment object that rewards read."""
    observation: FloatArray
    """First observation with the goal hidden, `(39,)`."""
    goals: FloatArray
    """The goal as Meta-World shows it, `(2, 3)` in metres: in the first observation, then clipped in all later ones."""


class ClassModel:
    """Everything that the engine reads from one environment object of Meta-World's, for one class of tasks.

    Args:
        name: Meta-World's name of the class.

    Attributes:
        task_class: Observation and reward of the class.
        model: MuJoCo's model, without geoms that only rendering needs.
        arrays: Names of the arrays of `MjData` that observation and reward read.
        pristine: Fields of the model that tasks may change, as they are before any reset.
        names: Indices of the model's elements by name.
        mocap_low: Lower bound of the hand's position, `(3,)` in metres.
        mocap_high: Upper bound.
        action_scale: Largest move of the hand in a step, along each axis, in metres.
        frame_skip: Physics steps per step.

    Raises:
        UserError: If there is no such class.
    """

    def __init__(self, name: str) -> None:
        if name not in TASK_CLASSES:
            raise unknown("Meta-World task", name, TASK_CLASSES)
        self.task_class = TASK_CLASSES[name]
        self._env = ALL_V3_ENVIRONMENTS[name](reward_function_version="v2")
        self.arrays = tuple(dict.fromkeys((*BASE_ARRAYS, *self.task_class.arrays)))
        self.model, self._kept = _compile_physics(
            self._env, keep_named=any(array.startswith("geom_") for array in self.arrays)
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
        """Index of the geom of Meta-World's `touching_main_object`; -1 if nothing can touch it."""
        original = self._env._get_id_main_object()
        return int(self._kept[:original].sum()) if self._kept[original] else -1

    def copy_model(self) -> SharedModel:
        """Copies the model for one thread to step with, 3 MB."""
        return SharedModel(copy.copy(self.model), {**self.pristine, **dynamics_fields(self.model)})

    def task_state(self, task: Task) -> TaskState:
        """Returns the initial state of the task's episodes; takes 6 to 8 ms the first time.

        Raises:
            UserError: If the task's parameters are out of Meta-World's range, or Meta-World refuses them.
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
        observation = reset_task(env, task)
        state = np.empty(mujoco.mj_stateSize(env.model, STATE))
        mujoco.mj_getState(env.model, env.data, state, STATE)
        changed = {
            field: values
            for field, pristine in self.pristine.items()
            if not np.array_equal(values := self._field(field), pristine)
        }
        constants = {name: _constant(env, name) for name in self.task_class.constants}
        goal, bounds = env._target_pos, env.goal_space  # in two classes a view of the simulation, of what cannot move
        assert goal is not None  # set by a reset
        assert bounds is not None  # each class sets its own
        goals = np.stack([goal, np.clip(goal, bounds.low, bounds.high)])
        if self.task_class.late_constants:
            env.step(np.zeros(4, dtype=np.float32))
            constants |= {name: _constant(env, name) for name in self.task_class.late_constants}
        return TaskState(state, changed, constants, observation.copy(), goals)

    def _field(self, name: str) -> FloatArray:
        """Copies a field of Meta-World's model, without the geoms that `model` lacks."""
        values: FloatArray = getattr(self._env.model, name)
        return values[self._kept] if name.startswith("geom_") else values.copy()


def _compile_physics(env: Any, keep_named: bool) -> tuple[mujoco.MjModel, npt.NDArray[np.bool_]]:
    """Compiles a model with the same physics, bit for bit, but without the geoms that only rendering needs.

    This saves time as well as memory: in each physics step MuJoCo clears a byte for every node of every mesh's bounding
    volumes, and 100,000 of these belong to meshes that nothing can collide with.

    Args:
        env: Meta-World's environment object.
        keep_named: Keep geoms that have a name, because rewards read them.

    Returns:
        The model, and a mask `(geom,)` of the original's geoms, true for those that the model has.
    """
    spec = mujoco.MjSpec.from_file(env.fullpath)
    spec.compiler.discardvisual = True
    if keep_named:  # the compiler keeps what a tuple refers to
        names = [geom.name for geom in spec.geoms if geom.name]
        spec.add_tuple(objtype=[mujoco.mjtObj.mjOBJ_GEOM] * len(names), objname=names, objprm=[0.0] * len(names))
    model = spec.compile()
    original = env.model
    model.eq_data[:] = original.eq_data  # Meta-World changes them after it has loaded the model
    kept = (original.geom_contype != 0) | (original.geom_conaffinity != 0)
    if keep_named:
        kept |= [bool(original.geom(i).name) for i in range(original.ngeom)]
    assert np.array_equal(original.geom_bodyid[kept], model.geom_bodyid)
    return model, kept


def _constant(env: Any, name: str) -> FloatArray:
    """Copies an attribute of Meta-World's environment object, which must not be a view of the simulation."""
    value = np.asarray(getattr(env, name), dtype=np.float64)
    for array in (env.data.xpos, env.data.site_xpos, env.data.geom_xpos, env.data.xquat, env.data.qpos):
        assert not np.shares_memory(value, array), f"{name} is a view of the simulation, not a constant"
    return value.copy()
