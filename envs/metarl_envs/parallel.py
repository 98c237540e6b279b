"""Vector of environments split over worker processes, with the data of a step in shared memory.

Workers are fresh interpreters that this module starts itself, not `multiprocessing` processes. Those would import the
caller's main module again, and a script without `if __name__ == "__main__"` would start workers without end.
"""

import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import IO, Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskVectorEnv
from metarl_envs.cores import available_cores
from metarl_envs.errors import UserError, WorkerFailure, one_line, place

MakeShard = Callable[[int], TaskVectorEnv]
"""Makes a vector of the given number of environments in a worker."""

_STEP, _OK, _ERROR = b"s", b"+", b"-"
_BOOTSTRAP = """
import contextlib, signal, sys, sysconfig
for name in ("INT", "TERM", "HUP", "USR1", "USR2", "XCPU"):  # sent to the whole job; the parent handles them
    signal.signal(getattr(signal, "SIG" + name), signal.SIG_IGN)
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
with contextlib.suppress(EOFError, ConnectionError):  # the parent has closed the pipe, or is gone
    library = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib") + "/lib-dynload"
    path, *shard = pipe.recv()
    sys.path[:] = *library, *path  # first: a random.py of the user must not hide it, as it did not in the parent
    from metarl_envs.parallel import end_with_parent, _serve
    end_with_parent(int(sys.argv[2]))
    _serve(pipe, *shard)
"""
_SINGLE_THREADED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_GRACE_S = 5.0
"""Seconds that workers have to close their environments before they are killed."""
_CHECK_S = 0.5
"""Seconds between a worker's looks whether its parent lives."""


class _Worker(NamedTuple):
    number: int
    envs: slice
    process: subprocess.Popen[bytes]
    pipe: Connection


