"""Workers of a study: this process alone, or several processes that share its storage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from metarl.errors import RunFailure
from metarl.tuning.study import TuningStudy
from metarl.tuning.trial import play_trial
from metarl_envs.cores import available_cores
from metarl_envs.errors import UserError


def run_trials(study: TuningStudy, storage: str | None, trials: int, workers: int) -> None:
    """Plays trials until the study has as many as wanted, and prints a line for each.

    Args:
        study: Study, prepared.
        storage: URL of its database; None is its journal.
        trials: Number of trials of the whole study.
        workers: Number of processes to share them; 1 is this one.

    Raises:
        RunFailure: If the storage fails, or a worker dies; trials that were finished stay.
    """
    if workers == 1:
        work(study, trials, available_cores())
        return
    context = multiprocessing.get_context("spawn")
    arguments = study.folder, storage, trials, max(1, available_cores() // workers)
    processes: list[BaseProcess] = [context.Process(target=_work_alone, args=arguments) for _ in range(workers)]
    with _ending(processes):
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    codes = [process.exitcode for process in processes if process.exitcode]
    if codes:
        raise RunFailure(
            f"{len(codes)} of {workers} workers ended early (exit code {codes[0]}); finished trials stay, and the same"
            " command goes on from there"
        )


def work(study: TuningStudy, trials: int, cores: int) -> None:
    """Plays trials in this process until the study has as many as wanted.

    Args:
        study: Study of the trials.
        trials: Number of trials of the whole study.
        cores: Number of cores that a trial may use.

    Raises:
        StorageFailure: If the study's storage fails.
    """
    while True:
        trial = study.claim(trials)
        if trial is None:
            return
        print(play_trial(study, trial, cores), flush=True)


def _work_alone(folder: Path, storage: str | None, trials: int, cores: int) -> None:
    """Plays trials in a process of its own, which ends when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        work(TuningStudy(folder, storage), trials, cores)
    except (UserError, RunFailure) as error:
        raise SystemExit(f"metarl: failed: {error}") from None


@contextmanager
def _ending(processes: list[BaseProcess]) -> Iterator[None]:
    """Context that leaves no process behind, also if the command is ended by SIGTERM."""
    previous = signal.signal(signal.SIGTERM, lambda number, frame: _interrupt())
    try:
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
        signal.signal(signal.SIGTERM, previous)


def _interrupt() -> None:
    raise KeyboardInterrupt
