"""Summaries of outcomes on tasks, of one training run or several, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from metarl.evaluation.aggregates import interquartile_mean
from metarl.evaluation.shares import share_bounds, share_gain_bounds
from metarl.evaluation.statistics import Interval, mean_bounds, split_by_name
from metarl.seeding import Stream, generator


@dataclass(frozen=True)
class Summary:
    """Performance after `k` adaptation episodes or demonstrations, for one task name or over all names."""

    k: int
    """Number of adaptation episodes or demonstrations."""
    success: Interval
    """Share of episodes in which the task was solved at any step."""
    success_last: Interval
    """Share of episodes in which the task was solved at the last step."""
    returns: Interval
    """Undiscounted return of an episode."""
    success_gain: Interval | None
    """`success` minus `success` at k = 0, paired by task; None for k = 0 or where k = 0 was not played."""
    return_gain: Interval | None
    """`returns` minus `returns` at k = 0, paired by task; None likewise."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as JSON types; gains that are None are left out."""
        intervals = {
            "success": self.success,
            "success_last": self.success_last,
            "return": self.returns,
            "success_gain": self.success_gain,
            "return_gain": self.return_gain,
        }
        return {"k": self.k} | {name: interval.to_dict() for name, interval in intervals.items() if interval}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes on each task, means over its episodes, of one or several training seeds."""

    task_names: tuple[str, ...]
    """Name of each task."""
    adaptation_episodes: tuple[int, ...]
    """Numbers k of adaptation episodes, ascending."""
    episodes: int
    """Number of evaluation episodes per seed, task and k."""
    bootstrap_seed: int
    """Seed of the bootstrap."""
    success: Float[np.ndarray, "seed task k"]
    """Share of episodes in which the task was solved at any step."""
    success_last: Float[np.ndarray, "seed task k"]
    """Share of episodes in which the task was solved at the last step."""
    returns: Float[np.ndarray, "seed task k"]
    """Mean undiscounted return."""

    @cached_property
    def per_name(self) -> dict[str, list[Summary]]:
        """Summaries by task name, one for each k; names in order of first appearance."""
        return {name: self._summarise([name]) for name in dict.fromkeys(self.task_names)}

    @cached_property
    def overall(self) -> list[Summary]:
        """Summaries over all task names, one for each k; each name weighs the same."""
        return self._summarise(list(dict.fromkeys(self.task_names)))

    @cached_property
    def iqm(self) -> list[Interval]:
        """Interquartile mean of the return over all pairs of seed and task, for each k."""
        return interquartile_mean(self.returns, self.task_names, self._generator()).intervals()

    def _generator(self) -> np.random.Generator:
        return generator(self.bootstrap_seed, Stream.EVALUATION)

    def _summarise(self, names: list[str]) -> list[Summary]:
        def strata(values: Float[np.ndarray, "seed task metric"]) -> list[Float[np.ndarray, "seed _ metric"]]:
            by_name = split_by_name(values, self.task_names)
            return [by_name[name] for name in names]

        # gain[seed, task, k] = x[seed, task, k] - x[seed, task, 0], if the first k is 0; all metrics share the draws
        returns, success = self.returns, self.success
        columns = np.concatenate([returns, returns - returns[..., :1]], axis=-1)
        means = mean_bounds(strata(columns), self._generator()).intervals()
        solved = share_bounds(strata(success), self.episodes).intervals()
        solved_last = share_bounds(strata(self.success_last), self.episodes).intervals()
        gains = share_gain_bounds(strata(success - success[..., :1])).intervals()
        ks = self.adaptation_episodes
        has_gain = [k > 0 and ks[0] == 0 for k in ks]
        return [
            Summary(
                k,
                solved[row],
                solved_last[row],
                means[row],
                gains[row] if has_gain[row] else None,
                means[len(ks) + row] if has_gain[row] else None,
            )
            for row, k in enumerate(ks)
        ]
