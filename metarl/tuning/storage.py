"""Storages of trials: a journal file in the study's folder, or a database; neither holds anything pickled."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from metarl.errors import RunFailure
from metarl_envs.errors import UserError, one_line

JOURNAL = "journal.log"
"""File of the journal, in a study's folder."""
_PATIENCE = 60.0
"""Seconds that an SQLite database is waited for while another process writes."""


def open_study(folder: Path, url: str | None, *, new: bool, **parts: Any) -> optuna.Study:
    """Opens a study, or makes it.

    Args:
        folder: Folder of the study, whose name it has in a database.
        url: URL of a database, as SQLAlchemy has it; None is the journal in the folder.
        new: True if the folder is new, so that the study need not exist.
        parts: Sampler and pruner.

    Raises:
        UserError: If the storage of a study is lost, or no database is at the URL.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if url is None and not new and not (folder / JOURNAL).is_file():
        raise UserError(
            f"{folder / JOURNAL} is lost, and the trials with it: restore it, give the study's database by --storage,"
            " or search anew by --folder"
        )
    storage = _journal(folder / JOURNAL) if url is None else _database(url, new)
    name = "study" if url is None else folder.name  # a folder with a journal may be renamed
    if new:
        return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True, **parts)
    try:
        return optuna.load_study(storage=storage, study_name=name, **parts)
    except KeyError:
        raise UserError(
            f"storage: it has no study '{folder.name}', so the trials of {folder} are lost: give the right one by"
            " --storage, or search anew by --folder"
        ) from None


def _journal(path: Path) -> JournalStorage:
    """Opens the journal, without a last line that a killed process or a full disk left unfinished.

    Optuna would append to that line, after which nobody could read the journal.
    """
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        lock = JournalFileSymlinkLock(str(path))
        lock.acquire()
        try:
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        finally:
            lock.release()
    return JournalStorage(JournalFileBackend(str(path)))


def _database(url: str, new: bool) -> BaseStorage:
    try:
        options = {"connect_args": {"timeout": _PATIENCE}} if url.startswith("sqlite") else {"pool_pre_ping": True}
        return RDBStorage(url, engine_kwargs=options)
    except (ValueError, ImportError, SQLAlchemyError) as error:
        if not new and isinstance(error, SQLAlchemyError) and not isinstance(error, ArgumentError | NoSuchModuleError):
            raise  # it was there before
        raise UserError(
            f"--storage: cannot open a database by such a URL ({_reason(error)}); give one as in sqlite:///tune.db"
        ) from None


class StorageFailure(RunFailure):
    """Failure of a storage, which ends the command; that of a training ends its trial only."""


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Context in which a locked or lost storage ends the command with one line; finished trials stay.

    Raises:
        StorageFailure: If the storage fails.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, OSError, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise StorageFailure(
            f"the storage of {folder} is locked, damaged or lost ({_reason(error)}); what is in it stays, and the same"
            " command goes on from there"
        ) from error


def _reason(error: Exception) -> str:
    """Returns what the innermost error says, without statement or URL, which may hold a password."""
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return one_line(cause).partition(" (Background on")[0][:200]
