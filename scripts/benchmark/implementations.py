"""Implementations of Meta-World to compare: our engine, Meta-World's own vectors, and the physics alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import metaworld
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from metarl_envs.core import FloatArray, Task
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.multi_task import MultiTaskVectorEnv
from metarl_envs.simulation import Fields

_SEED = 1

Actions = npt.NDArray[np.float32]
"""Actions of one episode, `(step, env, 4)`."""


class EngineImplementation:
    """Our engine, with episode statistics, which Meta-World's environments keep too.

    Args:
        tasks: Task of each environment.
        actions: Actions of an episode, `(step, env, 4)`; their number of steps is the horizon.
        threads: Number of threads that step.
        multi_task: Show the goal, and draw one of the class's tasks in every episode.

    Attributes:
        engine: The engine.
    """

    def __init__(self, tasks: Sequence[Task], actions: Actions, threads: int, multi_task: bool = False) -> None:
        self.steps = len(actions) * len(tasks)
        if multi_task:
            self.engine: MetaWorldEngine = MultiTaskVectorEnv(tasks, len(tasks), _SEED, len(actions), threads)
        else:
            self.engine = MetaWorldEngine(len(tasks), horizon=len(actions), threads=threads)
            self.engine.set_tasks(tasks)
        self._env: VectorEnv[Any, Any, Any] = RecordEpisodeStatistics(self.engine)
        self._actions = actions
        self._parts = dict.fromkeys(("simulation", "reward"), 0.0)
        self._simulate = self.engine._simulate
        setattr(self.engine, "_simulate", self._timed_simulation)  # noqa: B010  (a method, to type checkers)

    def play(self) -> dict[str, float]:
        """Plays an episode in each environment, and the reset that follows.

        Returns:
            Seconds, as `all`, and the seconds of two parts: `simulation`, from actions to arrays of positions, which
            all threads share, and `reward`.
        """
        self._env.reset()
        for group in self.engine.groups:
            _take_time(group, "outcome", self._parts, "reward")
        self._parts |= dict.fromkeys(self._parts, 0.0)
        return {"all": _play(self._env, self._actions), **self._parts}

    def _timed_simulation(self, actions: FloatArray) -> Callable[[], None]:
        start = perf_counter()
        finish = self._simulate(actions)

        def timed() -> None:
            finish()
            self._parts["simulation"] += perf_counter() - start

        return timed

    def close(self) -> None:
        """Ends the threads."""
        self._env.close()


class _Script(NamedTuple):
    """Inputs to the physics of one environment in an episode."""

    name: str
    fields: Fields
    data: mujoco.MjData
    substeps: int
    positions: FloatArray
    """Positions of the mocap body, `(step, 3)`."""
    efforts: FloatArray
    """Controls of the two fingers, `(step, 2)`."""


class PhysicsImplementation:
    """Physics of the engine's episodes alone: the limit for any implementation that makes the same calls of MuJoCo.

    In the engine's own simulations and on its threads, mocap and controls are written and `mj_step` and `mj_forward`
    called: the states are the engine's, bit for bit. Inputs are computed beforehand, nothing is read, and no thread
    waits for another before the end of the episode.

    Args:
        engine: Engine with its tasks set.
        actions: Actions of an episode, `(step, env, 4)`.
        threads: Number of threads of the engine.
    """

    def __init__(self, engine: MetaWorldEngine, actions: Actions, threads: int) -> None:
        self._steps, self.steps = len(actions), len(actions) * engine.num_envs
        self._engine = engine
        engine.reset()
        scripts = [self._script(env, actions[:, env].astype(np.float64)) for env in range(engine.num_envs)]
        by_class = sorted(scripts, key=lambda script: script.name)
        self._shares = [by_class[thread::threads] for thread in range(threads)]  # some of every class

    def _script(self, env: int, actions: FloatArray) -> _Script:
        task, data = self._engine.tasks[env], self._engine.simulation(env)
        class_model = self._engine._class_models[task.name]
        positions, position = [], data.mocap_pos[0]
        for move in np.clip(actions[:, :3], -1, 1) * class_model.action_scale:
            position = np.minimum(np.maximum(position + move, class_model.mocap_low), class_model.mocap_high)
            positions.append(position)
        efforts = np.stack([actions[:, 3], -actions[:, 3]], axis=1)
        fields = class_model.task_state(task).fields
        return _Script(task.name, fields, data, class_model.frame_skip, np.stack(positions), efforts)

    def play(self) -> dict[str, float]:
        """Plays an episode in each environment; returns its seconds as `all`."""
        self._engine.reset()
        start = perf_counter()
        self._engine._workers.run(self._simulate, self._shares)
        return {"all": perf_counter() - start}

    def _simulate(self, scripts: Sequence[_Script]) -> None:
        prepared = []
        for name, fields, data, *rest in scripts:
            prepared.append((self._engine._workers.model(name), fields, data, data.mocap_pos[0], data.ctrl, *rest))
        for step in range(self._steps):
            for model, fields, data, hand, control, substeps, positions, efforts in prepared:
                task_model = model.become(fields)
                hand[:] = positions[step]
                control[:] = efforts[step]
                mujoco.mj_step(task_model, data, substeps)
                mujoco.mj_forward(task_model, data)

    def close(self) -> None:
        """Does nothing; the engine belongs to another implementation."""


class OriginalImplementation:
    """Meta-World's own vector of environments, made by `metaworld.make_ml_envs_train` or `make_mt_envs`.

    Args:
        benchmark: "ML10", "MT10", or the task of an ML1 such as "push-v3".
        actions: Actions of an episode, `(step, env, 4)`; their number of steps is the horizon.
        asynchronous: True if each environment has a process of its own, else they are stepped one after the other.
    """

    def __init__(self, benchmark: str, actions: Actions, asynchronous: bool) -> None:
        steps, num_envs, _ = actions.shape
        self.steps = steps * num_envs
        self._actions = actions
        multi_task = benchmark.startswith("MT")
        make: Any = metaworld.make_mt_envs if multi_task else metaworld.make_ml_envs_train
        size = {} if multi_task else {"meta_batch_size": num_envs}
        strategy = "async" if asynchronous else "sync"
        with _quiet():
            self._env = make(benchmark, seed=_SEED, vector_strategy=strategy, max_episode_steps=steps, **size)
            self._env.call("sample_tasks")

    def play(self) -> dict[str, float]:
        """Plays an episode in each environment, and the reset that follows; returns its seconds as `all`."""
        with _quiet():
            self._env.reset()
            return {"all": _play(self._env, self._actions)}

    def close(self) -> None:
        """Ends the processes."""
        self._env.close()


def _play(env: VectorEnv[Any, Any, Any], actions: Actions) -> float:
    start = perf_counter()
    for action in actions:
        env.step(action)
    return perf_counter() - start


def _take_time(owner: object, method: str, parts: dict[str, float], name: str) -> None:
    """Wraps a method of an object so that it adds its seconds to `parts[name]`."""
    inner = getattr(owner, method)

    def timed(*args: Any) -> Any:
        start = perf_counter()
        result = inner(*args)
        parts[name] += perf_counter() - start
        return result

    setattr(owner, method, timed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences warnings of Meta-World and Gymnasium about Meta-World's environments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
