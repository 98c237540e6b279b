"""Lock on a run's directory: one process at a time writes a run, and others are told which."""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from metarl_envs.errors import UserError

_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""Error numbers by which a file system says that it has no locks of its own."""


class RunLock:
    """Lock that its process holds until `release`, or until it ends, however it ends.

    Args:
        directory: Directory of the run, which gets the files `.lock` and `.lock.json`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._holder = directory / ".lock.json"
        self._lock: BaseFileLock | None = None

    @property
    def held(self) -> bool:
        """True if this object holds the lock."""
        return self._lock is not None

    def acquire(self) -> None:
        """Takes the lock and writes down who holds it; does nothing if this object holds it already.

        Raises:
            UserError: If another process writes the run, or the directory cannot be written.
        """
        if self._lock is not None:
            return
        try:
            lock = self._take()
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
            self._holder.write_text(json.dumps(holder) + "\n")
        except Timeout:
            raise UserError(f"run {self._directory} is in use by {self._describe_holder()}") from None
        except OSError as error:
            raise UserError(f"cannot write run {self._directory}: {error.strerror or error}") from None
        self._lock = lock

    def release(self) -> None:
        """Gives the lock back; does nothing if it is not held."""
        if self._lock is not None:
            with suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _take(self) -> BaseFileLock:
        path = self._directory / ".lock"
        # thread_local: a training may be started in one thread and closed in another
        try:
            lock: BaseFileLock = FileLock(path, timeout=0, thread_local=False)
            lock.acquire()
        except OSError as error:  # Timeout is one as well
            if isinstance(error, Timeout) or error.errno not in _NO_FLOCK:
                raise
            lock = SoftFileLock(self._directory / ".lock.soft", timeout=0, thread_local=False)
            lock.acquire()
        return lock

    def _describe_holder(self) -> str:
        try:
            holder = json.loads(self._holder.read_text())
            pid, host, since = holder["pid"], holder["host"], holder["since"]
        except (OSError, ValueError, KeyError, TypeError):  # it is just starting or ending
            return "another process; wait until that ends, or stop it"
        if (pid, host) == (os.getpid(), socket.gethostname()):
            return f"this process, by a training begun at {since}; close that first"
        return f"another process ({pid} on {host}, since {since}); wait until that ends, or stop it"
