"""MuJoCo stepped in process by threads: what every engine of ours is built on.

MuJoCo releases Python's lock while it computes, so threads use all cores. A compiled model is large and is shared by
all environments that one thread steps; what a task changes in it is written in before a step. What an environment owns
is its `MjData`.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import mujoco
import numpy as np
import numpy.typing as npt

from metarl_envs.core import FloatArray
from metarl_envs.parallel import available_cores

Fields = Mapping[str, FloatArray]
"""Fields of a model by name, whole arrays."""

STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
"""Everything that the next step depends on, the solver's warm start included."""

_BAD = slice(int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADCTRL) + 1)
"""The warnings after which MuJoCo has replaced the state by the model's defaults, or the controls by zero."""

_NONE = np.zeros(_BAD.stop - _BAD.start, np.int32).tobytes()

_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)
mujoco.set_mju_user_warning(_log.debug)  # else MuJoCo leaves a MUJOCO_LOG.TXT in the working directory


class Simulation:
    """One environment's physics, with views into MuJoCo's memory that last as long as it does.

    Args:
        model: Any model of the environment's class.
        arrays: Names of the arrays of `MjData` to keep views of.
    """

    def __init__(self, model: mujoco.MjModel, arrays: Sequence[str]) -> None:
        self.data = mujoco.MjData(model)
        self.control: FloatArray = self.data.ctrl
        self.views = tuple(getattr(self.data, array) for array in arrays)
        self._warnings: npt.NDArray[np.int32] = self.data.warning.number[_BAD]

    def has_diverged(self) -> bool:
        """Whether the state was not finite, or huge, in any physics step since the last call.

        Counts go back to zero here: MuJoCo zeroes them itself when it resets a bad state, before it counts that one, so
        that "more than before" would miss a second.
        """
        if self._warnings.tobytes() == _NONE:  # cheaper than `any`
            return False
        self._warnings[:] = 0
        return True


class SharedModel:
    """A thread's model of one class, which takes on the task of whichever environment is stepped next.

    Args:
        model: The model, which nobody else uses.
        pristine: The fields that tasks may change, as they are in no task's model.
    """

    def __init__(self, model: mujoco.MjModel, pristine: Fields) -> None:
        self.model = model
        self._pristine = pristine
        self._fields = {name: getattr(model, name) for name in pristine}
        self._current: Fields = {}

    def become(self, changes: Fields) -> mujoco.MjModel:
        """The model with these fields, and all others as they were."""
        if changes is not self._current:
            for name in self._current.keys() - changes.keys():
                self._fields[name][:] = self._pristine[name]
            for name, values in changes.items():
                self._fields[name][:] = values
            self._current = changes
        return self.model


_pools: dict[int, ThreadPoolExecutor] = {}
"""The other threads, the same for all that step on so many: more threads than cores would wait for each other."""
_users: Counter[int] = Counter()
"""How many `Workers` share each pool; it ends with the last."""


class Workers:
    """The calling thread and others, each with a model of its own for every class it has met.

    Args:
        make_model: Makes a model of the class with this name for one thread.
        threads: How many threads, the calling one included; None is one per core.
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
        """The calling thread's own model of a class."""
        models: dict[str, SharedModel] = self._local.__dict__.setdefault("models", {})
        if name not in models:
            models[name] = self._make_model(name)
        return models[name]

    def run(self, work: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        """Calls `work` for each item and waits; see `start`."""
        self.start(work, items)()

    def start(self, work: Callable[[_Item], None], items: Iterable[_Item]) -> Callable[[], None]:
        """Has the other threads call `work` for each item; one takes the next item as soon as it is done with one.

        Returns:
            What the calling thread calls when it has time, to take items too and wait for the last. It raises the first
            exception that was raised, after all threads have stopped.
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
        """Frees the models, and ends the other threads if nobody else steps on them."""
        self._local = threading.local()
        if not self._closed:
            self._closed = True
            _users[self.threads] -= 1
            if _users[self.threads] == 0:
                _pools.pop(self.threads).shutdown()
