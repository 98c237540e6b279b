"""Files of an evaluation's results: written whole, read back, and refused where they are not what they should be.

A file is one JSON object with a `format` and a `kind`, in the run's `evaluations/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, JsonValue, TypeAdapter

from metarl.acting.agents import ActionChoice
from metarl.evaluation.fields import StoredFields, check_fields
from metarl.evaluation.result import Evaluation
from metarl.runs import RunDirectory, write_json
from metarl_envs.errors import UserError

FORMAT = 2
"""Version of the format of the files; raised with every change that earlier versions of metarl could not read."""

KIND = "evaluation"
"""Kind of a file with a `StoredEvaluation`."""


@dataclass(frozen=True)
class Origin:
    """Where an evaluation comes from: the policy that was played, and the choice of tasks."""

    run: str
    """Directory of the run."""
    checkpoint: str
    """Directory of the checkpoint."""
    iteration: int
    """Training iterations before the checkpoint."""
    env_steps: int
    """Environment steps of training before the checkpoint."""
    split: str
    """Split of the tasks: "test" or "train"."""
    tasks_per_name: int | None
    """Number of tasks of each name; None is all."""
    control: str | None
    """Name of the control that was played; None is the policy itself."""
    training_seed: int
    """Seed of the training run."""
    task_fingerprint: str
    """`TaskDistribution.fingerprint`"""
    versions: dict[str, str]
    """Versions of the software that evaluated."""
    config: dict[str, Any] = field(default_factory=dict)
    """Configuration that the checkpoint was trained with; empty where nothing was trained."""


class StoredEvaluation(NamedTuple):
    """Evaluation and where it comes from."""

    evaluation: Evaluation
    origin: Origin


class _OriginFields(StoredFields):
    run: str
    checkpoint: str
    iteration: int = Field(ge=0)
    env_steps: int = Field(ge=0)
    split: str
    tasks_per_name: int | None
    control: str | None
    training_seed: int = Field(ge=0)
    task_fingerprint: str
    versions: dict[str, str]
    config: dict[str, JsonValue]


class _File(StoredFields):
    origin: _OriginFields


def file_name(
    origin: Origin, adaptation_episodes: Sequence[int], episodes: int, seed: int, actions: ActionChoice
) -> str:
    """Names the file of an evaluation: environment steps, control, and a digest of the settings.

    Args:
        origin: Where the evaluation comes from.
        adaptation_episodes: Those of the evaluation, and likewise all of the following.
        episodes: Number of evaluation episodes.
        seed: Seed of the evaluation.
        actions: Choice of the actions.
    """
    settings = {
        "adaptation_episodes": sorted(adaptation_episodes),
        "episodes": episodes,
        "seed": seed,
        "split": origin.split,
        "tasks_per_name": origin.tasks_per_name,
    }
    if actions != "likeliest":  # files from before there was a choice keep their names
        settings["actions"] = actions
    digest = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{origin.env_steps:012d}-{origin.control or 'policy'}-{digest}.json"


def write_evaluation(path: Path, stored: StoredEvaluation) -> None:
    """Writes or replaces the file of an evaluation.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_result(path, KIND, {"origin": asdict(stored.origin)} | stored.evaluation.to_dict())


def read_evaluation(path: Path) -> StoredEvaluation:
    """Reads the file of an evaluation.

    Raises:
        UserError: If there is no such file, or it is of another format or kind, or damaged.
    """
    data = read_result(path, KIND)
    try:
        return StoredEvaluation(Evaluation.from_dict(data), origin_in(data, "an evaluation"))
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def origin_in(data: Mapping[str, Any], what: str) -> Origin:
    """Returns the origin in the content of a file.

    Args:
        data: JSON types.
        what: What the file should hold, for the message.

    Raises:
        UserError: If a field is missing or not what it should be.
    """
    return Origin(**check_fields(_File, data, what).origin.model_dump())


def read_evaluations(run: RunDirectory) -> list[StoredEvaluation]:
    """Reads all evaluations of a run, those of controls too, by names of their files.

    Raises:
        UserError: If a file is of another format, or damaged.
    """
    return [read_evaluation(path) for path in result_files(run, KIND)]


def write_result(path: Path, kind: str, data: Mapping[str, Any]) -> None:
    """Writes or replaces the file of a result.

    Args:
        path: The file.
        kind: What it holds, such as "evaluation".
        data: Its content as JSON types.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_json(path, {"format": FORMAT, "kind": kind} | dict(data))


def read_result(path: Path, kind: str) -> dict[str, Any]:
    """Reads the file of a result.

    Args:
        path: The file.
        kind: What it must hold, such as "evaluation".

    Raises:
        UserError: If there is no such file, or it is of another format or kind, or not JSON.
    """
    data = _read(path)
    if data["kind"] != kind:
        raise UserError(f"{path} is of the kind {data['kind']!r}, not {kind!r}")
    return data


def result_files(run: RunDirectory, kind: str) -> list[Path]:
    """Returns the files of one kind in a run's `evaluations/`, by name.

    Raises:
        UserError: If a file is of another format, or damaged, so that its kind is unknown.
    """
    return [path for path in sorted(run.evaluations.glob("*.json")) if _read(path)["kind"] == kind]


def _read(path: Path) -> dict[str, Any]:
    """Reads a JSON object of this format, with a kind."""
    try:
        data = TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # pydantic's ValidationError is one
        raise UserError(f"{path} is damaged: not a JSON object") from None
    found = data.get("format", 1)
    if found != FORMAT:
        remedy = "update metarl" if isinstance(found, int) and found > FORMAT else "evaluate anew, and delete it"
        raise UserError(f"{path} has format {found}, but this metarl reads {FORMAT} only: {remedy}")
    if not isinstance(data.get("kind"), str):
        raise UserError(f"{path} is damaged: it does not say of what kind it is")
    return data
