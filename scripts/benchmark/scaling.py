"""Suite of scaling: the same work on several numbers of processes and of threads, in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from benchmark.cases import PRESETS
from benchmark.scaling_model import Sampling, fit_sampling
from benchmark.scaling_work import OUTSIDE, IterationWork, SamplingWork, seconds_of_sum
from benchmark.targets import Target
from benchmark.timing import Implementation, Measurement, measure
from metarl_envs.cores import available_cores

_WANTED_SPEED = 15.0
"""Thousands of steps per second with 40 ML10 tasks, the policy included."""
_WANTED_SPEED_UP = 10.0
"""Speed of 16 processes in multiples of one."""
_MANY = 16


class Layout(NamedTuple):
    """Number of processes, and of threads that each has for simulation and for PyTorch."""

    ranks: int
    threads: int

    @property
    def cores(self) -> int:
        """Number of cores it can use."""
        return self.ranks * self.threads

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.ranks} x {self.threads}"


ONE = Layout(1, 1)


def layouts(ranks: Sequence[int], threads: int) -> list[Layout]:
    """Layouts to compare: one core, each number of processes, and one process with as many threads as each has in all.

    Args:
        ranks: Numbers of processes; without any, powers of two up to the number of cores, and that number.
        threads: Threads of each process.
    """
    cores = available_cores()
    counts = sorted({*ranks} or {cores, *(2**i for i in range(cores.bit_length()))})
    found = [ONE]
    for count in counts:
        found += [Layout(1, count * threads), Layout(count, threads)]
    return list(dict.fromkeys(found))


class Work(NamedTuple):
    """Work that is measured on all layouts."""

    name: str
    make: Callable[[Layout], Implementation]
    """Makes the work for a layout."""
    tasks: int
    """Number of tasks of a meta-batch, which the processes share."""
    sampling: bool
    """True for sampling alone."""


def _iteration(name: str, preset: str, tasks: int, *overrides: str) -> Work:
    settings = [f"--algorithm.meta_batch={tasks}", "--evaluation.every=0", *overrides]
    return Work(
        name, lambda layout: IterationWork(PRESETS / f"{preset}.yaml", settings, *layout), tasks, sampling=False
    )


def _sampling(tasks: int) -> Work:
    return Work(f"sampling, {tasks} ML10 tasks", lambda layout: SamplingWork(tasks, *layout), tasks, sampling=True)


_SAMPLING = tuple(map(_sampling, (20, 40, 200)))
_ITERATIONS = (
    _iteration(
        *("iteration of MAML-TRPO, 20 ML10 tasks", "ml10-maml", 20),
        *("--tasks.horizon=100", "--algorithm.episodes=4", "--algorithm.parallel_episodes=4"),
    ),
    _iteration("iteration of RL²-PPO, 40 ML10 tasks", "ml10-rl2", 40, "--algorithm.outer.epochs=2"),
)

SCALING_SUITES = {
    "scaling": (*_SAMPLING, *_ITERATIONS),
    "scaling-sampling": _SAMPLING,
    "scaling-quick": (
        _iteration("iteration of MAML-TRPO, navigation", "navigation-maml", 20),
        _iteration("iteration of RL²-PPO, navigation", "navigation-rl2", 20),
    ),
}
"""Suites of scaling by name: sampling with the policy of RL²'s preset, and whole iterations of both families."""


