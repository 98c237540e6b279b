"""Writing of demonstrations in Minari's format: HDF5 for numbers, JSON for what is said about them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import gymnasium as gym
import numpy as np
from filelock import FileLock, Timeout

from metarl.demonstrations.data import FRAME_SIZE, Demonstration, Demonstrations
from metarl.demonstrations.folders import DATA, check_name
from metarl.demonstrations.minari_package import minari_module
from metarl.errors import RunFailure
from metarl.files import sync, sync_directory
from metarl_envs.errors import UserError

STATE = "state"
"""Name of what is no picture among observations with pictures."""


class DatasetWriter:
    """Context in which demonstrations are written, into a hidden folder; `finish` puts the dataset at its path.

    Without `finish`, nothing is left. What a killed process left is removed by the next that writes to the same path.

    Args:
        path: Folder of the dataset, whose last part is its name in Minari.
        observation_space: Space of a single observation, without frames.
        action_space: Space of a single action.
        family: Family of the tasks, see `Demonstrations`.
        cameras: Names of the cameras of the frames; empty without frames.

    Raises:
        UserError: On entering, if the name is none for Minari, something is at the path, the place cannot be written,
            or another process is writing there.
    """

    def __init__(
        self,
        path: Path,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        *,
        family: str = "",
        cameras: Sequence[str] = (),
    ) -> None:
        self._minari = minari_module()
        self._path, self._family, self._cameras = path, family, tuple(cameras)
        self._spaces = _on_disk(observation_space, cameras), _single_precision(action_space)
        self._staging = path.with_name(f".{path.name}.unfinished")
        self._lock = FileLock(self._staging / ".lock", timeout=0, thread_local=False)
        self._written = 0

    def __enter__(self) -> DatasetWriter:
        check_name(self._path)
        try:
            self._staging.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise UserError(f"another process is writing {self._path}: wait until it ends, or stop it") from None
        except OSError as error:
            raise UserError(f"cannot write to {self._path.parent}: {error.strerror or error}") from None
        with self._failures():
            shutil.rmtree(self._staging / self._path.name, ignore_errors=True)
            data = (self._staging / self._path.name / DATA).absolute()  # Minari cannot tell the size of a relative one
            data.mkdir(parents=True)
            self._storage = self._minari.dataset.minari_storage.MinariStorage.new(
                data, observation_space=self._spaces[0], action_space=self._spaces[1], jpeg_encoding=False
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
        shutil.rmtree(self._staging, ignore_errors=True)

    def add(self, demonstrations: Iterable[Demonstration]) -> None:
        """Writes demonstrations.

        Raises:
            RunFailure: If they cannot be written, on a full disk for example.
        """
        facts: list[dict[str, Any]] = []

        def buffers() -> Iterator[Any]:
            for each in demonstrations:
                facts.append(_facts(each))
                yield self._buffer(each)

        with self._failures():
            self._storage.update_episodes(buffers())
            self._storage.update_episode_metadata(facts, range(self._written, self._written + len(facts)))
        self._written += len(facts)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Completes the dataset and puts it at its path.

        Args:
            facts: What else is to be said about it, as JSON types; Minari has names for some, such as `description`.

        Raises:
            UserError: If no demonstration was written.
            RunFailure: If it cannot be written, on a full disk for example.
        """
        if not self._written:
            raise UserError(f"there is no demonstration to write to {self._path}")
        own = {"dataset_id": self._path.name, "minari_version": self._minari.__version__, "family": self._family}
        finished = self._staging / self._path.name
        with self._failures():
            self._storage.update_metadata(own | dict(facts))
            for file in (finished / DATA).iterdir():
                with open(file, "rb") as opened:
                    sync(opened.fileno())
            sync_directory(finished / DATA)
            os.rename(finished, self._path)
            sync_directory(self._path.parent)

    def _buffer(self, shown: Demonstration) -> Any:
        steps = len(shown)
        last = np.arange(steps) == steps - 1
        observations: Any = shown.observations
        if self._cameras:
            assert shown.frames is not None
            pictures = {name: shown.frames[:, index] for index, name in enumerate(self._cameras)}
            observations = {STATE: shown.observations} | pictures
        return self._minari.data_collector.EpisodeBuffer(
            observations=observations,
            actions=shown.actions,
            # Minari has no episodes without rewards: NaN stands for those that nobody knows
            rewards=np.full(steps, np.nan, np.float32) if shown.rewards is None else shown.rewards,
            terminations=np.zeros(steps, dtype=np.bool_),
            truncations=last,
            infos={},
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except RunFailure:
            raise
        except (OSError, RuntimeError) as error:  # h5py raises either
            raise RunFailure(f"could not write {self._path}: {' '.join(str(error).split())}") from error


def save(path: str | Path, demonstrations: Demonstrations) -> None:
    """Writes demonstrations to a new dataset, for `load` and for Minari.

    Args:
        path: Folder of the dataset, whose last part is its name, such as `demonstrations/pouring-v0`.
        demonstrations: What to write.

    Raises:
        UserError: If the name is none for Minari, something is at the path, or the place cannot be written.
        RunFailure: If it cannot be written after all, on a full disk for example.
    """
    spaces = demonstrations.observation_space, demonstrations.action_space
    cameras = demonstrations.cameras if demonstrations[0].frames is not None else ()
    with DatasetWriter(Path(path), *spaces, family=demonstrations.family, cameras=cameras) as writer:
        writer.add(demonstrations)
        writer.finish({})


def _facts(shown: Demonstration) -> dict[str, Any]:
    facts = {"task_name": shown.task.name, "task_parameters": shown.task.parameters}
    return facts if shown.success is None else facts | {"success": shown.success}


def _on_disk(space: gym.spaces.Box, cameras: Sequence[str]) -> gym.spaces.Space[Any]:
    """Returns the space of observations on disk, with a picture of each camera."""
    state = _single_precision(space)
    picture = gym.spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    if not cameras:
        return state
    spaces: dict[str, gym.spaces.Space[Any]] = {STATE: state, **dict.fromkeys(cameras, picture)}
    return gym.spaces.Dict(spaces)


def _single_precision(space: gym.spaces.Box | gym.spaces.Discrete) -> gym.spaces.Box | gym.spaces.Discrete:
    if isinstance(space, gym.spaces.Discrete):
        return space
    return gym.spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
