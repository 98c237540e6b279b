"""Comparison of all classic strategies for a family, and of learned players, on the same held-out tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from metarl.evaluation.statistics import Interval, mean_bounds, split_by_name
from metarl.seeding import Stream, generator
from metarl.strategies.bandits import BanditStrategy, bandit_strategies, bayes_optimal_return
from metarl.strategies.tabular import PlanningStrategy, tabular_strategies
from metarl.strategies.trials import Player, play_trials
from metarl_envs.bandit import Bandit
from metarl_envs.core import TaskDistribution
from metarl_envs.tabular import TabularMDP, action_values, models

_MAX_PULLS_SOLVED = 10
"""Longest bandit trials for which the Bayes-optimal return is computed."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Returns of trials of one length on one distribution's held-out tasks."""

    distribution: str
    """Name of the distribution."""
    episodes: int
    """Episodes per trial."""
    task_ids: tuple[str, ...]
    """Ids of the tasks, one trial each."""
    rewards: Mapping[str, Float[np.ndarray, "task"]]
    """Sum of a trial's rewards by player, per task."""
    intervals: Mapping[str, Interval]
    """Mean over the tasks by player, with its interval."""
    bounds: Mapping[str, float]
    """Upper bounds of the expected sum by name: "best strategy" is the Bayes-optimal return over the distribution of
    tasks, "task known" that of the best actions for each of these tasks."""
    margins: Mapping[str, tuple[str, Interval]]
    """By learned player: the classic strategy with the highest mean, and the player's gain over it, paired by task."""

    def to_dict(self) -> dict[str, Any]:
        """Converts the comparison to JSON types."""
        return {
            "distribution": self.distribution,
            "episodes": self.episodes,
            "task_ids": list(self.task_ids),
            "bounds": dict(self.bounds),
            "margins": {name: {"over": best, **margin.to_dict()} for name, (best, margin) in self.margins.items()},
            "intervals": {name: interval.to_dict() for name, interval in self.intervals.items()},
            "rewards": {name: rewards.tolist() for name, rewards in self.rewards.items()},
        }


def compare(
    distribution: Bandit | TabularMDP, episodes: int, seed: int, learned: Mapping[str, Player] | None = None
) -> Comparison:
    """Plays one trial per held-out task with every player, all on the same tasks and with the same seeds.

    Args:
        distribution: The tasks.
        episodes: Episodes per trial; for a bandit, pulls.
        seed: Seed of the environments and of the strategies' random generators.
        learned: Further players by name.
    """
    tasks = distribution.test_tasks
    classic = dict(_strategies(distribution, episodes, seed))
    learned = dict(learned or {})
    rewards = {
        name: play_trials(player, distribution, tasks, episodes, seed).sum(axis=-1)
        for name, player in (classic | learned).items()
    }
    best = max(classic, key=lambda name: float(rewards[name].mean()))
    columns = [*rewards.values(), *(rewards[name] - rewards[best] for name in learned)]
    names = [task.name for task in tasks]
    strata = split_by_name(np.stack(columns, axis=-1)[None], names)
    intervals = mean_bounds(list(strata.values()), generator(seed, Stream.EVALUATION)).intervals()
    margins = intervals[len(rewards) :]
    return Comparison(
        distribution=distribution.name,
        episodes=episodes,
        task_ids=tuple(task.id for task in tasks),
        rewards=rewards,
        intervals=dict(zip(rewards, intervals, strict=False)),
        bounds=_bounds(distribution, episodes),
        margins={name: (best, margin) for name, margin in zip(learned, margins, strict=True)},
    )


def _strategies(distribution: Bandit | TabularMDP, episodes: int, seed: int) -> Iterator[tuple[str, Player]]:
    count = len(distribution.test_tasks)
    if isinstance(distribution, Bandit):
        for name, scores in bandit_strategies(episodes).items():
            yield name, BanditStrategy(scores, count, distribution.arms, generator(seed, Stream.TRIALS))
    else:
        sizes = distribution.states, distribution.actions, distribution.horizon
        for name, plan in tabular_strategies().items():
            yield name, PlanningStrategy(plan, count, *sizes, generator(seed, Stream.TRIALS))


def _bounds(distribution: Bandit | TabularMDP, episodes: int) -> dict[str, float]:
    tasks = distribution.test_tasks
    if isinstance(distribution, TabularMDP):
        values = action_values(models(tasks, distribution.states, distribution.actions), distribution.horizon)
        return {"task known": episodes * float(values[:, 0, 0].max(axis=-1).mean())}
    known = {"task known": episodes * float(np.mean([task.parameters.max() for task in tasks]))}
    if episodes > _MAX_PULLS_SOLVED:
        return known
    return {"best strategy": bayes_optimal_return(distribution.arms, episodes), **known}


def same_problem(one: TaskDistribution, other: TaskDistribution) -> bool:
    """Returns true if a player for one distribution can play the other: same family, spaces and horizon."""
    return type(one) is type(other) and all(
        getattr(one, name) == getattr(other, name) for name in ("observation_space", "action_space", "horizon")
    )
