"""A benchmark that is ended leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.processes import run_in_process
from metarl.errors import RunFailure
from metarl_envs.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts"
LEARNING = [str(SCRIPTS / "benchmark"), "--suite", "algorithms-quick", "--rounds", "1000"]
SLEEPING = """
import time
from benchmark import __main__
from benchmark.processes import run_in_process
__main__.run_benchmark = lambda *_, **__: run_in_process(time.sleep, 600)
raise SystemExit(__main__.main([]))
"""
SIMULATION = """
from benchmark import running
from benchmark.simulation import Comparison
running.SUITES["tiny"] = (Comparison("reach-v3", num_envs=3, original_num_envs=2, min_ratio=1.0, horizon=4),)
running.run_benchmark("tiny", seconds=600)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed in /proc")


def in_session(leader: int) -> set[int]:
    """Processes of a session that have not ended."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if int(session) == leader and state != "Z":
                found.add(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


Start = Callable[[list[str]], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python in a session of its own, waits until it measures, and kills what is left at the end."""
    processes = []

    def start(arguments: list[str]) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        with Path("errors.txt").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
            )
        processes.append(process)
        # the benchmark, what measures, and either multiprocessing's resource tracker or a second environment
        wait_until(lambda: len(in_session(process.pid)) >= 3 or process.poll() is not None, "no process measures")
        assert process.poll() is None, Path("errors.txt").read_text()
        return process

    yield start
    for process in processes:
        for left in in_session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        process.wait()


def assert_ends(process: "subprocess.Popen[str]", number: signal.Signals, code: int) -> None:
    process.send_signal(number)
    assert process.wait(timeout=120) == code
    wait_until(lambda: not in_session(process.pid), "a process is left")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else "",
)
def test_the_measuring_process_ends_with_the_benchmark(start: Start, number: signal.Signals, code: int) -> None:
    assert_ends(start(["-c", SLEEPING]), number, code)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.slow),  # above, with what measures nothing
    ],
)
def test_a_training_ends_with_the_benchmark(start: Start, number: signal.Signals) -> None:
    assert_ends(start(LEARNING), number, -9 if number == signal.SIGKILL else 143)


def test_environments_of_meta_world_end_with_the_benchmark(start: Start) -> None:
    assert_ends(start(["-c", SIMULATION]), signal.SIGKILL, -9)


def fail() -> None:
    raise UserError("no such thing")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_function_runs_in_another_process() -> None:
    assert run_in_process(os.getppid) == os.getpid()


def test_errors_are_raised_again() -> None:
    with pytest.raises(UserError, match=r"^no such thing$"):
        run_in_process(fail)


def test_a_killed_process_is_a_failure() -> None:
    with pytest.raises(RunFailure, match="killed; perhaps memory ran out"):
        run_in_process(kill_itself)
