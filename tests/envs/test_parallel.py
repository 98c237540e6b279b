import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle
import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.parallel import MakeShard, ParallelVectorEnv
from metarl_envs.wrapped import WrappedVectorEnv

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import a test module
ROOT = Path(__file__).parents[2]


def make_pendulum(render_mode: str | None) -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1", render_mode=render_mode)


def make_cartpole(render_mode: str | None) -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1", render_mode=render_mode)


def apply_gravity(env: Any, task: Task) -> None:
    if task.parameters[0] < 0:
        raise UserError(f"gravity must not be negative: {task.parameters[0]}")
    env.unwrapped.g = env.unwrapped.gravity = task.parameters[0]


def on_the_right(env: Any, info: dict[str, Any]) -> bool:
    return bool(env.unwrapped.state[0] > 0)


pendulums = partial(WrappedVectorEnv, make_pendulum, apply_gravity, horizon=7, success=on_the_right)
cartpoles = partial(WrappedVectorEnv, make_cartpole, apply_gravity, horizon=50, success=on_the_right)


def tasks_for(count: int) -> list[Task]:
    return [Task(f"gravity-{index}", [5.0 + index]) for index in range(count)]


def play(env: TaskVectorEnv, steps: int, seed: int, act: Callable[[np.random.Generator, int], Any]) -> list[Any]:
    """Everything that is returned in two rounds of tasks, as a list of arrays."""
    seen = []
    rng = np.random.default_rng(0)
    for tasks in (tasks_for(env.num_envs), tasks_for(env.num_envs)[::-1]):
        env.set_tasks(tasks)
        seen.append(env.reset(seed=seed)[0])
        for _ in range(steps):
            *arrays, infos = env.step(act(rng, env.num_envs))
            seen += arrays
            for key in sorted(infos):
                seen.append(infos[key])
    return seen


