"""Filming by several processes, each with films of its own: MuJoCo mixes up OpenGL contexts within a process.

Started as a program, this module is such a process. It gets its films as JSON on its standard input, and writes a line
for each moment played, then one that says how it ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from metarl.errors import RunFailure
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.viewing.film import Shot, film
from metarl_envs.errors import UserError

_ADVANCE = "."
"""Line for a moment played."""
_MOMENTS_AT_ONCE = 10
"""Number of moments that a line stands for."""


class Film(NamedTuple):
    """A film to be made."""

    path: str
    """File to write."""
    task: int
    """Index among the held-out tasks."""
    label: str
    """Why the task is shown; "" for no reason."""


def film_in_processes(
    run: RunDirectory,
    checkpoint: Path,
    films: Sequence[Film],
    shot: Shot,
    processes: int,
    advance: Callable[[int], object],
) -> None:
    """Films tasks of a run in several processes.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        films: Films to make.
        shot: How the tasks are filmed.
        processes: Number of processes.
        advance: Called with a number of moments played.

    Raises:
        UserError: If a process finds the user's input wrong.
        RunFailure: If a film cannot be written, or a process dies.
    """
    shared: dict[str, Any] = {
        "run": str(run.path.absolute()),
        "checkpoint": str(checkpoint.absolute()),
        "shot": asdict(shot),
    }
    shared["modules"] = sys.path  # where plug-ins of this process may come from
    jobs = [shared | {"films": list(films[start::processes])} for start in range(min(processes, len(films)))]
    started: list[subprocess.Popen[str]] = []
    lock = threading.Lock()

    def work(job: dict[str, Any]) -> None:
        command = [sys.executable, "-P", "-m", __name__]  # -P: no module of the working folder in place of Python's
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            started.append(process)
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin as job_file:
                json.dump(job, job_file)
            outcome: dict[str, str] | None = None
            for line in process.stdout:
                if line.strip() == _ADVANCE:
                    with lock:
                        advance(_MOMENTS_AT_ONCE)
                else:
                    outcome = json.loads(line)
        if outcome is None:
            raise RunFailure(f"a process that films ended with code {process.returncode}")
        if "wrong" in outcome:
            raise UserError(outcome["wrong"])
        if "failed" in outcome:
            raise RunFailure(outcome["failed"])

    with ThreadPoolExecutor(len(jobs)) as pool:
        try:
            for done in [pool.submit(work, job) for job in jobs]:
                done.result()
        finally:  # after a failure or Ctrl-C the others are of no use
            for process in started:
                process.terminate()


def _work(job: dict[str, Any]) -> None:
    sys.path[:] = job["modules"]
    run, shot = RunDirectory.open(Path(job["run"])), Shot(**job["shot"])
    distribution = run.config.tasks.build()
    agent, _ = load_agent(Path(job["checkpoint"]), run.config, distribution, shot.seed)
    played = 0

    def advance() -> None:
        nonlocal played
        played += 1
        if played % _MOMENTS_AT_ONCE == 0:
            print(_ADVANCE, flush=True)

    for path, task, label in job["films"]:
        film(Path(path), agent, distribution, distribution.test_tasks[task], shot, label, advance)


def _main() -> None:
    outcome = {"done": ""}
    try:
        _work(json.load(sys.stdin))
    except UserError as error:
        outcome = {"wrong": str(error)}
    except RunFailure as error:
        outcome = {"failed": str(error)}
    except KeyboardInterrupt:  # the one who started this process says so
        return
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    _main()
