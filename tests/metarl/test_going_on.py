"""Runs are neither lost nor stuck: restarts, other machines, signals, terminals that go, and what is best."""

import errno
import os
import pty
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killing
import pytest

from metarl import checkpoints
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.cli.train import train_in_terminal
from metarl.progress import STOP_SIGNALS, StopSignal
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.errors import UserError

CONFIG = killing.make_config("maml-trpo")


def train(path: Path, iterations: int) -> None:
    """Trains as many iterations and leaves the rest as a kill does: without a checkpoint of its own."""
    training = Training.resume(path) if path.exists() else Training.start(CONFIG, path)
    with training:
        for _ in range(iterations):
            next(training)


def logged(path: Path) -> int:
    """Number of iterations logged; the evaluation before training is none."""
    return sum('"iteration": -1,' not in line for line in (path / "metrics.jsonl").read_text().splitlines())


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path, capsys) -> None:
    train(tmp_path / "run", 1)
    assert not checkpoints.exists(tmp_path / "run" / "checkpoints")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "no checkpoint yet: starting from the beginning" in capsys.readouterr().out
    with Training.start(CONFIG, tmp_path / "whole") as training:
        list(training)
    assert killing.outcome(tmp_path / "run") == killing.outcome(tmp_path / "whole")


def test_a_run_whose_checkpoints_are_lost_keeps_its_metrics(tmp_path) -> None:
    train(tmp_path / "run", 5)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.rename(tmp_path / path.name)
    with pytest.raises(UserError, match=r"has logged 5 iterations, but .*checkpoints is empty: restore a checkpoint"):
        Training.resume(tmp_path / "run")
    assert logged(tmp_path / "run") == 5


def test_fewer_iterations_than_are_done_are_refused_and_change_nothing(tmp_path) -> None:
    train(tmp_path / "run", 4)
    with pytest.raises(UserError, match=r"^iterations: 3 is less than the 4 that run .*run has done; give 4 or more$"):
        Training.resume(tmp_path / "run", 3)
    assert RunDirectory.open(tmp_path / "run").config == CONFIG
    with Training.resume(tmp_path / "run", 4) as training:
        assert list(training) == []
    assert logged(tmp_path / "run") == 4


def test_a_run_that_is_done_says_so(tmp_path, capsys) -> None:
    train(tmp_path / "run", killing.ITERATIONS)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "all 9 iterations were done before; --iterations N trains for more" in capsys.readouterr().out


