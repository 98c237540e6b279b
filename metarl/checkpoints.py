"""Checkpoints: directories of tensors (safetensors) and a manifest (JSON), published whole or not at all.

    checkpoints/000000012345/       named after the number of environment steps
        state.safetensors           tensors by name
        manifest.json               a `Manifest`
        SHA256SUMS                  checksums of both files; `sha256sum -c SHA256SUMS` checks them

Nothing here is ever unpickled. A checkpoint is written to a sibling directory first and then renamed, so every
directory with a numeric name is complete.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import safetensors
import safetensors.torch
from pydantic import Field, JsonValue, ValidationError
from torch import Tensor

from metarl.errors import RunFailure
from metarl.files import sync_directory, write_synced
from metarl.strict import StrictModel
from metarl_envs.errors import UserError

FORMAT = 3
"""Version of the checkpoint format; raised when those of before would not load or would act otherwise."""

MANIFEST, STATE, SUMS = "manifest.json", "state.safetensors", "SHA256SUMS"
_PUBLISHED = re.compile(r"\d{12,}")
_DEBRIS, _REPLACED = ".tmp-", ".replaced-"


class CheckpointError(RunFailure):
    """Failure to write a checkpoint, on a full disk for example; earlier checkpoints are untouched."""


class Manifest(StrictModel):
    """Metadata of a checkpoint."""

    format: int = FORMAT
    """Version of the checkpoint format."""
    iteration: int = Field(ge=0)
    """Index of the next iteration, from 0."""
    env_steps: int = Field(ge=0)
    """Number of environment steps of training so far."""
    config: dict[str, JsonValue]
    """Configuration of the run."""
    task_fingerprint: str
    """`TaskDistribution.fingerprint` of the training tasks."""
    versions: dict[str, str]
    """Versions of the software that wrote the checkpoint."""
    score: float | None = None
    """Score of the policy, higher is better; None if it was not measured."""
    policy_only: bool = False
    """True if what only training needs was left out; see `metarl.algorithms.base.HasTrainingState`."""


def save(directory: Path, tensors: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Writes a checkpoint and waits until it is on the disk; replaces one of the same number of environment steps.

    Args:
        directory: Directory of the run's checkpoints; made if missing.
        tensors: State by name, on any device.
        manifest: Metadata of the checkpoint.

    Returns:
        Directory of the checkpoint.

    Raises:
        CheckpointError: If the checkpoint cannot be written; the directory's checkpoints are unchanged then.
    """
    target = directory / f"{manifest.env_steps:012d}"
    staging = directory / f"{_DEBRIS}{target.name}"
    files = {
        STATE: safetensors.torch.save(
            {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        ),
        MANIFEST: json.dumps(manifest.model_dump(), indent=2).encode(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_debris(directory)
        staging.mkdir()
        for name, data in files.items():
            write_synced(staging / name, data)
        write_synced(staging / SUMS, _checksums(files))
        sync_directory(staging)
        _publish(staging, target)
        sync_directory(directory)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f"could not write checkpoint {target}: {error.strerror or error}") from error
    return target


def load(path: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Reads a checkpoint and checks all of it.

    Args:
        path: Directory of the checkpoint.

    Returns:
        Tensors by name, on the CPU, and the manifest.

    Raises:
        UserError: If the checkpoint is missing, damaged or of another format.
    """
    try:
        files = {name: (path / name).read_bytes() for name in (STATE, MANIFEST)}
        sums = (path / SUMS).read_bytes()
    except FileNotFoundError as error:
        if not path.is_dir():
            raise UserError(f"no checkpoint at {path}") from None
        raise _damaged(path, f"it lacks {Path(error.filename).name}") from None
    except OSError as error:
        raise UserError(f"cannot read checkpoint {path}: {error.strerror or error}") from None
    manifest = _parse_manifest(path, files[MANIFEST])
    if sums != _checksums(files):
        raise _damaged(path, f"its files do not match {SUMS}")
    try:
        tensors = safetensors.torch.load(files[STATE])
    except safetensors.SafetensorError as error:
        raise _damaged(path, f"{STATE}: {error}") from None
    return tensors, manifest


def latest(directory: Path) -> Path:
    """Returns the checkpoint with the most environment steps.

    Raises:
        UserError: If there is no checkpoint.
    """
    checkpoints = _published(directory)
    if not checkpoints:
        raise UserError(f"no checkpoint in {directory} yet")
    return checkpoints[-1]


def exists(directory: Path) -> bool:
    """Returns true if there is a checkpoint."""
    return bool(_published(directory))


def best(directory: Path, every: int = 1) -> Path:
    """Returns the checkpoint with the highest score, the earliest among equals.

    Those of the schedule compete, and the latest one. Any other was left by a stop, which must not change what is best;
    it competes only if no other has a score.

    Args:
        directory: Directory of the run's checkpoints.
        every: Number of iterations between the checkpoints of the schedule.

    Raises:
        UserError: If no checkpoint has a score.
    """
    found = _manifests(directory)
    chosen = _highest(found, {*_scheduled(found, every), *list(found)[-1:]})
    if chosen is None:
        raise UserError(f"no checkpoint in {directory} has been evaluated during training; use the last one")
    return chosen


def prune(directory: Path, keep_last: int, every: int = 1) -> None:
    """Deletes all checkpoints except the last `keep_last` and the best, and what a killed process left half-written.

    As the best is always kept, it is the best of the whole run. Checkpoints that a stop left take no place among the
    last of the schedule, so those that are kept without the stop are kept with it.

    Args:
        directory: Directory of the run's checkpoints.
        keep_last: Number of latest checkpoints to keep.
        every: Number of iterations between the checkpoints of the schedule.

    Raises:
        CheckpointError: If a checkpoint cannot be deleted.
    """
    try:
        _remove_debris(directory)
        published, found = _published(directory), _manifests(directory)
        scheduled = _scheduled(found, every)
        regular = [path for path in published if path in scheduled or path not in found or path == published[-1]]
        kept = {*published[-keep_last:], *regular[-keep_last:], _highest(found, scheduled)}
        for checkpoint in published:
            if checkpoint not in kept:
                _discard(checkpoint)
    except OSError as error:
        raise CheckpointError(f"could not delete a checkpoint in {directory}: {error.strerror or error}") from error


def _published(directory: Path) -> list[Path]:
    """Returns complete checkpoints in order of environment steps."""
    if not directory.is_dir():
        return []
    return sorted(
        (path for path in directory.iterdir() if _PUBLISHED.fullmatch(path.name)), key=lambda path: int(path.name)
    )


def _manifests(directory: Path) -> dict[Path, Manifest]:
    """Returns the manifests of the checkpoints; leaves out those that cannot be read."""
    manifests = {}
    for path in _published(directory):
        with suppress(OSError, UserError):
            manifests[path] = _parse_manifest(path, (path / MANIFEST).read_bytes())
    return manifests


def _scheduled(manifests: Mapping[Path, Manifest], every: int) -> set[Path]:
    return {path for path, manifest in manifests.items() if manifest.iteration % every == 0}


def _highest(manifests: Mapping[Path, Manifest], competing: set[Path]) -> Path | None:
    """Returns the competitor with the highest score, or that of all if no competitor has one; None if none has."""
    scores = {path: manifest.score for path, manifest in manifests.items() if manifest.score is not None}
    among = {path: score for path, score in scores.items() if path in competing} or scores
    return max(among, key=among.__getitem__) if among else None


def _publish(staging: Path, target: Path) -> None:
    if not target.exists():
        os.replace(staging, target)
        return
    # A directory cannot replace another that holds files: the old one is renamed first, and back on failure.
    aside = target.with_name(f"{_REPLACED}{target.name}")
    os.replace(target, aside)
    try:
        os.replace(staging, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _discard(checkpoint: Path) -> None:
    """Deletes a checkpoint; renames it first, so a half-deleted one is never taken for a whole one."""
    aside = checkpoint.with_name(f"{_DEBRIS}{checkpoint.name}-deleted")
    os.replace(checkpoint, aside)
    shutil.rmtree(aside)


def _remove_debris(directory: Path) -> None:
    for path in directory.glob(f"{_DEBRIS}*"):
        shutil.rmtree(path)
    for path in directory.glob(f"{_REPLACED}*"):
        target = path.with_name(path.name.removeprefix(_REPLACED))
        if target.exists():
            shutil.rmtree(path)
        else:  # the process was killed between the two renames of `_publish`
            os.replace(path, target)


def _checksums(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def _parse_manifest(path: Path, data: bytes) -> Manifest:
    try:
        fields = json.loads(data)
        version = fields["format"]
        if isinstance(version, int) and version != FORMAT:
            age, remedy = ("newer", "update metarl") if version > FORMAT else ("older", "train anew")
            raise UserError(
                f"checkpoint {path} has format {version}, {age} than {FORMAT}, which this metarl reads; {remedy}"
            )
        return Manifest.model_validate(fields)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ": ".join((MANIFEST, *map(str, detail["loc"])))
        raise _damaged(path, f"{where}: {detail['msg']}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        raise _damaged(path, f"{MANIFEST} is not a manifest") from None


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"checkpoint {path} is damaged: {reason}; delete it to use the one before")
