"""Learning curve of a run, thinned to few points."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metarl_envs.errors import UserError

METRICS = {
    "success_before": "meta/pre_adapt_success_rate",
    "success_after": "rollout/success_rate",
    "return_before": "meta/pre_adapt_return",
    "return_after": "rollout/ep_rew_mean",
}
"""Logged metric of each column; docs/metrics.md explains them."""
_POINTS = 100


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Reads the metrics of a run's iterations, without a last line that a kill cut short.

    Args:
        run: Directory of the run.

    Raises:
        UserError: If there are none.
    """
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    # what stands before the first iteration is an evaluation of the untrained policy
    metrics = [record for record in records if record["iteration"] >= 0]
    if not metrics:
        raise UserError(f"run {run} has no metrics yet")
    return metrics


class Curve(NamedTuple):
    """Means of metrics over consecutive iterations of equal number."""

    env_steps: list[int]
    """Environment steps after the last iteration of each point."""
    columns: dict[str, list[float | None]]
    """Value at each point, by the names of `METRICS`; None where no iteration has a finite one."""

    @staticmethod
    def of(metrics: Sequence[Mapping[str, Any]]) -> Curve:
        """Thins the metrics of a run to at most 100 points.

        Args:
            metrics: Lines of `metrics.jsonl`.
        """
        size = -(-len(metrics) // _POINTS)
        blocks = [metrics[start : start + size] for start in range(0, len(metrics), size)]
        columns = {name: [_mean(block, metric) for block in blocks] for name, metric in METRICS.items()}
        return Curve([block[-1]["env_steps"] for block in blocks], columns)

    def write(self, path: Path) -> None:
        """Writes the curve as CSV."""
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["env_steps", *self.columns])
            for steps, *values in zip(self.env_steps, *self.columns.values(), strict=True):
                writer.writerow([steps, *("" if value is None else f"{value:.5g}" for value in values)])

    @staticmethod
    def read(path: Path) -> Curve:
        """Reads a curve that `write` wrote.

        Raises:
            UserError: If there is no such file, or it is damaged.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            columns = {name: [float(row[name]) if row[name] else None for row in rows] for name in METRICS}
            return Curve([int(row["env_steps"]) for row in rows], columns)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UserError(f"cannot read learning curve {path}: {error}") from None


def _mean(block: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    values = [line[metric] for line in block if line.get(metric) is not None]
    return sum(values) / len(values) if values else None
