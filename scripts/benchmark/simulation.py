"""Speed of simulation of Meta-World: by our engine, by its own vectors of environments, and by MuJoCo alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmark.implementations import Actions, EngineImplementation, OriginalImplementation, PhysicsImplementation
from benchmark.processes import peak_memory, run_in_process
from benchmark.targets import Target
from benchmark.timing import Implementation, Measurement, measure
from metarl_envs.core import Task
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.reference import MAX_HORIZON

_MANY_CORES = 16

ORIGINALS = ("Meta-World, sync", "Meta-World, async")


def engine_name(threads: int) -> str:
    """Name of our engine in tables."""
    return f"engine, {_threads(threads)}"


def physics_name(threads: int) -> str:
    """Name of the physics limit in tables."""
    return f"limit, {_threads(threads)}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


@dataclass(frozen=True)
class Comparison:
    """Comparison of our engine with Meta-World's own vectors on the training tasks of one benchmark."""

    benchmark: str
    """ML10, MT10, or the task of an ML1 such as "push-v3"."""
    num_envs: int
    """Number of environments of the engine."""
    original_num_envs: int
    """Number of environments of Meta-World's own vectors; MT10 always has 10."""
    min_ratio: float
    """Wanted speed of the engine, in multiples of the faster of Meta-World's own."""
    min_share: float | None = None
    """Wanted share of the physics limit."""
    min_scaling: float | None = None
    """Wanted speed on all threads, in multiples of that on one thread, with 16 cores or more."""
    max_memory_gb: float | None = None
    """Largest memory of a process with the engine, in gigabytes."""
    horizon: int = MAX_HORIZON
    """Steps per episode."""

    @property
    def name(self) -> str:
        """Name in tables."""
        several = {"ML10": "ML10-train", "MT10": "MT10"}
        benchmark = several.get(self.benchmark, f"ML1 {self.benchmark.removesuffix('-v3')}")
        return f"{benchmark}, {self.num_envs} envs"

    @property
    def tasks(self) -> list[Task]:
        """Tasks of the engine: the same number of each class, its goals in turn."""
        several = self.benchmark in ("ML10", "MT10")
        by_name: dict[str, list[Task]] = {}
        for task in (MetaWorld(self.benchmark) if several else MetaWorld("ML1", task=self.benchmark)).train_tasks:
            by_name.setdefault(task.name, []).append(task)
        of_each = self.num_envs // len(by_name)
        return [tasks[i % len(tasks)] for tasks in by_name.values() for i in range(of_each)]

    @property
    def actions(self) -> Actions:
        """Random actions of an episode; Meta-World's own vectors take those of the first environments."""
        shape = (self.horizon, max(self.num_envs, self.original_num_envs), 4)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def turns(self, threads: Sequence[int], rounds: int) -> int:
        """Number of calls of `advance` by `run`."""
        return (rounds + 1) * (len(ORIGINALS) + 2 * len(threads))

    def run(
        self, threads: Sequence[int], rounds: int, seconds: float, advance: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Measures memory, then the speed of all implementations in turn.

        Args:
            threads: Numbers of threads to try.
            rounds: Turns of each implementation.
            seconds: Least duration of a turn; it ends with the episode.
            advance: Called after each turn.
        """
        tasks, actions = self.tasks, self.actions
        own_actions, actions = actions[:, : self.original_num_envs], actions[:, : self.num_envs]
        memory = None if self.max_memory_gb is None else engine_memory(tasks, actions, max(threads))
        implementations: dict[str, Implementation] = {}
        with ExitStack() as stack:

            def enter(name: str, implementation: Implementation) -> None:
                implementations[name] = implementation
                stack.callback(implementation.close)

            for name in ORIGINALS:  # first: the asynchronous one forks, which a process with threads had better not
                enter(name, OriginalImplementation(self.benchmark, own_actions, asynchronous=name.endswith("async")))
            for count in threads:
                engine = EngineImplementation(tasks, actions, count, self.benchmark == "MT10")
                enter(engine_name(count), engine)
                enter(physics_name(count), PhysicsImplementation(engine.engine, actions, count))
            return Outcome(self, tuple(threads), measure(implementations, rounds, seconds, advance), memory)


def engine_memory(tasks: Sequence[Task], actions: Actions, threads: int) -> int | None:
    """Peak memory in bytes, the interpreter included, of a process in which the engine plays an episode.

    None if the system does not tell; Linux does.
    """
    return run_in_process(_play_and_weigh, tasks, actions, threads)


def _play_and_weigh(tasks: Sequence[Task], actions: Actions, threads: int) -> int | None:
    with closing(EngineImplementation(tasks, actions, threads)) as engine:
        engine.play()
    return peak_memory()


@dataclass(frozen=True)
class Outcome:
    """Measurements of a comparison."""

    comparison: Comparison
    threads: tuple[int, ...]
    """Numbers of threads tried."""
    measurements: Mapping[str, Measurement]
    """Times by name of the implementation."""
    memory: int | None = None
    """Peak memory of a process with the engine in bytes; None if it was not measured."""

    @cached_property
    def original_speed(self) -> float:
        """Environment steps per second of the faster of Meta-World's own vectors."""
        return max(self.measurements[name].speed for name in ORIGINALS)

    def ratio(self, implementation: str) -> float:
        """Speed of an implementation in multiples of the faster of Meta-World's own."""
        return self.measurements[implementation].speed / self.original_speed

    def share(self, threads: int) -> float:
        """Share of the physics limit that the engine reaches."""
        return self.measurements[engine_name(threads)].speed / self.measurements[physics_name(threads)].speed

    def anatomy(self, threads: int) -> dict[str, float]:
        """Parts of the engine's time, in microseconds per environment step; they add up to its whole."""
        engine, limit = self.measurements[engine_name(threads)], self.measurements[physics_name(threads)]
        simulation, reward = engine.microseconds("simulation"), engine.microseconds("reward")
        return {
            "MuJoCo": limit.microseconds(),
            "around MuJoCo": simulation - limit.microseconds(),
            "reward": reward,
            "observation and all else": engine.microseconds() - simulation - reward,
        }

    @property
    def targets(self) -> list[Target]:
        """Targets of the engine on all cores."""
        name, wanted, threads = self.comparison.name, self.comparison, max(self.threads)
        engine = engine_name(threads)
        targets = [Target(f"{name}: times Meta-World", self.ratio(engine), wanted.min_ratio)]
        if wanted.min_share is not None:
            targets.append(Target(f"{name}: share of the limit", self.share(threads), wanted.min_share))
        if wanted.min_scaling is not None and threads >= _MANY_CORES:
            scaling = self.ratio(engine) / self.ratio(engine_name(1))
            targets.append(Target(f"{name}: {threads} threads times one", scaling, wanted.min_scaling))
        if wanted.max_memory_gb is not None and self.memory is not None:
            gigabytes = self.memory / 1e9
            targets.append(Target(f"{name}: peak memory", gigabytes, wanted.max_memory_gb, at_most=True, unit=" GB"))
        return targets

    def to_dict(self) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "name": self.comparison.name,
            "num_envs": self.comparison.num_envs,
            "original_num_envs": self.comparison.original_num_envs,
            "horizon": self.comparison.horizon,
            "steps_per_second": {name: found.steps_per_second for name, found in self.measurements.items()},
            "median_steps_per_second": {name: found.speed for name, found in self.measurements.items()},
            "times_meta_world": {name: self.ratio(name) for name in self.measurements},
            "share_of_limit": {engine_name(threads): self.share(threads) for threads in self.threads},
            "microseconds": {engine_name(threads): self.anatomy(threads) for threads in self.threads},
            "peak_memory_bytes": self.memory,
        }
