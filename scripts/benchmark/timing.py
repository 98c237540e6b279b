"""Timing of implementations in turn, round after round, so that other load on the machine hits all of them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, runtime_checkable


@runtime_checkable
class Implementation(Protocol):
    """Implementation of a piece of work that can be repeated."""

    steps: int
    """Environment steps of the work."""

    def play(self) -> Mapping[str, float]:
        """Does the work and returns its seconds, as `all`, and the seconds of its parts by name, if it has any."""

    def close(self) -> None:
        """Frees threads and processes."""


@dataclass(frozen=True)
class Measurement:
    """Times of one implementation."""

    seconds_per_step: Mapping[str, Sequence[float]]
    """Seconds per environment step in each round, by part; `all` is the whole."""

    @property
    def steps_per_second(self) -> list[float]:
        """Environment steps per second in each round."""
        return [1 / seconds for seconds in self.seconds_per_step["all"]]

    @property
    def speed(self) -> float:
        """Environment steps per second, the median over rounds."""
        return median(self.steps_per_second)

    def microseconds(self, part: str = "all") -> float:
        """Microseconds per environment step of a part, the median over rounds."""
        return 1e6 * median(self.seconds_per_step[part])


def measure(
    implementations: Mapping[str, Implementation], rounds: int, seconds: float, advance: Callable[[], None]
) -> dict[str, Measurement]:
    """Measures implementations in turn: once each to warm up, then in rounds.

    Args:
        implementations: Implementations by name.
        rounds: Turns of each implementation.
        seconds: Least duration of a turn; the work in progress is finished.
        advance: Called after each turn, those to warm up included.
    """
    records: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in implementations}
    for number in range(rounds + 1):
        for name, implementation in implementations.items():
            warming_up = number == 0
            for part, value in _take_turn(implementation, 0.0 if warming_up else seconds).items():
                if not warming_up:
                    records[name][part].append(value)
            advance()
    return {name: Measurement(dict(record)) for name, record in records.items()}


def _take_turn(implementation: Implementation, seconds: float) -> dict[str, float]:
    """Seconds per environment step, by part."""
    spent: defaultdict[str, float] = defaultdict(float)
    steps = 0
    while not steps or spent["all"] < seconds:
        for part, value in implementation.play().items():
            spent[part] += value
        steps += implementation.steps
    return {part: value / steps for part, value in spent.items()}
