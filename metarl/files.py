"""Atomic and durable writing of files."""

import os
from pathlib import Path

from metarl_envs.errors import UserError


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk, so a full disk raises here and not later."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Waits until the entries of a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes or replaces a file; after an error or a crash it holds all of the old content or all of the new."""
    staging = path.with_name(f".{path.name}.tmp")
    try:
        write_synced(staging, data)
        os.replace(staging, path)
    except OSError:
        staging.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def make_room_for(path: Path) -> None:
    """Makes the directory of a file to be written, so a wrong path fails before minutes of work.

    Raises:
        UserError: If the directory cannot be made, or `path` is itself a directory.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make directory {path.parent}: {error.strerror}") from None
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory")