@dataclass(frozen=True)
class Scaled:
    """Measurements of one work on all layouts."""

    work: Work
    measurements: Mapping[Layout, Measurement]

    def speed_up(self, layout: Layout) -> float:
        """Speed in multiples of that on one core."""
        return self.measurements[layout].speed / self.measurements[ONE].speed

    def efficiency(self, layout: Layout) -> float:
        """Speed per core in multiples of that on one core."""
        return self.speed_up(layout) / layout.cores

    def serial(self, layout: Layout) -> float | None:
        """Share of one core's time that does not become shorter with more cores; None for one core.

        In one process this is above all what Python's lock lets one thread at a time do; with several, it is waiting
        for the slowest, sums, and memory that the cores share (Karp and Flatt 1990).
        """
        # e = (1 / S - 1 / p) / (1 - 1 / p) for the speed-up S on p cores
        p = layout.cores
        return None if p == 1 else (1 / self.speed_up(layout) - 1 / p) / (1 - 1 / p)

    def to_dict(self) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "name": self.work.name,
            "tasks": self.work.tasks,
            "layouts": [
                {
                    "ranks": layout.ranks,
                    "threads": layout.threads,
                    "steps_per_second": found.steps_per_second,
                    "median_steps_per_second": found.speed,
                    "microseconds": {part: found.microseconds(part) for part in found.seconds_per_step},
                    "efficiency": self.efficiency(layout),
                    "serial_share": self.serial(layout),
                }
                for layout, found in self.measurements.items()
            ],
        }


@dataclass(frozen=True)
class Scaling:
    """Measurements of the suite."""

    works: Sequence[Scaled]
    sums: Mapping[int, float]
    """Seconds of a sum over two processes of this machine, by its number of bytes."""

    @cached_property
    def model(self) -> Sampling | None:
        """Model of one core's sampling; None if fewer than two numbers of tasks were measured."""
        seconds = {}
        for each in (each for each in self.works if each.work.sampling):
            found, tasks = each.measurements[ONE], each.work.tasks
            parts = (found.microseconds(part) for part in ("all", OUTSIDE))
            # a step of all environments = tasks environment steps
            whole, outside = (tasks * part / 1e6 for part in parts)
            seconds[tasks] = whole, outside
        return fit_sampling(seconds) if len(seconds) > 1 else None

    @property
    def targets(self) -> list[Target]:
        """Targets of sampling with 40 tasks and, if so many were measured, of 16 processes."""
        found = []
        for each in self.works:
            if each.work.sampling and each.work.tasks == 40:
                best = max(measured.speed for measured in each.measurements.values()) / 1000
                found.append(Target(f"{each.work.name}: k steps/s", best, _WANTED_SPEED))
            many = [layout for layout in each.measurements if layout.ranks >= _MANY and layout.threads == 1]
            if many and each.work.sampling:
                speed_up = each.speed_up(min(many))
                found.append(Target(f"{each.work.name}: {min(many).ranks} times one", speed_up, _WANTED_SPEED_UP))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Returns all measurements for a JSON file."""
        return {
            "works": [each.to_dict() for each in self.works],
            "sum_seconds": {str(size): seconds for size, seconds in self.sums.items()},
            "model": None if self.model is None else self.model._asdict(),
            "targets": [target.to_dict() for target in self.targets],
        }


def measure_scaling(
    works: Sequence[Work],
    ranks: Sequence[int],
    threads: int,
    rounds: int,
    seconds: float,
    begin: Callable[[str, int], None],
    advance: Callable[[], None],
) -> Scaling:
    """Measures all works on all layouts that can share their tasks evenly, in turn.

    Args:
        works: What to measure.
        ranks: Numbers of processes; see `layouts`.
        threads: Threads of each process.
        rounds: Turns of each layout.
        seconds: Least duration of a turn of sampling.
        begin: Called before each work, with its name and the number of turns in all.
        advance: Called after each turn.

    Raises:
        RunFailure: If a process that is measured fails.
    """
    choices = {work.name: [each for each in layouts(ranks, threads) if work.tasks % each.ranks == 0] for work in works}
    total = (rounds + 1) * sum(map(len, choices.values()))
    found = []
    for work in works:
        begin(work.name, total)
        implementations = {layout.name: work.make(layout) for layout in choices[work.name]}
        try:
            measured = measure(implementations, rounds, seconds if work.sampling else 0.0, advance)
        finally:
            for each in implementations.values():
                each.close()
        found.append(Scaled(work, {layout: measured[layout.name] for layout in choices[work.name]}))
    return Scaling(found, seconds_of_sum())
