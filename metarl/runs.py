"""Directory of a training run: layout, configuration, metrics, evaluations and evidence of divergences."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from metarl import checkpoints
from metarl.config import RunConfig, dump_config, load_run_config
from metarl.errors import RunFailure
from metarl.files import staging_path, write_atomically
from metarl.run_lock import RunLock
from metarl.run_paths import CONFIG as _CONFIG
from metarl.run_paths import is_directory, is_run, no_run, seed_runs
from metarl.shell import command
from metarl.tensorboard import TensorBoard
from metarl.versions import versions
from metarl.zoo_files import OUTPUT, find_policy
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError

FORMAT = 2
"""Version of the run directory's format; raised with every change that earlier versions of metarl could not read."""

BEFORE_TRAINING = -1
"""Index in `metrics.jsonl` of what was measured before the first iteration."""

_VERSIONS = "versions.json"
_MAX_EVIDENCE = 10
"""Largest number of diverged simulations whose evidence a run keeps."""


class RunDirectory:
    """Run on disk; made by `create`, read by `open`.

        config.yaml         the whole configuration
        versions.json       versions of the software that started it
        metrics.jsonl       one line per iteration, and one of the evaluation before the first
        events.out.*        the same metrics for TensorBoard
        checkpoints/        see `metarl.checkpoints`
        evaluations/*.json  videos/  divergences/*.npz
        .lock*              see `metarl.run_lock`

    Attributes:
        path: Directory of the run.
        config: Configuration of the run.
        output: Directory of what is made of the run: its own, or `runs/zoo/<name>` for a pretrained policy.
        checkpoints: Directory of the checkpoints.
        evaluations: Directory of the evaluations.
        videos: Directory of the videos.
        divergences: Directory of the evidence of the first 10 simulations that diverged.
    """

    def __init__(self, path: Path, config: RunConfig, output: Path | None = None) -> None:
        self.path = path
        self.config = config
        self.output = output or path
        self.checkpoints = path / "checkpoints"
        self.evaluations = self.output / "evaluations"
        self.videos = self.output / "videos"
        self.divergences = path / "divergences"
        self._metrics = path / "metrics.jsonl"
        self._lock = RunLock(path)
        self._tensorboard: TensorBoard | None = None

    @property
    def called(self) -> Path:
        """What commands call the run: its directory, or the name of a pretrained policy."""
        return self.path if self.output == self.path else Path(self.path.name)

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunDirectory:
        """Makes the directory of a new run.

        Args:
            path: Directory to make, with its parents.
            config: Configuration of the run.

        Raises:
            UserError: If `path` exists or cannot be made.
            RunFailure: If its files cannot be written; the directory is removed then.
        """
        with new_directory(path) as staging, _convert_write_errors(path):
            run = cls(staging, config)
            for directory in (run.checkpoints, run.evaluations, run.videos):
                directory.mkdir()
            write_atomically(staging / _VERSIONS, _to_json({"run_format": FORMAT} | versions()))
            write_atomically(staging / _CONFIG, dump_config(config).encode())
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Opens the directory of an existing run, or a pretrained policy.

        Args:
            path: Directory of the run, or name of the policy, unless a directory has that name.

        Raises:
            UserError: If there is no run at `path`, its format is another, or its configuration is damaged.
        """
        policy = find_policy(path)
        if policy is not None:
            return cls(policy, load_run_config(policy / _CONFIG), OUTPUT / policy.name)
        if not is_run(path):
            raise no_run(path)
        found = _read_format(path / _VERSIONS)
        if found != FORMAT:
            remedy = "update metarl" if found > FORMAT else "train it anew"
            raise UserError(f"run {path} has format {found}, but this metarl reads {FORMAT} only: {remedy}")
        return cls(path, load_run_config(path / _CONFIG))

    def lock(self) -> None:
        """Reserves the run for this process until `close`, and clears away what a killed process left half-written.

        Raises:
            UserError: If another process writes the run, it cannot be written, or it is a pretrained policy.
        """
        if self.output != self.path:
            raise UserError(
                f"{self.path.name} is a pretrained policy, which lacks what training would go on from; train it anew:"
                f" {command('train', self.path / _CONFIG)}"
            )
        self._lock.acquire()
        for path in self.path.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def set_config(self, config: RunConfig) -> None:
        """Replaces the run's configuration, to train for more iterations for example.

        Raises:
            RunFailure: If the file cannot be written.
        """
        with _convert_write_errors(self.path / _CONFIG) as path:
            write_atomically(path, dump_config(config).encode())
        self.config = config

    def discard_unless_used(self) -> None:
        """Deletes the run if nothing was logged or saved, so a mistake found at start-up leaves no directory."""
        if not self._metrics.exists() and not any(self.checkpoints.iterdir()):
            shutil.rmtree(self.path, ignore_errors=True)

    def checkpoint(self, which: str) -> Path:
        """Returns the directory of a checkpoint.

        Args:
            which: "last", "best", or name or path of a checkpoint's directory.

        Raises:
            UserError: If there is no such checkpoint, or it is one of another run.
        """
        if which == "last":
            return checkpoints.latest(self.checkpoints)
        if which == "best":
            return checkpoints.best(self.checkpoints, self.config.checkpoint.every)
        named = self.checkpoints / f"{which:0>12}"
        if which.isdecimal() and named.is_dir():
            return named
        path = Path(which)
        if not is_directory(path):
            raise UserError(f"no checkpoint at {which}; give 'last', 'best' or a directory in {self.checkpoints}")
        if path.resolve().parent != self.checkpoints.resolve():
            owner = path.resolve().parent.parent
            other = f"another run, {owner}" if is_run(owner) else "no run"
            raise UserError(f"checkpoint {which} belongs to {other}; those of this run are in {self.checkpoints}")
        return path

    def log(self, metrics: Mapping[str, float], iteration: int, env_steps: int) -> None:
        """Appends a line to `metrics.jsonl`, where non-finite values are null and listed, and to TensorBoard's events.

        Args:
            metrics: Values by name, such as "meta/kl".
            iteration: Index of the iteration, from 0; `BEFORE_TRAINING` before the first.
            env_steps: Number of environment steps so far, TensorBoard's x-axis.

        Raises:
            RunFailure: If the files cannot be written.
        """
        nonfinite = [name for name, value in metrics.items() if not math.isfinite(value)]
        line: dict[str, Any] = {"iteration": iteration, "env_steps": env_steps}
        line |= {name: None if name in nonfinite else float(value) for name, value in metrics.items()}
        if nonfinite:
            line["nonfinite"] = nonfinite
        with _convert_write_errors(self._metrics) as path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if self._tensorboard is None:
                self._tensorboard = TensorBoard(self.path, env_steps)
            self._tensorboard.log(metrics, env_steps)

    def keep_evidence(self, iteration: int, divergences: Sequence[Divergence]) -> int:
        """Writes evidence of diverged simulations to `divergences/`, of the first 10 of the run only.

        Args:
            iteration: Index of the iteration, from 0.
            divergences: Simulations that diverged in it.

        Returns:
            Number of `divergences`, those without evidence included.

        Raises:
            RunFailure: If a file cannot be written.
        """
        room = max(0, _MAX_EVIDENCE - sum(1 for _ in self.divergences.glob("*.npz")))
        for number, divergence in enumerate(divergences[:room]):
            with _convert_write_errors(self.divergences / f"{iteration:06d}-{number}.npz") as path:
                path.parent.mkdir(exist_ok=True)
                divergence.save(path)
        return len(divergences)

    def check_restart(self) -> None:
        """Checks that a run without a checkpoint may start again from the beginning, as it had not come to its first.

        Raises:
            UserError: If it has logged more iterations than that, so its checkpoints are lost.
        """
        logged = len(self._lines_before(self.config.iterations)) - len(self._lines_before(0))
        if logged > self.config.checkpoint.every:
            raise UserError(
                f"run {self.path} has logged {logged} iterations, but {self.checkpoints} is empty: restore a"
                " checkpoint, or train anew in another directory"
            )

    def rewind(self, iteration: int) -> None:
        """Deletes the metrics logged from `iteration` on, which a resumed run logs again, and a line cut short.

        Raises:
            RunFailure: If the metrics cannot be written.
        """
        if not self._metrics.exists():
            return
        with _convert_write_errors(self._metrics) as path:
            write_atomically(path, b"".join(self._lines_before(iteration)))

    def close(self) -> None:
        """Closes the log and unlocks the run."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None
        self._lock.release()

    def _lines_before(self, iteration: int) -> list[bytes]:
        """Returns the whole lines of the metrics before an iteration."""
        if not self._metrics.exists():
            return []
        lines = self._metrics.read_bytes().splitlines(keepends=True)
        return list(takewhile(lambda line: _is_logged_before(line, iteration), lines))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes or replaces a JSON file whole; its directory is made if missing.

    Raises:
        RunFailure: If the file cannot be written.
    """
    with _convert_write_errors(path):
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _to_json(data))


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Makes a directory under another name, which becomes its own at the end of the block.

    A process killed before leaves no directory that is half a run; after an exception none is left at all.

    Args:
        path: Directory to make, with its parents.

    Raises:
        UserError: If `path` exists or cannot be made.
    """
    if path.exists() or path.is_symlink():
        raise _already_exists(path)
    staging = staging_path(path)
    try:
        staging.mkdir(parents=True)
    except (OSError, ValueError) as error:  # a ValueError is a path with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot make run directory {path}: {reason}") from None
    try:
        yield staging
        _rename(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


class RunExistsError(UserError):
    """Mistake of naming a run directory that exists."""


def _already_exists(path: Path) -> RunExistsError:
    go_on = f", or go on with: {command('train', '--resume', path)}" if is_run(path) or seed_runs(path) else ""
    return RunExistsError(f"run directory {path} already exists; name another{go_on}")


def _rename(staging: Path, path: Path) -> None:
    """Gives a new run its name, unless another process has just taken it."""
    try:
        os.replace(staging, path)
    except OSError as error:
        if path.exists():
            raise _already_exists(path) from None
        raise UserError(f"cannot make run directory {path}: {error.strerror}") from None


@contextmanager
def _convert_write_errors(path: Path) -> Iterator[Path]:
    """Turns an `OSError` while writing to `path` into a `RunFailure`."""
    try:
        yield path
    except OSError as error:
        raise RunFailure(f"could not write {path}: {error.strerror or error}") from error


def _to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _read_format(path: Path) -> int:
    """Returns the format of a run's directory; 1 if its file names none, as in the first runs."""
    try:
        return int(json.loads(path.read_bytes())["run_format"])
    except (OSError, ValueError, OverflowError, KeyError, TypeError):
        return 1


def _is_logged_before(line: bytes, iteration: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["iteration"] < iteration)
    except (ValueError, KeyError, TypeError):
        return False
