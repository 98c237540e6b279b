"""Time and memory of meta-iterations, each training in a process of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmark.processes import peak_memory, run_in_process

if TYPE_CHECKING:  # the measuring process has no need of PyTorch
    from metarl.config import RunConfig


@dataclass(frozen=True)
class Iterations:
    """Costs of several meta-iterations, as the training itself logs them."""

    steps: tuple[int, ...]
    """Environment steps of each iteration."""
    sampling: tuple[float, ...]
    """Seconds of collecting, the policy's actions included."""
    update: tuple[float, ...]
    """Seconds of all else: adaptation, outer step, baseline."""
    memory: int | None
    """Peak memory of the training process in bytes, the interpreter included; None if the system does not tell."""
    device_memory: int | None
    """Peak memory of tensors on the GPU in bytes; None on the CPU."""

    @property
    def total(self) -> tuple[float, ...]:
        """Seconds of each iteration."""
        return tuple(map(sum, zip(self.sampling, self.update, strict=True)))

    @property
    def sampling_speed(self) -> float:
        """Environment steps per second while sampling, the median over iterations."""
        return median(steps / seconds for steps, seconds in zip(self.steps, self.sampling, strict=True))

    @property
    def speed(self) -> float:
        """Environment steps per second of training, the median over iterations."""
        return median(steps / seconds for steps, seconds in zip(self.steps, self.total, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        medians = {name: median(getattr(self, name)) for name in ("sampling", "update", "total")}
        return {**asdict(self), "total": self.total, "median_seconds": medians}


def measure_iterations(config: RunConfig, count: int) -> Iterations:
    """Trains in another process: one iteration to warm up, then `count` that are measured.

    Raises:
        UserError: If the configuration contradicts itself.
        RunFailure: If the training fails, or its process is killed.
    """
    fields = {"iterations": count + 1, "evaluation": config.evaluation.model_copy(update={"every": 0})}
    with TemporaryDirectory() as directory:
        return run_in_process(_train, config.model_copy(update=fields), Path(directory, "run"))


def _train(config: RunConfig, path: Path) -> Iterations:
    import torch

    from metarl.training import Training

    with Training.start(config, path) as training:
        iterations = list(training)
    return Iterations(
        steps=tuple(after.env_steps - before.env_steps for before, after in pairwise(iterations)),
        sampling=tuple(iteration.metrics["time/sampling_seconds"] for iteration in iterations[1:]),
        update=tuple(iteration.metrics["time/update_seconds"] for iteration in iterations[1:]),
        memory=peak_memory(),
        device_memory=torch.cuda.max_memory_allocated() if config.device == "cuda" else None,
    )
