"""Measuring contestants in turn, round after round, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, runtime_checkable


@runtime_checkable
class Contestant(Protocol):
    """Something that does the same work as often as it is asked to."""

    steps: int
    """Environment steps in that work."""

    def play(self) -> Mapping[str, float]:
        """Does its work; the seconds that took, as `all`, and those of parts of it by name, if it has any."""

    def close(self) -> None:
        """Frees what it holds."""


@dataclass(frozen=True)
class Measurement:
    """What one contestant took."""

    seconds_per_step: Mapping[str, Sequence[float]]
    """Seconds per environment step in each round, by part; `all` is one of them."""

    @property
    def steps_per_second(self) -> list[float]:
        """Environment steps per second in each round."""
        return [1 / seconds for seconds in self.seconds_per_step["all"]]

    @property
    def speed(self) -> float:
        """Environment steps per second, the median over rounds."""
        return median(self.steps_per_second)

    def microseconds(self, part: str = "all") -> float:
        """Microseconds per environment step that a part took, the median over rounds."""
        return 1e6 * median(self.seconds_per_step[part])


def measure(
    contestants: Mapping[str, Contestant], rounds: int, seconds: float, advance: Callable[[], None]
) -> dict[str, Measurement]:
    """Lets contestants play in turn, once each unmeasured to warm up and then in rounds.

    Args:
        contestants: Who plays, by name.
        rounds: How often each has its turn.
        seconds: How long a turn lasts at least; it ends when the work then in progress is done.
        advance: Called after each turn, those to warm up included.
    """
    records: dict[str, defaultdict[str, list[float]]] = {name: defaultdict(list) for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            warming_up = number == 0
            for part, value in _take_turn(contestant, 0.0 if warming_up else seconds).items():
                if not warming_up:
                    records[name][part].append(value)
            advance()
    return {name: Measurement(dict(record)) for name, record in records.items()}


def _take_turn(contestant: Contestant, seconds: float) -> dict[str, float]:
    """Seconds per environment step, by part."""
    spent: defaultdict[str, float] = defaultdict(float)
    steps = 0
    while not steps or spent["all"] < seconds:
        for part, value in contestant.play().items():
            spent[part] += value
        steps += contestant.steps
    return {part: value / steps for part, value in spent.items()}