def test_a_run_of_a_gpu_goes_on_without_one(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train(tmp_path / "run", 2)
    RunDirectory.open(tmp_path / "run").set_config(CONFIG.model_copy(update={"device": "cuda"}))
    with pytest.raises(UserError, match="'cuda' was asked for"):
        Training.resume(tmp_path / "run")
    overrides = ["--device", "cpu", "--threads", "2", "--workers", "1", "--evaluation.num-envs", "1"]
    with Training.resume(tmp_path / "run", overrides=overrides) as training:
        assert [iteration.iteration for iteration in training] == list(range(3, 10))
    config = RunDirectory.open(tmp_path / "run").config
    assert (config.device, config.threads, config.workers, config.evaluation.num_envs) == ("cpu", 2, 1, 1)


def test_nothing_else_may_change(tmp_path) -> None:
    train(tmp_path / "run", 2)
    with pytest.raises(UserError, match=r"^--seed cannot go with --resume.*; only --iterations, --device, .* can$"):
        Training.resume(tmp_path / "run", overrides=["--seed", "4"])


def stop_off_schedule(path: Path) -> None:
    """Stops a training after an iteration that no checkpoint is due at, and lets it go on."""
    with Training.start(CONFIG, path) as training:
        for iteration in training:
            if iteration.iteration == 3:
                training.stop()
    with Training.resume(path) as training:
        list(training)


def test_a_stop_does_not_change_which_checkpoint_is_best(tmp_path, monkeypatch) -> None:
    save: Callable[..., Path] = checkpoints.save
    scores = {2: 0.1, 3: 0.9, 4: 0.5, 6: 0.2, 8: 0.3, 9: 0.4}  # the best of all would be the stop's, at 3

    def scored(directory: Path, tensors: Any, manifest: Manifest) -> Path:
        return save(directory, tensors, manifest.model_copy(update={"score": scores[manifest.iteration]}))

    monkeypatch.setattr(checkpoints, "save", scored)
    with Training.start(CONFIG, tmp_path / "whole") as training:
        list(training)
    stop_off_schedule(tmp_path / "stopped")
    kept = {}
    for name in ("whole", "stopped"):
        run = RunDirectory.open(tmp_path / name)
        kept[name] = [checkpoints.load(path)[1].iteration for path in sorted(run.checkpoints.iterdir())]
        assert checkpoints.load(run.checkpoint("best"))[1].iteration == 4
    assert kept == {"whole": [4, 8, 9], "stopped": [4, 8, 9]}


def test_going_on_for_more_iterations_does_not_change_the_best_either(tmp_path, monkeypatch) -> None:
    save: Callable[..., Path] = checkpoints.save
    scores = {2: 0.5, 3: 0.9, 4: 0.1, 6: 0.2, 8: 0.3, 9: 0.4}

    def scored(directory: Path, tensors: Any, manifest: Manifest) -> Path:
        return save(directory, tensors, manifest.model_copy(update={"score": scores[manifest.iteration]}))

    monkeypatch.setattr(checkpoints, "save", scored)
    with Training.start(CONFIG.model_copy(update={"iterations": 3}), tmp_path / "run") as training:
        list(training)
    run = RunDirectory.open(tmp_path / "run")
    assert checkpoints.load(run.checkpoint("best"))[1].iteration == 3  # the last one of all competes while it is that
    with Training.resume(tmp_path / "run", killing.ITERATIONS) as training:
        list(training)
    assert checkpoints.load(RunDirectory.open(tmp_path / "run").checkpoint("best"))[1].iteration == 2


def test_a_stop_between_iterations_leaves_one_checkpoint(tmp_path, monkeypatch) -> None:
    saved: list[int] = []
    save: Callable[..., Path] = checkpoints.save

    def recorded(directory: Path, tensors: Any, manifest: Manifest) -> Path:
        saved.append(manifest.iteration)
        return save(directory, tensors, manifest)

    monkeypatch.setattr(checkpoints, "save", recorded)
    with Training.start(CONFIG, tmp_path / "run") as training:
        for iteration in training:
            if iteration.iteration in (3, 4):
                training.stop()
    assert saved == [2, 3]


def test_an_interrupt_is_heard_in_the_background() -> None:
    """Shells have SIGINT ignored by what a script starts with `&`, but whoever sends it there means it."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
def test_every_signal_that_asks_to_end_stops_with_a_checkpoint(tmp_path, capsys, number) -> None:
    def start() -> Training:
        training = Training.start(CONFIG, tmp_path / "run")
        os.kill(os.getpid(), number)
        next(training)
        return training

    train_in_terminal(start)
    assert f"stopped; go on with: metarl train --resume {tmp_path}/run" in capsys.readouterr().out
    assert checkpoints.load(RunDirectory.open(tmp_path / "run").checkpoint("last"))[1].iteration == 1


def test_a_hang_up_remains_ignored_after_nohup() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_terminal_that_is_gone_costs_nothing(tmp_path) -> None:
    program = f"""
import killing
from metarl.cli.train import train_in_terminal
from metarl.training import Training
config = killing.make_config("maml-trpo").model_copy(update={{"iterations": 100000}})
train_in_terminal(lambda: Training.start(config, {str(tmp_path / "run")!r}))
"""
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under nohup ignore it, and so would this
        environment = os.environ | {"PYTHONPATH": str(Path(killing.__file__).parent)}
        os.execve(sys.executable, [sys.executable, "-c", program], environment)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and logged(tmp_path / "run") >= 3):
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 4096)
    os.close(terminal)  # the window is closed, the connection has dropped
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert checkpoints.load(RunDirectory.open(tmp_path / "run").checkpoint("last"))[1].iteration >= 3


def test_a_pipe_that_nobody_reads_any_more_does_not_end_the_training(tmp_path) -> None:
    read, write = os.pipe()
    program = "import sys; from metarl.progress import Reporter; from pathlib import Path\n"
    program += "with Reporter(Path('run'), 2, 0) as reporter: reporter.finish(interrupted=False)"
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_kill_while_a_run_is_made_leaves_no_directory_that_is_half_a_run(tmp_path, monkeypatch) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    for name in ("write_atomically", "_rename", "dump_config"):
        with monkeypatch.context() as patch:
            patch.setattr(f"metarl.runs.{name}", kill)
            patch.setattr("shutil.rmtree", lambda *_, **__: None)  # a killed process clears nothing away
            with pytest.raises(Killed):
                RunDirectory.create(tmp_path / "run", CONFIG)
        assert not (tmp_path / "run").exists()
    RunDirectory.create(tmp_path / "run", CONFIG)
    assert RunDirectory.open(tmp_path / "run").config == CONFIG


def test_what_a_kill_left_half_written_is_cleared_away(tmp_path) -> None:
    train(tmp_path / "run", 4)
    (tmp_path / "run" / ".metrics.jsonl.0a1b2c3d.tmp").write_text("half")
    folder = tmp_path / "run" / "checkpoints"
    last = checkpoints.latest(folder)
    last.rename(folder / f".replaced-{last.name}")  # between the two renames that replace a checkpoint
    (folder / ".tmp-000000009999").mkdir()
    Training.resume(tmp_path / "run").close()
    assert not list((tmp_path / "run").glob(".*.tmp"))
    assert checkpoints.latest(folder) in (last, *folder.iterdir())
    assert last.exists()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES])
@pytest.mark.parametrize("only_directories", [True, False])
def test_a_file_system_that_cannot_sync_is_good_enough(tmp_path, monkeypatch, number, only_directories) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not only_directories or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    train(tmp_path / "run", 2)
    assert checkpoints.load(RunDirectory.open(tmp_path / "run").checkpoint("last"))[1].iteration == 2
