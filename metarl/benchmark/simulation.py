"""How fast Meta-World is simulated: by our engine, by Meta-World's own vectors, and by MuJoCo with nothing around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from envs.core import Task
from envs.metaworld import MetaWorld
from envs.metaworld.contestants import Actions, EngineContestant, OriginalContestant, PhysicsContestant
from envs.metaworld.reference import MAX_HORIZON
from metarl.benchmark.rounds import Contestant, Measurement, measure
from metarl.benchmark.targets import Target


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
        """Measures all contestants in turn.

        Args:
            threads: The numbers of threads to try.
            rounds: How often each contestant has its turn.
            seconds: How long a turn lasts at least; it ends with the episode.
            advance: Called after each turn.
        """
        tasks, actions = self.tasks, self.actions
        contestants: dict[str, Contestant] = {}
        with ExitStack() as stack:

            def enter(name: str, contestant: Contestant) -> None:
                contestants[name] = contestant
                stack.callback(contestant.close)

            for name in ORIGINALS:  # first: the asynchronous one forks, which a process with threads had better not
                own = actions[:, : self.original_num_envs]
                enter(name, OriginalContestant(self.benchmark, own, asynchronous=name.endswith("async")))
            for count in threads:
                engine = EngineContestant(tasks, actions[:, : self.num_envs], count)
                enter(engine_name(count), engine)
                enter(physics_name(count), PhysicsContestant(engine.engine, actions[:, : self.num_envs], count))
            return Outcome(self, tuple(threads), measure(contestants, rounds, seconds, advance))


@dataclass(frozen=True)
class Outcome:
    """What was measured in a comparison, and what follows from it."""

    comparison: Comparison
    threads: tuple[int, ...]
    """The numbers of threads tried."""
    measurements: Mapping[str, Measurement]
    """By contestant."""

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

    @property
    def anatomy(self) -> dict[str, float]:
        """Microseconds that one thread spends per environment step of the engine, by what for; they add up to it."""
        engine, physics = self.measurements[engine_name(1)], self.measurements[physics_name(1)]
        chunks, simulate = engine.microseconds("chunks"), engine.microseconds("simulate")
        return {
            "MuJoCo": physics.microseconds(),
            "into and out of MuJoCo": simulate - physics.microseconds(),
            "observation and reward": chunks - simulate,
            "vector and statistics": engine.microseconds() - chunks,
        }

    @property
    def targets(self) -> list[Target]:
        """What the engine is to reach on all cores."""
        threads, comparison = max(self.threads), self.comparison
        of_own = f"{comparison.name}: times Meta-World's own"
        targets = [Target(of_own, self.ratio(engine_name(threads)), comparison.min_ratio)]
        if comparison.min_share is not None:
            targets.append(Target(f"{comparison.name}: of the limit", self.share(threads), comparison.min_share))
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
            "microseconds_on_one_thread": self.anatomy,
        }