@pytest.mark.parametrize(
    ("make_shard", "act"),
    [
        (pendulums, lambda rng, count: rng.normal(scale=3.0, size=(count, 1)).astype(np.float32)),
        (cartpoles, lambda rng, count: rng.integers(2, size=count)),
    ],
)
@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_results_equal_those_of_one_process_bit_for_bit(
    make_shard: MakeShard, act: Callable[[np.random.Generator, int], Any], num_workers: int
) -> None:
    parallel, serial = ParallelVectorEnv(make_shard, 5, num_workers), make_shard(5)
    try:
        results = [play(env, 60, seed=3, act=act) for env in (parallel, serial)]
    finally:
        parallel.close()
    assert len(results[0]) == len(results[1])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_workers_step_while_their_parent_does_something_else() -> None:
    env, alone = ParallelVectorEnv(pendulums, 2, 2), pendulums(2)
    try:
        for each in (env, alone):
            each.set_tasks(tasks_for(2))
            each.reset(seed=3)
        actions = np.array([[0.5], [-0.5]], np.float32)
        env.send(actions)
        assert all(worker.pipe.poll(30) for worker in env._workers)  # they are done, and nobody has asked
        for one, other in zip(env.receive()[:4], alone.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
    finally:
        env.close()


@given(st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=200)
def test_shards_are_contiguous_and_even(num_envs: int, num_workers: int) -> None:
    started: list[Any] = []

    class Recorded(ParallelVectorEnv):
        def _connect(self, make_shard: MakeShard) -> None:
            started.extend(self._workers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metarl_envs.parallel._start", lambda number, envs: envs)
        patch.setattr("metarl_envs.parallel._stop", lambda workers: None)
        Recorded(pendulums, num_envs, num_workers)
    sizes = [len(range(num_envs)[envs]) for envs in started]
    assert [index for envs in started for index in range(num_envs)[envs]] == list(range(num_envs))
    assert len(started) == min(num_envs, num_workers)
    assert max(sizes) - min(sizes) <= 1


def test_lambdas_and_closures_make_shards() -> None:
    horizon = 3
    env = ParallelVectorEnv(
        lambda count: WrappedVectorEnv(lambda mode: gym.make("Pendulum-v1"), lambda e, t: None, count, horizon), 2
    )
    try:
        assert env.horizon == 3
        assert env.single_action_space.shape == (1,)
        env.set_tasks(tasks_for(2))
        assert env.reset()[0].shape == (2, 3)
    finally:
        env.close()


class Trouble(WrappedVectorEnv):
    """Pendulums that act on the first action they are given."""

    def step(self, actions: npt.NDArray[Any]) -> Any:
        command = float(actions[0, 0])
        if command == 1.0:
            raise ZeroDivisionError("no gravity today")
        if command == 2.0:
            os.kill(os.getpid(), signal.SIGKILL)
        if command == 1.5:
            os._exit(3)
        if command == -1.0:
            time.sleep(60)
        if command == -2.0:
            os.kill(os.getpid(), signal.SIGINT)
            for name in ("TERM", "HUP", "USR1", "USR2", "XCPU"):  # a hang-up or a scheduler reaches the whole job
                os.kill(os.getpid(), getattr(signal, f"SIG{name}"))
        return super().step(actions)


def trouble(timeout_s: float = 60.0) -> ParallelVectorEnv:
    env = ParallelVectorEnv(partial(Trouble, make_pendulum, apply_gravity, horizon=7), 2, 2, timeout_s)
    env.set_tasks(tasks_for(2))
    env.reset(seed=0)
    return env


def test_an_exception_is_raised_here_with_worker_task_and_message() -> None:
    env = trouble()
    with pytest.raises(RuntimeError, match=r"worker 1 \(tasks: gravity-1\) failed: ZeroDivisionError: no gr") as caught:
        env.step(np.array([[0.0], [1.0]]))
    assert "in step" in caught.value.__notes__[0]  # where it happened
    env.reset(seed=0)  # the workers are still in step with their parent
    assert env.step(np.zeros((2, 1)))[0].shape == (2, 3)
    env.close()


def test_a_users_mistake_stays_one() -> None:
    env = trouble()
    env.set_tasks([Task("up", [1.0]), Task("up", [-1.0])])
    with pytest.raises(UserError, match=r"^gravity must not be negative: -1.0$"):
        env.reset()
    env.close()
    with pytest.raises(UserError, match=r"^actions must be"):
        ParallelVectorEnv(partial(WrappedVectorEnv, make_taxi, apply_gravity, horizon=7), 2)


def make_taxi(render_mode: str | None) -> gym.Env[Any, Any]:
    env = make_pendulum(render_mode)
    env.action_space = gym.spaces.MultiBinary(2)
    return env


@pytest.mark.parametrize(("command", "fate"), [(2.0, "was killed by SIGKILL"), (1.5, "ended with exit code 3")])
def test_a_worker_that_dies_is_named_and_the_environment_closes(command: str, fate: str) -> None:
    env = trouble()
    processes = [worker.process for worker in env._workers]
    with pytest.raises(RuntimeError, match=rf"worker 1 \(tasks: gravity-1\) {fate}"):
        env.step(np.array([[0.0], [command]]))
    assert env.closed
    assert all(process.returncode is not None for process in processes)
    with pytest.raises(RuntimeError, match="the environment is closed"):
        env.step(np.zeros((2, 1)))


def test_a_worker_found_dead_between_steps_is_named() -> None:
    env = trouble()
    env._workers[0].process.kill()
    env._workers[0].process.wait()
    with pytest.raises(RuntimeError, match=r"worker 0 \(tasks: gravity-0\) was killed by SIGKILL"):
        env.step(np.zeros((2, 1)))


def test_a_worker_that_hangs_is_named_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl_envs.parallel._GRACE_S", 0.1)
    env = trouble(timeout_s=5.0)
    env._timeout_s = 0.5
    with pytest.raises(RuntimeError, match=r"worker 1 \(tasks: gravity-1\) did not answer within 0.5 s"):
        env.step(np.array([[0.0], [-1.0]]))
    assert [worker.process.returncode for worker in env._workers][1] == -signal.SIGKILL


def test_workers_leave_interrupts_to_their_parent() -> None:
    env = trouble()
    observations, *_ = env.step(np.array([[-2.0], [-2.0]]))
    assert observations.shape == (2, 3)
    env.close()


def test_an_interrupt_in_the_middle_of_a_call_closes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    env = trouble()

    def interrupt(*args: Any, **kwargs: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("metarl_envs.parallel.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        env.step(np.zeros((2, 1)))
    assert env.closed


def test_closing_twice_is_harmless_and_ends_the_workers() -> None:
    env = trouble()
    processes = [worker.process for worker in env._workers]
    env.close()
    env.close()
    assert [process.returncode for process in processes] == [0, 0]


def test_an_environment_that_is_no_longer_referenced_ends_its_workers() -> None:
    env = trouble()
    processes = [worker.process for worker in env._workers]
    del env
    assert [process.returncode for process in processes] == [0, 0]


def test_no_shared_memory_is_left_behind() -> None:
    before = set(Path("/dev/shm").glob("metarl-*"))
    env = trouble()
    assert set(Path("/dev/shm").glob("metarl-*")) == before
    env.close()


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1, not 0 and 2"):
        ParallelVectorEnv(pendulums, 0, 2)
    with pytest.raises(UserError, match="at least 1, not 2 and 0"):
        ParallelVectorEnv(pendulums, 2, 0)


def test_rendering_is_refused() -> None:
    env = trouble()
    with pytest.raises(UserError, match="does not render"):
        env.render()
    env.close()


SCRIPT = """
import gymnasium as gym, numpy as np, sys
from metarl_envs.core import Task
from metarl_envs.wrapped import WrappedDistribution
class Mine(gym.Wrapper):
    pass
tasks = [Task("a", [i]) for i in range(4)]
make_single = lambda mode: Mine(gym.make("Pendulum-v1"))
family = WrappedDistribution("a", tasks[:2], tasks[2:], make_single, lambda env, task: None, 3)
env = family.make_env(2)
env.set_tasks(tasks[:2])
env.reset(seed=0)
print(*(worker.process.pid for worker in env._workers), flush=True)
sys.stdin.readline()
"""


def run_script() -> Any:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, f"worker {pid} is an orphan"
        time.sleep(0.02)


def test_a_script_without_a_main_guard_works_and_exits_silently() -> None:
    with run_script() as script:
        output, errors = script.communicate("\n", timeout=60)
    assert script.returncode == 0
    assert errors == ""
    for pid in output.split():
        wait_until_gone(pid)


def test_workers_end_when_their_parent_is_killed() -> None:
    with run_script() as script:
        pids = script.stdout.readline().split()
        assert pids
        script.kill()
        script.wait()
        for pid in pids:
            wait_until_gone(pid)
        assert script.stderr.read() == ""


def test_a_worker_that_hangs_ends_with_its_killed_parent() -> None:
    """Regression: only a worker that waited for its next command saw that the parent was gone."""
    code = SCRIPT.replace("lambda env, task: None", "lambda env, task: __import__('time').sleep(600)")
    code = code.replace("env.reset(seed=0)\n", "").replace("sys.stdin.readline()", "env.reset(seed=0)")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        pids = script.stdout.readline().split()
        time.sleep(1)  # until they hang
        script.kill()
        script.wait()
        for pid in pids:
            wait_until_gone(int(pid))


def test_shared_memory_is_not_that_of_dev_shm() -> None:
    """Containers have 64 MiB of it; a write beyond kills the process without a word."""
    env = trouble()
    assert env._block.base is not None
    maps = Path("/proc/self/maps").read_text()
    assert "memfd:metarl" in maps
    assert "/dev/shm/metarl" not in maps
    env.close()


def test_workers_run_single_threaded_numerics() -> None:
    env = ParallelVectorEnv(lambda count: Environ(make_pendulum, apply_gravity, count, 3), 1)
    try:
        env.set_tasks([Task("threads", [1.0])])
        assert env.reset()[0].tolist() == [[1.0, 1.0, 1.0]]
    finally:
        env.close()


class Environ(WrappedVectorEnv):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return np.array([[float(os.environ[name]) for name in names]]), {}
