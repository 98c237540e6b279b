"""`metarl strategies`: plays classic strategies, and RL² runs beside them; prints tables and writes a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.progress import Progress

from metarl.acting.adaptation import ExploringAgent
from metarl.algorithms.rl2.config import RL2Config
from metarl.errors import RunFailure
from metarl.files import make_room_for, write_atomically
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.strategies.comparison import Comparison, compare, same_problem
from metarl.strategies.table import comparison_tables
from metarl.strategies.trials import Player
from metarl.versions import versions
from metarl_envs.bandit import Bandit
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.tabular import TabularMDP

ARMS = (5, 10, 50)
"""Numbers of arms in the RL² paper (Duan et al. 2016, table 1)."""
EPISODES = {"bandit": (10, 100, 500), "tabular": (10, 25, 50, 75, 100)}
"""Episodes per trial in the RL² paper (Duan et al. 2016, tables 1 and 2)."""


class _Learned(NamedTuple):
    """RL² run, with the tasks and the episodes per trial that it was trained for."""

    player: Player
    distribution: TaskDistribution
    episodes: int
    checkpoint: str


def run_strategies(
    family: Literal["bandit", "tabular"],
    *,
    arms: Sequence[int] | None = None,
    episodes: Sequence[int] | None = None,
    tasks: int = 1000,
    seed: int = 1,
    runs: Sequence[Path] = (),
    output: Path | None = None,
) -> Path:
    """Compares players by the sum of rewards in a whole trial, one trial per held-out task.

    Args:
        family: Bernoulli bandits or tabular MDPs.
        arms: Numbers of arms to try, for bandits; by default the RL² paper's.
        episodes: Numbers of episodes per trial to try; by default the RL² paper's.
        tasks: Number of held-out tasks.
        seed: Seed of the tasks, the environments and the players.
        runs: RL² runs; the last checkpoint of each plays the trials that it was trained for.
        output: The file to write; by default `runs/strategies-<family>-<time>.json`.

    Returns:
        The file written.

    Raises:
        UserError: If arms are given for tabular MDPs, a run is not of RL² or was trained for none of the trials, or
            there cannot be such a file.
        RunFailure: If the file cannot be written.
    """
    for name, values in (("--arms", arms or ()), ("--episodes", episodes or ()), ("--run", runs)):
        if len(set(values)) < len(values):
            raise UserError(f"{name}: the same is given twice: {', '.join(map(str, values))}")
    path = output or Path("runs", f"strategies-{family}-{datetime.now():%Y%m%d-%H%M%S}.json")
    distributions = _distributions(family, arms, tasks, seed)
    cells = [(distribution, length) for distribution in distributions for length in episodes or EPISODES[family]]
    learned = {f"rl2 {run}": _load(run, cells, seed) for run in runs}
    make_room_for(path)
    comparisons = _play(cells, learned, seed)
    console = Console()
    console.print(comparison_tables(comparisons))
    found = {
        "family": family,
        "seed": seed,
        "versions": versions(),
        "checkpoints": {name: entry.checkpoint for name, entry in learned.items()},
        "comparisons": [comparison.to_dict() for comparison in comparisons],
    }
    try:
        path = path if output else _reserve(path)
        write_atomically(path, (json.dumps(found) + "\n").encode())
    except OSError as error:
        raise RunFailure(f"cannot write {path}: {error.strerror}") from error
    print(f"Strategies: {path}")
    return path


def _reserve(path: Path) -> Path:
    """Makes an empty file of a name that is free."""
    for number in count(1):
        each = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        with suppress(FileExistsError):
            each.touch(exist_ok=False)
            return each
    raise AssertionError  # never comes here


def _distributions(
    family: Literal["bandit", "tabular"], arms: Sequence[int] | None, tasks: int, seed: int
) -> list[Bandit] | list[TabularMDP]:
    """Makes the task distributions to play. They have one training task, as nothing is trained."""
    if family == "bandit":
        return [Bandit(count, num_train_tasks=1, num_test_tasks=tasks, seed=seed) for count in arms or ARMS]
    if arms:
        raise UserError("--arms is for bandits: tabular MDPs have none")
    return [TabularMDP(num_train_tasks=1, num_test_tasks=tasks, seed=seed)]


def _load(path: Path, cells: Sequence[tuple[Bandit | TabularMDP, int]], seed: int) -> _Learned:
    run = RunDirectory.open(path)
    if not isinstance(run.config.algorithm, RL2Config):
        raise UserError(f"run {path} is of {run.config.algorithm.kind}: only rl2 learns while it plays a trial")
    trained_on, length = run.config.tasks.build(), run.config.algorithm.episodes
    if not any(same_problem(trained_on, distribution) and length == episodes for distribution, episodes in cells):
        raise UserError(
            f"run {path} was trained for {length} episodes of {trained_on.name}, which is not compared here"
        )
    checkpoint = run.checkpoint("last")
    agent, _ = load_agent(checkpoint, run.config, trained_on, seed)
    return _Learned(ExploringAgent(agent), trained_on, length, str(checkpoint))


def _play(
    cells: Sequence[tuple[Bandit | TabularMDP, int]], learned: dict[str, _Learned], seed: int
) -> list[Comparison]:
    messages = Console(stderr=True)
    comparisons = []
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        bar = progress.add_task("", total=len(cells))
        for distribution, episodes in cells:
            progress.update(bar, description=f"{distribution.name}, {episodes} episodes")
            players = {
                name: entry.player
                for name, entry in learned.items()
                if entry.episodes == episodes and same_problem(entry.distribution, distribution)
            }
            comparisons.append(compare(distribution, episodes, seed, players))
            progress.advance(bar)
    return comparisons
