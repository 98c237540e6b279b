"""The directory of a training run: everything about it, and where each thing is."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl import checkpoints
from metarl.config import RunConfig, dump_config, load_config
from metarl.errors import RunFailure
from metarl.files import write_atomically
from metarl.versions import versions
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FORMAT = 2
"""Version of what stands in a run's directory; raised whenever programs of before could not read it."""

_CONFIG, _VERSIONS = "config.yaml", "versions.json"
_MAX_EVIDENCE = 10


class RunDirectory:
    """A run on disk; obtained from `create` or `open`.

        config.yaml         the whole configuration
        versions.json       what it was started with
        metrics.jsonl       one line per iteration
        events.out.*        the same for TensorBoard
        checkpoints/        see `metarl.checkpoints`
        evaluations/*.json  videos/  divergences/*.npz

    Attributes:
        path: The directory.
        config: The run's configuration.
        checkpoints: Where checkpoints are kept.
        evaluations: Where evaluations are kept.
        videos: Where videos are kept.
        divergences: Where episodes are kept in which the simulation diverged, the first few of them.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config
        self.checkpoints = path / "checkpoints"
        self.evaluations = path / "evaluations"
        self.videos = path / "videos"
        self.divergences = path / "divergences"
        self._metrics = path / "metrics.jsonl"
        self._tensorboard: SummaryWriter | None = None

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunDirectory:
        """Starts a run.

        Raises:
            UserError: If `path` exists or cannot be made.
            RunFailure: If it cannot be filled; then nothing is left of it.
        """
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            raise UserError(
                f"run directory {path} already exists; name another, or go on with --resume {path}"
            ) from None
        except OSError as error:
            raise UserError(f"cannot make run directory {path}: {error.strerror}") from None
        run = cls(path, config)
        try:
            with _writing(path):
                for directory in (run.checkpoints, run.evaluations, run.videos):
                    directory.mkdir()
                write_atomically(path / _VERSIONS, _to_json({"run_format": FORMAT} | versions()))
            run.set_config(config)  # last, as it is what makes the directory a run
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """A run that exists.

        Raises:
            UserError: If there is none at `path`, or its configuration is damaged.
        """
        if not path.is_dir():
            raise UserError(f"no run at {path}")
        if not (path / _CONFIG).is_file():
            raise UserError(f"{path} is not a run: it has no {_CONFIG}")
        found = _read_format(path / _VERSIONS)
        if found != FORMAT:
            raise UserError(f"run {path} has format {found}, but this metarl reads {FORMAT} only: train it anew")
        return cls(path, load_config(path / _CONFIG))

    def set_config(self, config: RunConfig) -> None:
        """Changes the run's configuration, to train for more iterations for example.

        Raises:
            RunFailure: If it cannot be written.
        """
        with _writing(self.path / _CONFIG) as path:
            write_atomically(path, dump_config(config).encode())
        self.config = config

    def discard_unless_used(self) -> None:
        """Deletes the run if nothing was logged or saved, so that a mistake found at start-up leaves nothing behind."""
        if not self._metrics.exists() and not any(self.checkpoints.iterdir()):
            shutil.rmtree(self.path, ignore_errors=True)

    def checkpoint(self, which: str) -> Path:
        """The checkpoint that `which` stands for: "last", "best" or a path.

        Raises:
            UserError: If there is no such checkpoint.
        """
        if which == "last":
            return checkpoints.latest(self.checkpoints)
        if which == "best":
            return checkpoints.best(self.checkpoints)
        if not Path(which).is_dir():
            raise UserError(f"no checkpoint at {which}; give 'last', 'best' or a directory in {self.checkpoints}")
        return Path(which)

    def log(self, metrics: Mapping[str, float], iteration: int, env_steps: int) -> None:
        """Appends a line to `metrics.jsonl`, where non-finite values are null and listed, and to TensorBoard's events.

        Args:
            metrics: Values by name, such as "meta/kl".
            iteration: The iteration they belong to.
            env_steps: Environment steps so far, TensorBoard's x-axis.

        Raises:
            RunFailure: If they cannot be written.
        """
        nonfinite = [name for name, value in metrics.items() if not math.isfinite(value)]
        line: dict[str, Any] = {"iteration": iteration, "env_steps": env_steps}
        line |= {name: None if name in nonfinite else float(value) for name, value in metrics.items()}
        if nonfinite:
            line["nonfinite"] = nonfinite
        with _writing(self._metrics) as path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            writer = self._writer(env_steps)
            for name, value in metrics.items():
                writer.add_scalar(name, value, env_steps)
            writer.flush()

    def keep_evidence(self, iteration: int, divergences: Sequence[Divergence]) -> int:
        """Writes the first few simulations that diverged to `divergences/`; returns how many there were in all.

        Raises:
            RunFailure: If they cannot be written.
        """
        room = max(0, _MAX_EVIDENCE - sum(1 for _ in self.divergences.glob("*.npz")))
        for number, divergence in enumerate(divergences[:room]):
            with _writing(self.divergences / f"{iteration:06d}-{number}.npz") as path:
                path.parent.mkdir(exist_ok=True)
                divergence.save(path)
        return len(divergences)

    def rewind(self, iteration: int) -> None:
        """Forgets what was logged from `iteration` on, so that a resumed run logs it anew; also a line cut short.

        Raises:
            RunFailure: If the metrics cannot be written.
        """
        if not self._metrics.exists():
            return
        with _writing(self._metrics) as path:
            lines = path.read_bytes().splitlines(keepends=True)
            kept = list(takewhile(lambda line: _is_before(line, iteration), lines))
            write_atomically(path, b"".join(kept))

    def save_evaluation(self, name: str, evaluation: Mapping[str, Any]) -> Path:
        """Writes or replaces `evaluations/<name>.json`.

        Raises:
            RunFailure: If it cannot be written.
        """
        with _writing(self.evaluations / f"{name}.json") as path:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, _to_json(evaluation))
        return path

    def close(self) -> None:
        """Ends logging."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def _writer(self, env_steps: int) -> SummaryWriter:
        if self._tensorboard is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second, which not every command needs

            # purge_step hides what an interrupted run logged behind the checkpoint that it was resumed from
            self._tensorboard = SummaryWriter(str(self.path), purge_step=env_steps)
        return self._tensorboard


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        yield path
    except OSError as error:
        raise RunFailure(f"could not write {path}: {error.strerror or error}") from error


def _to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _read_format(path: Path) -> int:
    """Returns the format of a run's directory; 1 where its file does not say, as in the first runs."""
    try:
        return int(json.loads(path.read_bytes())["run_format"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def _is_before(line: bytes, iteration: int) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["iteration"] < iteration)
    except (ValueError, KeyError, TypeError):
        return False
