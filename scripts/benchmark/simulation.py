"""How fast Meta-World is simulated: by our engine, by its own vectors of environments, and by MuJoCo alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metarl_envs.core import Task
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.reference import MAX_HORIZON
from benchmark.contestants import Actions, EngineContestant, OriginalContestant, PhysicsContestant
from benchmark.memory import engine_memory
from benchmark.rounds import Contestant, Measurement, measure
from benchmark.targets import Target

_MANY_CORES = 16

ORIGINALS = ("Meta-World, sync", "Meta-World, async")


def engine_name(threads: int) -> str:
    """What tables call our engine."""
    return f"engine, {_threads(threads)}"


def physics_name(threads: int) -> str:
    """What tables call the physics limit."""
    return f"limit, {_threads(threads)}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


@dataclass(frozen=True)
class Comparison:
    """Our engine and Meta-World's own vectors of environments on the training tasks of one benchmark."""

    benchmark: str
    """Either ML10 or the task of an ML1, such as "push-v3"."""
    num_envs: int
    """How many environments the engine has."""
    original_num_envs: int
    """How many Meta-World's own vectors have."""
    min_ratio: float
    """How many times faster than the faster of Meta-World's own the engine is to be."""
    min_share: float | None = None
    """The share of the physics limit that it is to reach."""
    min_scaling: float | None = None
    """How many times faster than on one thread it is to be, where there are 16 cores or more."""
    max_memory_gb: float | None = None
    """What a process with the engine may take."""
    horizon: int = MAX_HORIZON
    """Steps per episode."""

    @property
    def name(self) -> str:
        """What tables call it."""
        benchmark = "ML10-train" if self.benchmark == "ML10" else f"ML1 {self.benchmark.removesuffix('-v3')}"
        return f"{benchmark}, {self.num_envs} envs"

    @property
    def tasks(self) -> list[Task]:
        """The engine's tasks: of each class the same number, and its goals in turn."""
        ml10 = self.benchmark == "ML10"
        by_name: dict[str, list[Task]] = {}
        for task in (MetaWorld("ML10") if ml10 else MetaWorld("ML1", task=self.benchmark)).train_tasks:
            by_name.setdefault(task.name, []).append(task)
        of_each = self.num_envs // len(by_name)
        return [tasks[i % len(tasks)] for tasks in by_name.values() for i in range(of_each)]

    @property
    def actions(self) -> Actions:
        """Random actions of an episode, the same for all: Meta-World's own take those of the first environments."""
        shape = (self.horizon, max(self.num_envs, self.original_num_envs), 4)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def turns(self, threads: Sequence[int], rounds: int) -> int:
        """How often `run` calls `advance`."""
        return (rounds + 1) * (len(ORIGINALS) + 2 * len(threads))

    def run(
        self, threads: Sequence[int], rounds: int, seconds: float, advance: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Measures memory, then the speed of all contestants in turn.

        Args:
            threads: The numbers of threads to try.
            rounds: How often each contestant has its turn.
            seconds: How long a turn lasts at least; it ends with the episode.
            advance: Called after each turn.
        """
        tasks, actions = self.tasks, self.actions
        own_actions, actions = actions[:, : self.original_num_envs], actions[:, : self.num_envs]
        memory = None if self.max_memory_gb is None else engine_memory(tasks, actions, max(threads))
        contestants: dict[str, Contestant] = {}
        with ExitStack() as stack:

            def enter(name: str, contestant: Contestant) -> None:
                contestants[name] = contestant
                stack.callback(contestant.close)

            for name in ORIGINALS:  # first: the asynchronous one forks, which a process with threads had better not
                enter(name, OriginalContestant(self.benchmark, own_actions, asynchronous=name.endswith("async")))
            for count in threads:
                engine = EngineContestant(tasks, actions, count)
                enter(engine_name(count), engine)
                enter(physics_name(count), PhysicsContestant(engine.engine, actions, count))
            return Outcome(self, tuple(threads), measure(contestants, rounds, seconds, advance), memory)


@dataclass(frozen=True)
class Outcome:
    """What was measured in a comparison, and what follows from it."""

    comparison: Comparison
    threads: tuple[int, ...]
    """The numbers of threads tried."""
    measurements: Mapping[str, Measurement]
    """By contestant."""
    memory: int | None = None
    """Bytes that a process with the engine takes at its peak; None if that was not measured."""

    @cached_property
    def original_speed(self) -> float:
        """Environment steps per second of the faster of Meta-World's own vectors."""
        return max(self.measurements[name].speed for name in ORIGINALS)

    def ratio(self, contestant: str) -> float:
        """How many times faster a contestant is than the faster of Meta-World's own."""
        return self.measurements[contestant].speed / self.original_speed

    def share(self, threads: int) -> float:
        """The share of the physics limit that the engine reaches."""
        return self.measurements[engine_name(threads)].speed / self.measurements[physics_name(threads)].speed

    def anatomy(self, threads: int) -> dict[str, float]:
        """Where the engine's time goes on so many threads: microseconds per environment step, which add up to it."""
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
        """What the engine is to reach, on all cores."""
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
        """Everything, for a file."""
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
