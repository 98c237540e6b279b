"""Atomic and durable writing of files."""

import errno
import os
import tempfile
from pathlib import Path
from uuid import uuid4

from metarl.run_paths import owning_run
from metarl_envs.errors import UserError

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}
"""Error numbers by which a file system says that it cannot sync, not that it lost data (CIFS, FUSE, shared folders)."""


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk, so a full disk raises here and not later."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        sync(file.fileno())


def sync(descriptor: int) -> None:
    """Waits until an open file or directory is on the disk; does nothing on a file system that cannot sync it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_directory(path: Path) -> None:
    """Waits until the entries of a directory are on the disk; does nothing on a file system that cannot sync them."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_SYNC:
            return
        raise
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes or replaces a file; after an error or a crash it holds all of the old content or all of the new."""
    staging = staging_path(path)
    try:
        write_synced(staging, data)
        os.replace(staging, path)
    except OSError:
        staging.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def staging_path(path: Path) -> Path:
    """Returns a new hidden name beside `path`, which no other process writes to at the same time."""
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")


def refuse_run_files(path: Path, option: str = "--output") -> None:
    """Checks that no run's configuration, metrics or checkpoints would be replaced.

    Args:
        path: The file to be written.
        option: The option that names another file.

    Raises:
        UserError: If they would be.
    """
    run = owning_run(path)
    if run is not None:
        raise UserError(f"cannot write {path}: the run {run} is made up of such files; name a place by {option}")


def make_room_for(path: Path, option: str = "--output") -> None:
    """Makes the directory of a file to be written and tries to write there, so a wrong path fails before hours of work.

    Args:
        path: The file to be written.
        option: The option that names another file.

    Raises:
        UserError: If the directory cannot be made or written to, or `path` is itself a directory, or one of the files
            that make up a run.
    """
    refuse_run_files(path, option)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make directory {path.parent}: {error.strerror}; name a place by {option}") from None
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory")
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(b"?")
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {error.strerror}; name a place by {option}") from None
