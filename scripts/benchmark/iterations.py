"""What meta-iterations of a training take, each training in a process that does nothing else."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from metarl.errors import RunFailure
from benchmark.memory import peak_memory

if TYPE_CHECKING:  # the measuring process has no need of PyTorch
    from metarl.config import RunConfig


@dataclass(frozen=True)
class Iterations:
    """What each of several meta-iterations took, as the training itself logged it."""

    steps: tuple[int, ...]
    """Environment steps."""
    sampling: tuple[float, ...]
    """Seconds in which the sampler collected, the policy's actions included."""
    update: tuple[float, ...]
    """Seconds of all else: adapting, the outer step, the baseline."""
    memory: int | None
    """Bytes that the training process took at its peak, the interpreter included; None where the system hides it."""
    device_memory: int | None
    """Bytes that tensors took on the GPU at the peak; None on the CPU."""

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
        """Everything, for a file."""
        medians = {name: median(getattr(self, name)) for name in ("sampling", "update", "total")}
        return {**asdict(self), "total": self.total, "median_seconds": medians}


def measure_iterations(config: RunConfig, count: int) -> Iterations:
    """Trains for one iteration to warm up and `count` that are measured, in another process.

    Raises:
        UserError: If the configuration contradicts itself.
        RunFailure: If the training fails, or its process is killed.
    """
    fields = {"iterations": count + 1, "evaluation": config.evaluation.model_copy(update={"every": 0})}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_train, config.model_copy(update=fields)).result()
        except BrokenProcessPool:
            raise RunFailure("the process that was measured was killed; perhaps memory ran out") from None


def _train(config: RunConfig) -> Iterations:
    import torch

    from metarl.runs import RunDirectory
    from metarl.training import train

    with TemporaryDirectory() as directory, redirect_stdout(StringIO()):
        run = RunDirectory.create(Path(directory, "run"), config)
        train(config, run, resume=False)
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return Iterations(
        steps=tuple(after["env_steps"] - before["env_steps"] for before, after in pairwise(lines)),
        sampling=tuple(line["time/sampling_seconds"] for line in lines[1:]),
        update=tuple(line["time/update_seconds"] for line in lines[1:]),
        memory=peak_memory(),
        device_memory=torch.cuda.max_memory_allocated() if config.device == "cuda" else None,
    )
