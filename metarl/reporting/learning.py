"""Metrics that training logged, read back as curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

Curve: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Environment steps, and a metric's value at each."""

_MOST_POINTS = 300
"""Largest number of points of a curve that is drawn; longer ones are averaged in bins."""


def read_metrics(run: RunDirectory) -> Mapping[str, Curve]:
    """Reads all metrics of a run, by name; values that were not finite are left out, and a line cut short as well.

    Raises:
        UserError: If the file is damaged.
    """
    path = run.path / "metrics.jsonl"
    if not path.exists():
        return {}
    points: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break  # a training that goes on is about to complete it
        try:
            fields = json.loads(line)
            steps = int(fields["env_steps"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is damaged: line {number} is not one of metrics") from None
        for name, value in fields.items():
            if name not in ("iteration", "env_steps") and isinstance(value, int | float):
                points.setdefault(name, []).append((steps, float(value)))
    return {name: (np.array([s for s, _ in each]), np.array([v for _, v in each])) for name, each in points.items()}


def thin(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """Averages a curve in bins of equally many points until it has at most `most`; short ones stay as they are."""
    steps, values = curve
    size = -(-len(steps) // most)
    if size <= 1:
        return curve
    starts = np.arange(0, len(steps), size)
    counts = np.diff(np.append(starts, len(steps)))
    ends = np.minimum(starts + size, len(steps)) - 1
    return steps[ends], np.add.reduceat(values, starts) / counts
