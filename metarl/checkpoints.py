"""Checkpoints: a directory of tensors (safetensors) and a manifest (JSON), published whole or not at all.

    checkpoints/000000012345/       the number of environment steps
        state.safetensors           tensors by name
        manifest.json               a `Manifest`
        SHA256SUMS                  guards both against damage; `sha256sum -c SHA256SUMS` checks it

Nothing here is ever unpickled. A checkpoint is written to a sibling directory first and then renamed, so that every
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

FORMAT = 2
"""Version of what stands in a checkpoint; raised whenever older programs could not read it."""

MANIFEST, STATE, SUMS = "manifest.json", "state.safetensors", "SHA256SUMS"
_PUBLISHED = re.compile(r"\d{12,}")
_DEBRIS, _REPLACED = ".tmp-", ".replaced-"


class CheckpointError(RunFailure):
    """A checkpoint could not be written, for want of disk space for example; those before it are untouched."""


class Manifest(StrictModel):
    """What a checkpoint says about itself."""

    format: int = FORMAT
    """Version of the checkpoint format."""
    iteration: int = Field(ge=0)
    """The next iteration to run."""
    env_steps: int = Field(ge=0)
    """Environment steps of training so far."""
    config: dict[str, JsonValue]
    """The run's configuration."""
    task_fingerprint: str
    """`TaskDistribution.fingerprint` of the tasks trained on."""
    versions: dict[str, str]
    """Versions of the software that wrote it."""
    score: float | None = None
    """How good the policy was at this point; the higher the better, None if that was not measured."""


def save(directory: Path, tensors: Mapping[str, Tensor], manifest: Manifest) -> Path:
    """Writes a checkpoint and waits until it is on the disk; one of the same number of steps is replaced.

    Args:
        directory: Where checkpoints are kept; made when missing.
        tensors: The state, by name; from any device.
        manifest: What belongs to it.

    Returns:
        The checkpoint's directory.

    Raises:
        CheckpointError: If it cannot be written; then all is as it was before.
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
        write_synced(staging / SUMS, _sums(files))
        sync_directory(staging)
        _publish(staging, target)
        sync_directory(directory)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(f"could not write checkpoint {target}: {error.strerror or error}") from error
    return target


def load(path: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Reads a checkpoint, after checking all of it.

    Args:
        path: The checkpoint's directory.

    Returns:
        The tensors, on the CPU, and the manifest.

    Raises:
        UserError: If the checkpoint is missing, damaged or of a newer format.
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
    if sums != _sums(files):
        raise _damaged(path, f"its files do not match {SUMS}")
    try:
        tensors = safetensors.torch.load(files[STATE])
    except safetensors.SafetensorError as error:
        raise _damaged(path, f"{STATE}: {error}") from None
    return tensors, manifest


def latest(directory: Path) -> Path:
    """The checkpoint with the most environment steps.

    Raises:
        UserError: If there is none.
    """
    checkpoints = _published(directory)
    if not checkpoints:
        raise UserError(f"no checkpoint in {directory} yet")
    return checkpoints[-1]


def best(directory: Path) -> Path:
    """The checkpoint with the highest score, the earliest of equals.

    Raises:
        UserError: If no checkpoint has a score.
    """
    scores = _scores(directory)
    if not scores:
        raise UserError(f"no checkpoint in {directory} has been evaluated during training; use the last one")
    return max(scores, key=scores.__getitem__)


def prune(directory: Path, keep_last: int) -> None:
    """Deletes all checkpoints but the last `keep_last` and the best, which therefore is the best there ever was.

    Raises:
        CheckpointError: If one cannot be deleted.
    """
    scores = _scores(directory)
    kept = {max(scores, key=scores.__getitem__)} if scores else set()
    checkpoints = _published(directory)
    for checkpoint in checkpoints[: max(len(checkpoints) - keep_last, 0)]:
        if checkpoint not in kept:
            try:
                _discard(checkpoint)
            except OSError as error:
                raise CheckpointError(f"could not delete checkpoint {checkpoint}: {error.strerror or error}") from error


def _published(directory: Path) -> list[Path]:
    """Complete checkpoints, by number of environment steps."""
    if not directory.is_dir():
        return []
    return sorted(
        (path for path in directory.iterdir() if _PUBLISHED.fullmatch(path.name)), key=lambda path: int(path.name)
    )


def _scores(directory: Path) -> dict[Path, float]:
    """The checkpoints that were evaluated; those that cannot be read do not count."""
    scores = {}
    for path in _published(directory):
        with suppress(OSError, UserError):
            score = _parse_manifest(path, (path / MANIFEST).read_bytes()).score
            if score is not None:
                scores[path] = score
    return scores


def _publish(staging: Path, target: Path) -> None:
    if not target.exists():
        os.replace(staging, target)
        return
    # A directory cannot be renamed onto another that holds files, so the old one steps aside, or back on failure.
    aside = target.with_name(f"{_REPLACED}{target.name}")
    os.replace(target, aside)
    try:
        os.replace(staging, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _discard(checkpoint: Path) -> None:
    """Deletes a checkpoint so that half of it is never taken for a whole one."""
    aside = checkpoint.with_name(f"{_DEBRIS}{checkpoint.name}-deleted")
    os.replace(checkpoint, aside)
    shutil.rmtree(aside)


def _remove_debris(directory: Path) -> None:
    for path in directory.glob(f"{_DEBRIS}*"):
        shutil.rmtree(path)
    for path in directory.glob(f"{_REPLACED}*"):
        if path.with_name(path.name.removeprefix(_REPLACED)).exists():  # else it may be all that a crash has left
            shutil.rmtree(path)


def _sums(files: Mapping[str, bytes]) -> bytes:
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
