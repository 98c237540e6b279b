"""Files of what recognition was measured to be, in the form of those of evaluations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from metarl.evaluation.recognition import RecognitionResult
from metarl.evaluation.stored import Origin, origin_in, read_result, result_files, write_result
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

KIND = "recognition"
"""Kind of a file with a `StoredRecognition`."""


class StoredRecognition(NamedTuple):
    """Result of a run, and where it comes from."""

    result: RecognitionResult
    origin: Origin


def write_recognition(path: Path, stored: StoredRecognition) -> None:
    """Writes or replaces the file of a result.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_result(path, KIND, {"origin": asdict(stored.origin)} | stored.result.to_dict())


def read_recognition(path: Path) -> StoredRecognition:
    """Reads the file of a result.

    Raises:
        UserError: If there is no such file, or it is of another format or kind, or damaged.
    """
    data = read_result(path, KIND)
    try:
        return StoredRecognition(RecognitionResult.from_dict(data), origin_in(data, "a recognition result"))
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def read_recognitions(run: RunDirectory) -> list[StoredRecognition]:
    """Reads all results of recognition of a run, by names of their files.

    Raises:
        UserError: If a file is of another format, or damaged.
    """
    return [read_recognition(path) for path in result_files(run, KIND)]
