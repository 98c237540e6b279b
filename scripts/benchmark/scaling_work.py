"""Work whose scaling is measured: sampling alone, whole iterations of trainings, and sums over processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmark.cases import PRESETS
from benchmark.crew import Crew, Work
from metarl.errors import RunFailure

OUTSIDE = "outside of simulation"
"""Part of sampling that one thread of a process at a time can do."""
_ITERATIONS = 3
"""Measured iterations of a training, which follow one to warm up."""
_SUM_SIZES = (8, 2**20, 2**22)
"""Bytes of sums: one number, and gradients of a quarter of a million and of a million weights."""
_SUMS = 50


class SamplingWork:
    """One episode of each task of a meta-batch, by processes that have equal shares of the tasks.

    Args:
        tasks: Number of ML10 tasks.
        ranks: Number of processes.
        threads: Threads of each that simulate.
    """

    def __init__(self, tasks: int, ranks: int, threads: int) -> None:
        self._crew = Crew(ranks, _prepare_sampling, tasks, threads)
        self.steps = 0
        self.play()  # and so learns the number of steps

    def play(self) -> Mapping[str, float]:
        """Samples once; returns seconds, as `all`, and those of the slowest process outside of the simulation."""
        began = perf_counter()
        parts = self._crew.work()
        seconds = perf_counter() - began
        self.steps = int(sum(each["steps"] for each in parts))
        return {"all": seconds, OUTSIDE: max(each["outside"] for each in parts)}

    def close(self) -> None:
        """Ends the processes."""
        self._crew.close()


class IterationWork:
    """Meta-iterations of a training that `metarl train` starts.

    Args:
        preset: Configuration file.
        overrides: Changes of it, as on the command line.
        ranks: Number of processes.
        threads: Threads of each, for simulation and for PyTorch.
    """

    def __init__(self, preset: Path, overrides: Sequence[str], ranks: int, threads: int) -> None:
        counts = (f"--iterations={_ITERATIONS + 1}", f"--threads={threads}", f"--workers={threads}", "--device=cpu")
        self._words = [sys.executable, "-m", "metarl", "train", str(preset), "--processes", str(ranks)]
        self._overrides = [*overrides, *counts]
        self.steps = 0

    def play(self) -> Mapping[str, float]:
        """Trains; returns seconds of the iterations after the first, as `all`, of their sampling and update.

        Raises:
            RunFailure: If the training fails.
        """
        with TemporaryDirectory() as folder:
            run = Path(folder, "run")
            words = [*self._words, "--run", str(run), *self._overrides]
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode != 0:
                raise RunFailure(f"{' '.join(words[3:7])}: {done.stderr.strip()}")
            records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        trained = [record for record in records if "time/iteration_seconds" in record]
        measured = trained[-_ITERATIONS:]
        self.steps = measured[-1]["env_steps"] - trained[-_ITERATIONS - 1]["env_steps"]
        names = {"all": "iteration", "sampling": "sampling", "update": "update"}
        return {part: sum(record[f"time/{name}_seconds"] for record in measured) for part, name in names.items()}

    def close(self) -> None:
        """Does nothing; each turn ends its own processes."""


def seconds_of_sum() -> dict[int, float]:
    """Seconds of a sum over two processes of this machine, by number of bytes; the least of many."""
    with TemporaryDirectory() as folder:
        crew = Crew(2, _prepare_sums, str(Path(folder, "store")))
        try:
            parts = crew.work()
        finally:
            crew.close()
    return {size: max(each[str(size)] for each in parts) for size in _SUM_SIZES}


def _prepare_sampling(rank: int, size: int, tasks: int, threads: int) -> Work:
    import numpy as np
    import torch

    from metarl.acting.sampler import Sampler
    from metarl.algorithms.rl2.algorithm import RL2
    from metarl.config import load_config
    from metarl.seeding import Stream

    config = load_config(PRESETS / "ml10-rl2.yaml", [f"--algorithm.meta_batch={tasks}"])
    device = torch.device("cpu")
    distribution = config.tasks.build()
    distribution.workers = threads
    drawn = sorted(distribution.sample(tasks, np.random.default_rng(0)), key=lambda task: task.name)
    share = tasks // size
    own = range(rank * share, (rank + 1) * share)
    env = distribution.make_env(len(own))
    sampler = Sampler([env], [drawn[index] for index in own], (0, Stream.SAMPLING), device, own)
    algorithm = config.algorithm.build(distribution, device)
    assert isinstance(algorithm, RL2)
    algorithm.warm_up(sampler)
    simulated = _seconds_in(env)

    def work() -> dict[str, float]:
        simulated.clear()
        before, began = sampler.steps, perf_counter()
        sampler.collect(algorithm.make_actor, 1)
        return {"steps": float(sampler.steps - before), "outside": perf_counter() - began - sum(simulated)}

    return work


def _seconds_in(env: Any) -> list[float]:
    """Lists the seconds of each simulation from now on: from commands to positions, which all threads share."""
    simulate: Callable[..., Callable[[], None]] = env._simulate
    seconds: list[float] = []

    def timed(actions: Any) -> Callable[[], None]:
        finish = simulate(actions)

        def wait() -> None:
            began = perf_counter()
            finish()
            seconds.append(perf_counter() - began)

        return wait

    env._simulate = timed
    return seconds


def _prepare_sums(rank: int, size: int, store: str) -> Work:
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import FileStore

    dist.init_process_group("gloo", store=FileStore(store, size), rank=rank, world_size=size)

    def work() -> dict[str, float]:
        found = {}
        for count in _SUM_SIZES:
            values, least = torch.ones(count // 4), float("inf")
            for _ in range(_SUMS):
                began = perf_counter()
                dist.all_reduce(values)
                least = min(least, perf_counter() - began)
            found[str(count)] = least
        return found

    return work
