"""Time and memory of a meta-iteration in other implementations, measured by us; all of them needed patches to run."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "References: measured on 2 cores of an AMD EPYC, 2026-11-20, not in this run."


@dataclass(frozen=True)
class Reference:
    """Timing of one implementation on one configuration; times are (least, most) seconds per meta-iteration."""

    name: str
    """Name of the implementation."""
    sampling: tuple[float, float]
    """Seconds of collecting."""
    update: tuple[float, float]
    """Seconds of all else: adaptation, outer step, baseline."""
    total: tuple[float, float]
    """Seconds of the whole meta-iteration."""
    memory: float
    """Peak memory in gigabytes."""


_JAX = "metaworld-algorithms"
"""Commit 30c9991, JAX 0.12 on the CPU."""

MAML_ML1 = Reference(_JAX, (36.0, 44.0), (35.0, 35.0), (74.0, 80.0), 7.9)
"""10 tasks x 10 episodes x 500 steps x 2, policy 2x512 tanh, exact Fisher matrix."""
MAML_ML10 = Reference(_JAX, (82.0, 119.0), (78.0, 123.0), (163.0, 245.0), 15.0)
"""The same with 20 tasks."""
RL2_ML1 = Reference(_JAX, (14.0, 16.0), (18.0, 18.0), (32.0, 34.0), 2.8)
"""10 tasks x 10 episodes x 500 steps, encoder 2x256, GRU 256, 10 epochs, chunks of 250 steps."""
RL2_ML10 = Reference(_JAX, (47.0, 47.0), (34.0, 34.0), (81.0, 81.0), 4.5)
"""The same with 20 tasks."""
NAVIGATION = (
    Reference("pytorch-maml-rl", (1.0, 1.0), (2.5, 2.5), (3.5, 3.5), 0.85),
    Reference("learn2learn", (10.0, 14.0), (12.0, 15.0), (24.0, 28.0), 1.2),
)
"""20 tasks x 20 episodes x 100 steps, one inner step: policy 2x64 tanh, 2 workers; version 0.2.1, policy 2x100 relu."""
