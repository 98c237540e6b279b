"""Stress curves: the same evaluation under a perturbation of growing strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from metarl.evaluation.fields import StoredFields, check_fields
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, read_result, result_files, write_result
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

KIND = "stress"
"""Kind of a file with a stress curve."""


@dataclass(frozen=True)
class StressCurve:
    """Evaluations of one policy on the same tasks, with the same seeds, under one perturbation of several strengths."""

    perturbation: str
    """Name of the perturbation."""
    unit: str
    """Unit of the strengths, in words."""
    strengths: tuple[float, ...]
    """Strengths, ascending; 0 is the unperturbed evaluation."""
    evaluations: tuple[Evaluation, ...]
    """Evaluation at each strength. Success and return are those of the task, whatever the agent was told."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the curve as JSON types."""
        return {
            "perturbation": self.perturbation,
            "unit": self.unit,
            "strengths": list(self.strengths),
            "evaluations": [evaluation.to_dict() for evaluation in self.evaluations],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StressCurve:
        """Reads what `to_dict` returned.

        Args:
            data: JSON types; fields that are not the curve's own are left alone.

        Raises:
            UserError: If a field is missing or not what it should be.
        """
        fields = check_fields(_CurveFields, data, "a stress curve")
        evaluations = tuple(map(Evaluation.from_dict, fields.evaluations))
        return cls(fields.perturbation, fields.unit, tuple(fields.strengths), evaluations)


class _CurveFields(StoredFields):
    perturbation: str
    unit: str
    strengths: Annotated[list[float], Field(min_length=1)]
    evaluations: list[dict[str, Any]]

    @model_validator(mode="after")
    def _check_strengths(self) -> _CurveFields:
        if self.strengths != sorted(set(self.strengths)):
            raise ValueError("strengths must ascend")
        if len(self.evaluations) != len(self.strengths):
            raise ValueError("there must be one evaluation for each strength")
        return self


def write_stress(path: Path, curve: StressCurve, origin: Origin) -> None:
    """Writes or replaces the file of a stress curve.

    Args:
        path: The file.
        curve: The curve.
        origin: Where its evaluations come from.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_result(path, KIND, {"origin": asdict(origin)} | curve.to_dict())


def read_stress(run: RunDirectory) -> list[StressCurve]:
    """Reads all stress curves of a run, by names of their files.

    Raises:
        UserError: If a file is of another format, or damaged.
    """
    return [_read(path) for path in result_files(run, KIND)]


def _read(path: Path) -> StressCurve:
    try:
        return StressCurve.from_dict(read_result(path, KIND))
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from None
