"""Model of sampling and of iterations on more cores than are at hand, from what is measured on one and two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Sampling(NamedTuple):
    """Seconds that a step of all environments of a process takes: t(m, c) = simulated m / c + python m + fixed.

    m is the process's number of tasks and c its number of threads: they share the simulation, and Python's lock lets
    one at a time do the rest.
    """

    simulated: float
    """Seconds of simulation per environment step, which threads share."""
    python: float
    """Seconds of everything else per environment step."""
    fixed: float
    """Seconds per step of all environments, whatever their number."""

    def seconds(self, tasks: float, threads: int = 1) -> float:
        """Seconds of a step of `tasks` environments by one process."""
        return self.simulated * tasks / threads + self.python * tasks + self.fixed

    def speed(self, tasks: int, ranks: int, threads: int = 1) -> float:
        """Environment steps per second of several processes, each with its share of the tasks."""
        # N processes:  speed = M / t(M / N, c)
        return tasks / self.seconds(tasks / ranks, threads)

    def locked(self, tasks: int) -> float:
        """Share of one process's time that more threads do not shorten."""
        return 1 - self.simulated * tasks / self.seconds(tasks)


def fit_sampling(seconds: Mapping[int, tuple[float, float]]) -> Sampling:
    """Fits the model to one process with one thread.

    Args:
        seconds: For each number of tasks, seconds of a step of all environments: in all, and outside of simulation.
    """
    tasks = np.array(list(seconds), dtype=np.float64)
    whole, outside = np.array(list(seconds.values())).T
    # outside = python m + fixed: least squares of the relative errors
    design = np.stack([tasks, np.ones_like(tasks)], axis=1) / outside[:, None]
    python, fixed = np.linalg.lstsq(design, np.ones_like(tasks), rcond=None)[0]
    return Sampling(float(((whole - outside) / tasks).mean()), float(python), float(fixed))


class Sums(NamedTuple):
    """Seconds of a sum over N processes: latency log2(N) + 2 (N - 1) / N bytes / bandwidth."""

    latency: float
    """Seconds of a sum of one number over two processes."""
    bandwidth: float
    """Bytes per second."""

    def seconds(self, size: int, ranks: int) -> float:
        """Seconds of a sum of `size` bytes."""
        return float(self.latency * np.log2(ranks) + 2 * (ranks - 1) / ranks * size / self.bandwidth)


def fit_sums(seconds: Mapping[int, float]) -> Sums:
    """Fits the model to sums over two processes, from the smallest and the largest number of bytes."""
    latency, largest = seconds[min(seconds)], max(seconds)
    # with N = 2:  seconds = latency + bytes / bandwidth
    return Sums(latency, largest / max(seconds[largest] - latency, 1e-9))


class Update(NamedTuple):
    """Seconds of the update of an iteration: alone / N + messages sum(bytes, N)."""

    alone: float
    """Seconds of one process with one thread."""
    messages: int
    """Sums of vectors as long as the weights."""
    size: int
    """Bytes of each."""

    def seconds(self, ranks: int, sums: Sums) -> float:
        """Seconds of several processes."""
        return self.alone / ranks + (self.messages * sums.seconds(self.size, ranks) if ranks > 1 else 0.0)
