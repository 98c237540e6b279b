"""Reading of demonstrations in Minari's format, from anybody: everything is checked, nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from metarl.demonstrations.data import FRAME_SIZE, Demonstration, Demonstrations
from metarl.demonstrations.folders import DATA, find_dataset
from metarl.demonstrations.minari_package import minari_module
from metarl.demonstrations.writing import STATE
from metarl_envs.core import Task
from metarl_envs.errors import UserError, one_line

_TOLERANCE = 1e-5
"""How far a number may lie out of its space, relative to the bound where that is above 1: rounding to float32."""


def load(dataset: str | Path, *, frames: bool = False) -> Demonstrations:
    """Reads demonstrations.

    Args:
        dataset: Folder of a dataset in Minari's layout, or its name in `demonstrations/` or in Minari's own folder.
        frames: Read the frames too.

    Raises:
        UserError: If there is none, it is damaged, `minari` is not installed, an episode has no class, no end, other
            lengths or spaces than it should, or numbers that are not finite or out of their space, or there are no
            frames.
    """
    path = find_dataset(dataset)
    try:
        return _read(path, frames)
    except UserError:
        raise
    except Exception as error:  # h5py and minari raise all kinds of errors on damaged files
        raise UserError(f"{path} is damaged, or not in Minari's format: {one_line(error)}") from error


def read_facts(path: Path) -> dict[str, Any]:
    """Reads what is said about a dataset as a whole, without its episodes.

    Raises:
        UserError: If it is damaged, or of a version that the installed `minari` does not read.
    """
    minari = minari_module()
    try:
        facts: Any = minari.dataset.minari_storage.MinariStorage.read_raw_metadata(path / DATA)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged, or not in Minari's format: {one_line(error)}") from error
    needed = {"observation_space": str, "action_space": str, "data_format": str, "total_episodes": int}
    for name, kind in needed.items():
        # Without its spaces, Minari would make the environment that the file names, which may run any code.
        if not isinstance(facts, dict) or not isinstance(facts.get(name), kind):
            raise UserError(f"{path} is damaged, or not in Minari's format: its metadata.json lacks {name}")
    if facts.get("minari_version") not in minari.supported_dataset_versions:
        raise UserError(
            f"{path} is of Minari {facts.get('minari_version')}, which the installed {minari.__version__} does not read"
        )
    checked: dict[str, Any] = facts
    return checked


def _read(path: Path, frames: bool) -> Demonstrations:
    facts = read_facts(path)
    storage = minari_module().dataset.minari_storage.MinariStorage.read(path / DATA)
    space, cameras = _split_space(path, storage.observation_space)
    if not isinstance(storage.action_space, gym.spaces.Box | gym.spaces.Discrete):
        raise UserError(f"{path}: actions must be a Box or Discrete, not {storage.action_space}")
    if frames and not cameras:
        raise UserError(f"{path} has no frames: record them with --frames")
    reader = _Reader(path, space, storage.action_space, cameras if frames else ())
    ids = range(facts["total_episodes"])
    return Demonstrations(
        (
            reader.read(episode, about)
            for episode, about in zip(storage.get_episodes(ids), storage.get_episode_metadata(ids), strict=True)
        ),
        space,
        storage.action_space,
        name=str(facts.get("dataset_id", path.name)),
        family=str(facts.get("family", "")),
        cameras=cameras,
    )


def _split_space(path: Path, space: Any) -> tuple[gym.spaces.Box, tuple[str, ...]]:
    """Takes the space of observations apart: that of the numbers, and the names of the cameras."""
    parts = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {STATE: space}
    state = parts.pop(STATE, None)
    if not isinstance(state, gym.spaces.Box) or len(state.shape) != 1:
        raise UserError(
            f"{path}: observations must be a Box of one axis, or a Dict with such a Box named '{STATE}' and pictures:"
            f" got {_brief(space)}"
        )
    for name, picture in parts.items():
        if picture.shape != (FRAME_SIZE, FRAME_SIZE, 3) or picture.dtype != np.uint8:
            raise UserError(
                f"{path}: pictures must be uint8 of shape ({FRAME_SIZE}, {FRAME_SIZE}, 3): '{name}' is {picture.dtype}"
                f" of shape {picture.shape}"
            )
    return state, tuple(parts)


def _brief(space: Any) -> str:
    return f"{type(space).__name__} of shape {space.shape}" if space.shape is not None else type(space).__name__


class _Reader:
    """Checks and converts the episodes of one dataset."""

    def __init__(
        self,
        path: Path,
        space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        cameras: tuple[str, ...],
    ) -> None:
        self._path, self._space, self._action_space, self._cameras = path, space, action_space, cameras

    def read(self, episode: Mapping[str, Any], about: Mapping[str, Any]) -> Demonstration:
        """Makes a demonstration of an episode and of what is said about it."""
        where = f"{self._path}, episode {episode['id']}"
        task = _task(where, about)
        seen = episode["observations"]
        pictures = [seen[name] for name in self._cameras]
        state = np.asarray(seen[STATE] if isinstance(seen, Mapping) else seen)
        actions, rewards = np.asarray(episode["actions"]), np.asarray(episode["rewards"])
        _check_end(where, np.asarray(episode["terminations"]), np.asarray(episode["truncations"]))
        steps = len(episode["terminations"])
        counts = {"observations": (len(state), steps + 1), "actions": (len(actions), steps)}
        counts |= {"rewards": (len(rewards), steps)}
        counts |= {f"'{name}'": (len(each), steps + 1) for name, each in zip(self._cameras, pictures, strict=True)}
        for what, (found, right) in counts.items():
            if found != right:
                raise UserError(f"{where}: {found} {what} for {steps} steps: there must be {right}")
        _check_numbers(f"{where}: observations", state, self._space)
        _check_numbers(f"{where}: actions", actions, self._action_space)
        unknown = bool(np.isnan(rewards).all())
        if not unknown and not np.isfinite(rewards.astype(np.float32)).all():
            raise UserError(f"{where}: rewards must be finite, or all NaN where nobody knows them")
        is_box = isinstance(self._action_space, gym.spaces.Box)
        return Demonstration(
            task,
            state.astype(np.float32),
            actions.astype(np.float32 if is_box else np.int64),
            None if unknown else rewards.astype(np.float32),
            _success(about, episode.get("infos")),
            np.stack(pictures, axis=1) if pictures else None,
        )


def _task(where: str, about: Mapping[str, Any]) -> Task:
    """Finds the task of an episode: said by its metadata, or else by the options of its reset."""
    options = about.get("options")
    said = about if "task_name" in about or not isinstance(options, Mapping) else options
    name = said.get("task_name")
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{where} does not say which class it shows: give every episode a task_name, as docs/demonstrations.md says"
        )
    parameters = np.asarray(said.get("task_parameters", ()), dtype=np.float64)
    if not np.isfinite(parameters).all():
        raise UserError(f"{where}: task_parameters must be finite numbers: got {parameters.tolist()}")
    return Task(name, parameters)


def _success(about: Mapping[str, Any], infos: Any) -> bool | None:
    if "success" in about:
        return bool(about["success"])
    if isinstance(infos, Mapping) and "success" in infos:
        return bool(np.any(infos["success"]))
    return None


def _check_end(where: str, terminations: npt.NDArray[Any], truncations: npt.NDArray[Any]) -> None:
    if len(terminations) != len(truncations) or not len(terminations):
        raise UserError(f"{where}: {len(terminations)} terminations and {len(truncations)} truncations: one a step")
    ends = np.flatnonzero(terminations.astype(np.bool_) | truncations.astype(np.bool_))
    if not len(ends):
        raise UserError(f"{where} has no end: its last step must be terminated or truncated")
    if ends[0] != len(terminations) - 1:
        raise UserError(f"{where} ends at step {ends[0] + 1} and goes on to {len(terminations)}: make it two episodes")


def _check_numbers(what: str, values: npt.NDArray[Any], space: gym.spaces.Box | gym.spaces.Discrete) -> None:
    """Checks shape, finiteness and bounds of the values of an episode, `(step, *shape)`."""
    if values.shape[1:] != space.shape:
        raise UserError(f"{what} have shape {values.shape[1:]}: their space has {space.shape}")
    if not np.isfinite(values.astype(np.float32)).all():
        raise UserError(f"{what} must be finite numbers in float32")
    if isinstance(space, gym.spaces.Discrete):
        space = gym.spaces.Box(int(space.start), int(space.start + space.n - 1), (), np.int64)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    wrong = (values < low - _slack(low)) | (values > high + _slack(high))
    if wrong.any():
        step, *element = (int(index) for index in np.argwhere(wrong)[0])
        at = f", element {element[0]}" if element else ""
        raise UserError(f"{what} leave their space at step {step}{at}: {values[(step, *element)]:.6g}")


def _slack(bound: Any) -> Any:
    return _TOLERANCE * np.where(np.isfinite(bound), np.maximum(np.abs(bound), 1.0), 1.0)
