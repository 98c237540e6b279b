"""One process at a time writes a run; the others are told who."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from typing import NoReturn

import killing
import pytest

from metarl import checkpoints
from metarl.run_lock import RunLock
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.errors import UserError

CONFIG = killing.make_config("maml-trpo")


def test_a_second_process_is_told_who_writes_the_run(tmp_path) -> None:
    with Training.start(CONFIG, tmp_path / "run") as training:
        next(training)
        training.save()
        for extra in ([], ["--iterations", "20"]):
            command = [sys.executable, "-m", "metarl", "train", "--resume", str(tmp_path / "run"), *extra]
            second = subprocess.run(command, capture_output=True, text=True)
            assert second.returncode == 2
            assert f"run {tmp_path}/run is in use by another process ({os.getpid()} on " in second.stderr
            assert second.stderr.count("\n") == 1
        list(training)  # the first goes on as if nothing had been
    assert RunDirectory.open(tmp_path / "run").config == CONFIG
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1 + killing.ITERATIONS


def test_a_second_training_of_this_process_is_told_to_close_the_first(tmp_path) -> None:
    training = Training.start(CONFIG, tmp_path / "run")
    with pytest.raises(UserError, match=r"is in use by this process, by a training begun at .*; close that first$"):
        Training.resume(tmp_path / "run")
    training.close()
    Training.resume(tmp_path / "run").close()


def test_a_training_may_be_closed_in_another_thread(tmp_path) -> None:
    training = Training.start(CONFIG, tmp_path / "run")
    thread = threading.Thread(target=training.close)
    thread.start()
    thread.join()
    Training.resume(tmp_path / "run").close()


def test_a_dead_holder_does_not_block(tmp_path) -> None:
    program = "import os, pathlib, metarl.run_lock as m; m.RunLock(pathlib.Path()).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == 9
    assert (tmp_path / ".lock.json").exists()  # it says who died
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
    assert not (tmp_path / ".lock.json").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_has_another_kind(tmp_path, monkeypatch, number) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    first = RunLock(tmp_path)
    first.acquire()
    with pytest.raises(UserError, match="is in use by this process"):
        RunLock(tmp_path).acquire()
    first.release()
    RunLock(tmp_path).acquire()


def test_a_run_that_may_not_be_written_says_so(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("metarl.run_lock.FileLock.acquire", refuse)
    with pytest.raises(UserError, match=r"^cannot write run .*: Permission denied$"):
        RunLock(tmp_path).acquire()


def test_a_run_that_another_process_has_just_begun_is_not_removed(tmp_path, monkeypatch) -> None:
    path, create = tmp_path / "run", RunDirectory.create
    others: list[Training] = []

    def overtaken(*arguments: object) -> RunDirectory:
        run = create(path, CONFIG)
        others.append(Training.resume(path))
        return run

    monkeypatch.setattr(RunDirectory, "create", overtaken)
    with pytest.raises(UserError, match="is in use"):
        Training.start(CONFIG, path)
    list(others[0])
    others[0].close()
    assert checkpoints.exists(path / "checkpoints")