class ParallelVectorEnv(TaskVectorEnv):
    """Steps the shards of a vector of environments in one process each; results equal those of one process bit for bit.

    Workers ignore SIGINT and SIGTERM, and end when this environment is closed or its process dies. An exception in a
    worker is raised here. A worker that dies or hangs, or an interrupt during a call, closes the environment. A single
    worker is a process too, so that crashes do not reach this process and the behaviour is the same on all machines.

    Args:
        make_shard: Makes the environments of one worker from their number; may be a lambda or a closure.
        num_envs: Number of environments.
        num_workers: Number of processes, each with a contiguous shard; at most `num_envs`, by default one per core.
        timeout_s: Longest wait for an answer of a worker, in seconds.

    Raises:
        UserError: If a number is below one, or `make_shard` cannot be pickled or raises one.
        WorkerFailure: If a worker fails to start.
    """

    def __init__(
        self, make_shard: MakeShard, num_envs: int, num_workers: int | None = None, timeout_s: float = 300.0
    ) -> None:
        num_workers = available_cores() if num_workers is None else num_workers
        if num_envs < 1 or num_workers < 1:
            raise UserError(f"num_envs and num_workers must be at least 1, not {num_envs} and {num_workers}")
        self.num_envs = num_envs
        self._timeout_s = timeout_s
        num_workers = min(num_workers, num_envs)
        bounds = pairwise(number * num_envs // num_workers for number in range(num_workers + 1))
        self._workers = [_start(number, slice(*bound)) for number, bound in enumerate(bounds)]
        self._finalizer = weakref.finalize(self, _stop, self._workers)
        try:
            self._connect(make_shard)
        except BaseException:
            self.close()
            raise

    def _connect(self, make_shard: MakeShard) -> None:
        recipe = _pickle(make_shard)
        greetings = [(sys.path, worker.envs, recipe, _registered_ids()) for worker in self._workers]
        spaces = self._ask_all(greetings)[0]
        self.single_observation_space, self.single_action_space, self.horizon = spaces
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        record = _record(self.single_observation_space, self.single_action_space)
        with _shared_memory(self.num_envs * record.itemsize) as memory:
            self._block = _map(memory.fileno(), record, self.num_envs)
            self._send_all([("map", record, self.num_envs)] * len(self._workers))
            with self._closed_on_failure():
                for worker in self._workers:
                    self._give(worker, memory.fileno())
            self._answers()

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assigns `tasks[i]` to environment `i`, from the next `reset` on."""
        checked = self._check_count(tasks)
        self.tasks = ()  # remains so if a worker refuses its tasks
        self._ask_all([("set_tasks", cloudpickle.dumps(checked[worker.envs])) for worker in self._workers])
        self.tasks = checked

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins a new episode in every environment; passes `options` to each shard."""
        seeds = self._seed_each(seed)
        self._ask_all([("reset", None if seed is None else seeds[worker.envs], options) for worker in self._workers])
        return self._block["observation"].copy(), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Makes a step in every environment, with actions converted and clipped to the action space."""
        self.send(actions)
        return self.receive()

    def send(self, actions: npt.NDArray[Any]) -> None:
        """See `TaskVectorEnv`."""
        self._block["action"] = self._in_action_space(actions)
        self._send_all([_STEP] * len(self._workers))

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        block = self._block
        self._answers()
        infos: dict[str, Any] = {"success": block["success"].copy()}
        ended = block["ended"].copy()
        if ended.any():
            infos |= {"final_obs": np.where(ended[:, None], block["final_observation"], 0), "_final_obs": ended}
        flags = block["terminated"].copy(), block["truncated"].copy()
        return block["observation"].copy(), block["reward"].copy(), *flags, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers."""
        self._finalizer()

    def _ask_all(self, messages: Sequence[Any]) -> list[Any]:
        """Sends each worker a message (`_STEP` or a command of `_Shard` with its arguments); returns the answers."""
        self._send_all(messages)
        return self._answers()

    def _send_all(self, messages: Sequence[Any]) -> None:
        if self.closed:
            raise RuntimeError("the environment is closed")
        with self._closed_on_failure():
            for worker, message in zip(self._workers, messages, strict=True):
                self._send(worker, message)

    def _answers(self) -> list[Any]:
        with self._closed_on_failure():
            answers = self._receive_all()
        for worker, answer in zip(self._workers, answers, strict=True):
            if answer.startswith(_ERROR):
                raise self._failure(worker, *pickle.loads(answer[1:]))  # noqa: S301  (from our own worker)
        return [pickle.loads(answer[1:]) if answer != _OK else None for answer in answers]  # noqa: S301

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Closes the environment on an exception: late answers would be taken for those of the next call."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _send(self, worker: _Worker, message: Any) -> None:
        try:
            worker.pipe.send_bytes(message if isinstance(message, bytes) else pickle.dumps(message))
        except OSError:
            raise self._death(worker) from None

    def _give(self, worker: _Worker, descriptor: int) -> None:
        try:
            send_handle(worker.pipe, descriptor, worker.process.pid)
        except OSError:
            raise self._death(worker) from None

    def _receive_all(self) -> list[bytes]:
        waiting = {worker.pipe: worker for worker in self._workers}
        answers: dict[int, bytes] = {}
        deadline = time.monotonic() + self._timeout_s
        while waiting:
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                worker = next(iter(waiting.values()))
                raise WorkerFailure(f"{self._name(worker)} did not answer within {self._timeout_s:g} s")
            for pipe in ready:
                worker = waiting.pop(pipe)  # type: ignore[call-overload]  # `wait` is given connections only
                try:
                    answers[worker.number] = worker.pipe.recv_bytes()
                except (EOFError, OSError):
                    raise self._death(worker) from None
        return [answers[worker.number] for worker in self._workers]

    def _failure(self, worker: _Worker, kind: str | None, message: str, trace: str) -> Exception:
        if kind is None:
            return UserError(message)
        error = WorkerFailure(f"{self._name(worker)} failed: {kind}: {message}")
        error.add_note(trace)
        return error

    def _death(self, worker: _Worker) -> WorkerFailure:
        try:
            code = worker.process.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            return WorkerFailure(f"{self._name(worker)} closed its connection")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return WorkerFailure(f"{self._name(worker)} {how}")

    def _name(self, worker: _Worker) -> str:
        names = sorted({task.name for task in self.tasks[worker.envs]})
        tasks = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"environment worker {worker.number} (tasks: {tasks or 'none yet'})"


def _start(number: int, envs: slice) -> _Worker:
    ours, theirs = Pipe()
    with theirs:
        # -P: without it a signal.py or random.py in the working directory would be imported for the standard library's.
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and program)
            [sys.executable, "-P", "-c", _BOOTSTRAP, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=os.environ | _SINGLE_THREADED,
        )
    return _Worker(number, envs, process, ours)


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + _GRACE_S
    for worker in workers:
        try:
            worker.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def _shared_memory(size: int) -> IO[bytes]:
    """Makes a file in memory that nobody else can open and that ends with its last user.

    One in /dev/shm would be limited to the 64 MiB of most containers, beyond which a write kills the process.
    """
    linux = hasattr(os, "memfd_create")
    memory = open(os.memfd_create("metarl"), "r+b") if linux else tempfile.TemporaryFile()  # noqa: SIM115  (returned)
    memory.truncate(size)
    return memory


