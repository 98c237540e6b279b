"""Damaged checkpoints and full disks: a clean error or nothing lost, never a wrong load."""

import builtins
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import killing
import pytest
import torch

from metarl import checkpoints
from metarl.errors import RunFailure
from metarl.training import Training
from metarl_envs.errors import UserError

FILES = (checkpoints.STATE, checkpoints.MANIFEST, checkpoints.SUMS)
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": lambda data, rng: _flip(data, rng),
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "zeroed": lambda data, rng: data[: (at := rng.randrange(len(data)))] + bytes(len(data) - at),
    "longer": lambda data, rng: data + rng.randbytes(rng.randint(1, 9)),
}
TRIES = 45
"""Damages of one kind to one file: 540 in all."""


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a real training."""
    folder = tmp_path_factory.mktemp("saved")
    with Training.start(killing.make_config("rl2-ppo-gru"), folder / "run") as training:
        next(training)
        return training.save()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_told_and_never_loaded(saved, kind, name) -> None:
    sound, rng = (saved / name).read_bytes(), random.Random(f"{kind} {name}")
    tensors, manifest = checkpoints.load(saved)
    try:
        for _ in range(TRIES):
            damaged = DAMAGES[kind](sound, rng)
            (saved / name).write_bytes(damaged)
            if damaged == sound:  # zeros over what was zero
                found, same = checkpoints.load(saved)
                assert same == manifest
                assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())
                continue
            with pytest.raises(UserError, match=r"checkpoint .*(damaged|has format)") as caught:
                checkpoints.load(saved)
            assert "\n" not in str(caught.value)
    finally:
        (saved / name).write_bytes(sound)


class Disk:
    """Disk with room for so many more bytes; what is written beyond raises ENOSPC, a part of it written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        real = builtins.open

        def limited(path: Any, mode: str = "r", **options: Any) -> IO[Any]:
            file = real(path, mode, **options)
            return file if "r" in mode else Limited(file, self)  # type: ignore[return-value]

        for module in ("files", "runs"):
            monkeypatch.setattr(f"metarl.{module}.open", limited, raising=False)


class Limited:
    """File on such a disk."""

    def __init__(self, file: IO[Any], disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> "Limited":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: Any) -> None:
        self._file.write(data[: self._disk.room])
        self._file.flush()
        self._disk.room -= len(data)
        if self._disk.room < 0:
            self._disk.room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outcome of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with Training.start(killing.make_config("maml-trpo"), path) as training:
        list(training)
    return killing.outcome(path)


@pytest.mark.parametrize("room", [0, 100, 700, 1500, *range(2000, 22000, 1250)])
def test_a_disk_that_is_full_after_so_many_bytes_loses_nothing(tmp_path, whole, room) -> None:
    path, config = tmp_path / "run", killing.make_config("maml-trpo")
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, room)
        full = pytest.raises((RunFailure, UserError), match="No space left on device")
        with full, Training.start(config, path) as training:
            list(training)
    if path.exists():
        with Training.resume(path) as training:
            list(training)
        assert killing.difference(whole, killing.outcome(path)) is None
    else:  # not even the configuration fitted
        assert not any(tmp_path.iterdir())
