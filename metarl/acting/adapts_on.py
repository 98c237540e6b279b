"""What a policy adapts on, of which it gets k, and what that is called wherever a user reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class AdaptsOn(StrEnum):
    """What k counts: episodes that a policy plays, or demonstrations that it is shown."""

    EPISODES = "episodes"
    DEMONSTRATIONS = "demonstrations"

    @property
    def in_full(self) -> str:
        """Name of several of them: "adaptation episodes", or "demonstrations"."""
        return "adaptation episodes" if self is AdaptsOn.EPISODES else self.value

    @property
    def steps(self) -> str:
        """Name of the steps of training."""
        return "environment steps" if self is AdaptsOn.EPISODES else "steps of demonstrations"

    def number(self, k: int) -> str:
        """Returns a number of them, such as "10 episodes" or "1 demonstration"."""
        return _counted(k, self.value)

    def number_in_full(self, k: int) -> str:
        """Returns a number of them as `in_full`, such as "10 adaptation episodes"."""
        return _counted(k, self.in_full)

    def number_of(self, k: int, task: str) -> str:
        """Returns a number of them of a task, such as "10 episodes on a new task" or "1 demonstration of it"."""
        return f"{self.number(k)} {'on' if self is AdaptsOn.EPISODES else 'of'} {task}"

    def played(self, ks: Sequence[int]) -> list[int]:
        """Returns how many episodes are played to adapt, for each k: none where demonstrations are shown."""
        return [k if self is AdaptsOn.EPISODES else 0 for k in ks]


def _counted(number: int, several: str) -> str:
    return f"{number} {several.removesuffix('s') if number == 1 else several}"