def _record(observation_space: gym.spaces.Box, action_space: gym.spaces.Box | gym.spaces.Discrete) -> np.dtype[Any]:
    """Structure of the data of a step, for one environment."""
    observation = (observation_space.dtype, observation_space.shape)
    flags = ("terminated", "truncated", "success", "ended")
    return np.dtype(
        [
            ("action", action_space.dtype, action_space.shape),
            ("observation", *observation),
            ("final_observation", *observation),
            ("reward", np.float64),
            *((flag, np.bool_) for flag in flags),
        ],
        align=True,
    )


def _map(descriptor: int, record: np.dtype[Any], num_envs: int) -> npt.NDArray[Any]:
    return np.ndarray((num_envs,), record, mmap.mmap(descriptor, num_envs * record.itemsize))


def end_with_parent(parent: int) -> None:
    """Ends this process soon after its parent, even while an environment does not return from a step.

    The pipe tells at once, but only a worker that reads it, and not while another child of the parent holds its end.

    Args:
        parent: Number of the parent process.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_CHECK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _pickle(make_shard: MakeShard) -> bytes:
    try:
        recipe: bytes = cloudpickle.dumps(make_shard)
    except Exception as error:  # an object decides by itself what it raises
        raise UserError(
            f"the environments cannot be sent to worker processes ({one_line(error)}): a function that"
            " makes them, applies a task or tells success refers to something that cannot be pickled, such as an open"
            " file, a lock or a simulator; make that inside the function that makes an environment"
        ) from error
    return recipe


def _registered_ids() -> list[bytes]:
    """Pickles what the program has registered with Gymnasium; leaves out what cannot be pickled."""
    pickled = []
    for spec in gym.registry.values():
        if not str(spec.entry_point).startswith(("gymnasium.", "metarl_envs.")):
            with suppress(Exception):
                pickled.append(cloudpickle.dumps(spec))
    return pickled


def _serve(pipe: Connection, envs: slice, recipe: bytes, registered_ids: list[bytes]) -> None:
    """Runs a worker: makes the environments, then executes commands until the pipe closes."""
    try:
        for spec in map(cloudpickle.loads, registered_ids):
            gym.registry.setdefault(spec.id, spec)
        env: TaskVectorEnv = cloudpickle.loads(recipe)(envs.stop - envs.start)
        greeting = _OK + pickle.dumps((env.single_observation_space, env.single_action_space, env.horizon))
    except Exception as error:
        pipe.send_bytes(_report(error))
        return
    shard = _Shard(env, envs, pipe)
    try:
        pipe.send_bytes(greeting)
        while True:
            pipe.send_bytes(_execute(shard, pipe.recv_bytes()))
    finally:
        env.close()


def _execute(shard: "_Shard", message: bytes) -> bytes:
    try:
        if message == _STEP:
            shard.step()
        else:
            command, *arguments = pickle.loads(message)  # noqa: S301  (from our own parent)
            getattr(shard, command)(*arguments)
    except Exception as error:
        return _report(error)
    return _OK


def _report(error: Exception) -> bytes:
    kind = None if isinstance(error, UserError) else type(error).__name__
    message = str(error) if kind is None else f"{error} ({place(error)})"
    return _ERROR + pickle.dumps((kind, message, traceback.format_exc()))


class _Shard:
    """Environments of one worker; the public methods are the commands of the parent process."""

    _block: npt.NDArray[Any]

    def __init__(self, env: TaskVectorEnv, envs: slice, pipe: Connection) -> None:
        self._env = env
        self._envs = envs
        self._pipe = pipe

    def map(self, record: np.dtype[Any], num_envs: int) -> None:
        descriptor = recv_handle(self._pipe)
        try:
            self._block = _map(descriptor, record, num_envs)[self._envs]
        finally:
            os.close(descriptor)

    def set_tasks(self, tasks: bytes) -> None:
        self._env.set_tasks(cloudpickle.loads(tasks))

    def reset(self, seed: list[int | None] | None, options: dict[str, Any] | None) -> None:
        self._block["observation"], _ = self._env.reset(seed=seed, options=options)

    def step(self) -> None:
        block = self._block
        observation, block["reward"], block["terminated"], block["truncated"], infos = self._env.step(
            block["action"].copy()
        )
        block["observation"] = observation
        block["success"] = infos["success"]
        block["ended"] = infos.get("_final_obs", False)
        if "final_obs" in infos:
            block["final_observation"] = infos["final_obs"]
