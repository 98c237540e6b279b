"""MuJoCo stepped by threads of this process: the base of the engines.

MuJoCo releases Python's lock while it computes, so threads use all cores. A compiled model is large; all environments
that one thread steps share a copy, and the fields that a task changes are written into it before a step. Each
environment owns its `MjData`.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import mujoco
import numpy as np
import numpy.typing as npt

from metarl_envs.core import FloatArray
from metarl_envs.cores import available_cores
from metarl_envs.dynamics import UNCHANGED, Dynamics

Fields = Mapping[str, FloatArray]
"""Fields of a model by name, each as a whole array."""

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
"""MuJoCo's integration state: everything that the next step depends on, with the solver's warm start."""

_BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)
"""Warnings after which MuJoCo has replaced the state by the model's defaults, or the controls by zero."""

_NO_WARNINGS = np.zeros(_BAD.stop - _BAD.start, np.int32).tobytes()

_MASS = ("body_mass", "body_inertia")
_FRICTION = ("geom_friction", "pair_friction")
_DAMPING = ("dof_damping",)
_DERIVED_FROM_MASS = (
    "body_subtreemass",
    "body_invweight0",
    "dof_M0",
    "dof_invweight0",
    "tendon_invweight0",
    "actuator_acc0",
)
"""Constants that MuJoCo's compiler computes from the masses."""

_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)
mujoco.set_mju_user_warning(_log.debug)  # else MuJoCo writes a MUJOCO_LOG.TXT in the working directory


class Simulation:
    """Physics of one environment.

    Args:
        model: Any model of the environment's class.
        arrays: Names of arrays of `MjData`.

    Attributes:
        data: MuJoCo's data.
        control: View of the controls, `(nu,)`.
        views: Views of the named arrays, in their order.
    """

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        self.data = mujoco.MjData(model)
        self.control: FloatArray = self.data.ctrl
        self.views = tuple(getattr(self.data, array) for array in arrays)
        self._warnings: npt.NDArray[np.int32] = self.data.warning.number[_BAD]

    def has_diverged(self) -> bool:
        """Returns true if the state became huge or not finite in a physics step since the last call.

        Sets MuJoCo's counts of warnings to zero. Comparing them with earlier counts would not do: when MuJoCo resets a
        bad state it zeroes the counts before it counts that one, so a second divergence would go unnoticed.
        """
        if self._warnings.tobytes() == _NO_WARNINGS:  # cheaper than `any`
            return False
        self._warnings[:] = 0
        return True


class SharedModel:
    """One thread's model of a class, into which the fields of a task are written before a step.

    Args:
        model: The model, for this thread alone.
        pristine: Fields that tasks may change, with the values that hold where a task changes nothing.
    """

    def __init__(self, model: mujoco.MjModel, pristine: Fields) -> None:
        self.model = model
        self._pristine = pristine
        self._fields = {name: getattr(model, name) for name in pristine}
        self._current: Fields = {}

    def become(self, changes: Fields) -> mujoco.MjModel:
        """Writes a task's fields into the model, sets all others to their pristine values, and returns the model."""
        if changes is not self._current:
            for name in self._current.keys() - changes.keys():
                self._fields[name][:] = self._pristine[name]
            for name, values in changes.items():
                self._fields[name][:] = values
            self._current = changes
        return self.model


def dynamics_fields(model: mujoco.MjModel) -> Fields:
    """Copies the fields of a model that `scale_dynamics` may change."""
    names = (*_MASS, *_FRICTION, *_DAMPING, *_DERIVED_FROM_MASS)
    return {name: np.array(getattr(model, name)) for name in names}


def scale_dynamics(model: mujoco.MjModel, fields: Fields, dynamics: Dynamics) -> Fields:
    """Computes the fields of a task's model with scaled dynamics.

    The constants that MuJoCo derives from the masses are computed anew from the model's masses; a task that sets masses
    of its own keeps those of the model too.

    Args:
        model: Model as no task has changed it.
        fields: Fields that the task changes.
        dynamics: Factors.

    Returns:
        The task's fields and those scaled; the task's own if all factors are 1.
    """
    if dynamics == UNCHANGED:
        return fields
    factors = dict.fromkeys(_MASS, dynamics.mass)
    factors |= dict.fromkeys(_FRICTION, dynamics.friction) | dict.fromkeys(_DAMPING, dynamics.damping)
    changes = {
        name: np.asarray(fields.get(name, getattr(model, name))) * factor
        for name, factor in factors.items()
        if factor != 1
    }
    if dynamics.mass != 1:
        heavier = copy.copy(model)
        for name in _MASS:
            getattr(heavier, name)[:] *= dynamics.mass
        mujoco.mj_setConst(heavier, mujoco.MjData(heavier))
        changes |= {name: np.array(getattr(heavier, name)) for name in _DERIVED_FROM_MASS}
    return {**fields, **changes}


_pools: dict[int, ThreadPoolExecutor] = {}
"""Threads beside the calling one, by their number; engines share them, since surplus threads only wait for cores."""
_users: Counter[int] = Counter()
"""Number of `Workers` that share each pool; the pool ends with the last of them."""


def _forget_pools() -> None:
    """Forgets the parent's threads in a forked process, where they do not run, and work given to them never ends."""
    _pools.clear()
    _users.clear()


os.register_at_fork(after_in_child=_forget_pools)


class Workers:
    """The calling thread and a pool of others, each with its own model of every class it steps.

    Args:
        make_model: Makes one thread's model of the class with the given name.
        threads: Number of threads, the calling one included; None is one per core.
    """

    def __init__(self, make_model: Callable[[str], SharedModel], threads: int | None = None) -> None:
        self._make_model = make_model
        self.threads = threads or available_cores()
        if self.threads not in _pools:
            _pools[self.threads] = ThreadPoolExecutor(max(1, self.threads - 1))
        _users[self.threads] += 1
        self._closed = False
        self._local = threading.local()

    def model(self, name: str) -> SharedModel:
        """Returns the calling thread's model of a class; makes it the first time."""
        models: dict[str, SharedModel] = self._local.__dict__.setdefault("models", {})
        if name not in models:
            models[name] = self._make_model(name)
        return models[name]

    def run(self, work: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        """Has all threads call `work` for the items, and waits; see `start`."""
        self.start(work, items)()

    def start(self, work: Callable[[_Item], None], items: Iterable[_Item]) -> Callable[[], None]:
        """Has the other threads call `work` for the items; a thread takes the next item as soon as it is free.

        Returns:
            Function for the calling thread, which works on remaining items and waits for the last. It raises the first
            exception of any thread, after all of them have stopped.
        """
        queue = deque(items)

        def take() -> None:
            while queue:
                try:
                    item = queue.popleft()
                except IndexError:  # another thread was quicker
                    return
                work(item)

        others = [_pools[self.threads].submit(take) for _ in range(min(self.threads - 1, len(queue)))]

        def finish() -> None:
            try:
                take()
            finally:
                for other in others:
                    other.result()

        return finish

    def close(self) -> None:
        """Frees the models, and ends the other threads if no other engine uses them."""
        self._local = threading.local()
        if not self._closed:
            self._closed = True
            _users[self.threads] -= 1
            if _users[self.threads] == 0:
                _pools.pop(self.threads).shutdown()
