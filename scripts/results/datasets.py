"""Demonstrations that a run learned from: how many there are, and the command that records the same."""

from __future__ import annotations

import shlex
from typing import Any

from metarl.algorithms.imitation.config import ImitationConfig
from metarl.config import RunConfig
from metarl.config.tasks import DemonstrationTasks
from metarl.demonstrations.collecting import default_path
from metarl.demonstrations.folders import find_dataset
from metarl.demonstrations.reading import read_facts
from metarl.evaluation.fields import StoredFields, check_fields
from metarl.strict import StrictModel


class Dataset(StrictModel):
    """What is said of the demonstrations that a run learned from."""

    name: str
    """Name in Minari."""
    episodes: int
    """Number of demonstrations."""
    played: int | None = None
    """Number of episodes that were played to get them; None if nobody tells."""
    command: str = ""
    """Command that records the same; empty if metarl did not record them."""

    def describe(self) -> str:
        """Says how they were recorded, in a sentence."""
        if not self.command:
            return f"Demonstrations {self.name}: {self.episodes:,} episodes, which metarl did not record."
        return (
            f"Demonstrations {self.name}: {self.episodes:,} of {self.played:,} episodes succeeded and were kept of"
            f" `{self.command}`."
        )


class _Settings(StoredFields):
    tasks: list[str]
    goals: int
    episodes: int
    again: int = 0
    noise: float
    split: str
    horizon: int
    seed: int
    goal_seed: int
    frame_every: int = 1


class _Collection(StoredFields):
    collected: _Settings
    played: dict[str, int]


def dataset_of(config: RunConfig) -> Dataset | None:
    """Reads what is said of the demonstrations that a configuration names; returns None if it names none.

    Raises:
        UserError: If they are not there, or damaged.
    """
    if isinstance(config.tasks, DemonstrationTasks):
        path, frames = find_dataset(config.tasks.dataset), config.tasks.frames
    elif isinstance(config.algorithm, ImitationConfig):
        path, frames = find_dataset(config.algorithm.dataset), False
    else:
        return None
    facts = read_facts(path)
    name, episodes = str(facts.get("dataset_id", path.name)), facts["total_episodes"]
    if "collected" not in facts:
        return Dataset(name=name, episodes=episodes)
    found = check_fields(_Collection, facts, "what 'metarl demos collect' says of a dataset")
    command = collecting_command(found.collected, name, frames)
    return Dataset(name=name, episodes=episodes, played=sum(found.played.values()), command=command)


def collecting_command(settings: _Settings, name: str, frames: bool) -> str:
    """Returns the command that records demonstrations with some settings.

    Args:
        settings: Those that the dataset tells.
        name: Its name.
        frames: True if its frames are looked at.
    """
    options: dict[str, Any] = settings.model_dump(exclude={"tasks"})
    options |= {"goal-seed": options.pop("goal_seed"), "frame-every": options.pop("frame_every")}
    usual = {"again": 0, "split": "both", "seed": 1, "goal-seed": 1, "frame-every": 1}
    words = ["metarl", "demos", "collect", "--tasks", *settings.tasks]
    for option, value in options.items():
        words += [] if value == usual.get(option) else [f"--{option}", str(value)]
    words += ["--frames"] if frames else []
    path = default_path(settings.tasks)
    return shlex.join(words if path.name == name else [*words, "--output", str(path.with_name(name))])
