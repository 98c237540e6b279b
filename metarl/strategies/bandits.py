"""Classic strategies for Bernoulli bandits, and the best that any strategy can earn.

All but "random" hold a uniform prior over each arm's mean, Beta(1, 1), which is what the tasks are drawn from. Ties go
to the first arm; tasks know no order of arms.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from metarl.data.steps import Timestep
from metarl.strategies.gittins import gittins_indices

EPSILON = 0.02
"""How often epsilon-greedy pulls an arm at random."""
UCB1_WEIGHT = 0.2
"""UCB1's bonus as a multiple of that of Auer et al. (2002)."""

Counts = Float[np.ndarray, "task arm"]
Scores = Callable[[Counts, Counts, np.random.Generator], Float[np.ndarray, "task arm"]]
"""Scores arms by how often each paid and how often it did not. The arm of the highest score is pulled next."""


class BanditStrategy:
    """Pulls the arm of the highest score in every bandit; a `metarl.strategies.trials.Player`.

    Args:
        scores: The scores.
        num_tasks: How many bandits are played at once.
        arms: How many arms each has.
        rng: The source of the strategy's randomness.
    """

    def __init__(self, scores: Scores, num_tasks: int, arms: int, rng: np.random.Generator) -> None:
        self._scores = scores
        self._shape = num_tasks, arms
        self._rng = rng
        self._index = np.arange(num_tasks)
        self.init()

    def init(self) -> None:
        """Forgets all payments."""
        self._paid, self._blank = np.zeros(self._shape), np.zeros(self._shape)

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """The arms to pull; what a bandit shows is ignored, as it tells nothing."""
        return self._scores(self._paid, self._blank, self._rng).argmax(axis=-1), {}

    def step(self, timestep: Timestep) -> None:
        """Counts what the arms paid."""
        at = (self._index, timestep.action)
        self._paid[at] += timestep.reward
        self._blank[at] += 1 - timestep.reward


def bandit_strategies(pulls: int) -> dict[str, Scores]:
    """The strategies by name.

    - "random": each arm as often as any other.
    - "greedy": the highest posterior mean.
    - "epsilon-greedy": the same, but a random arm with probability `EPSILON` (Sutton & Barto 2018, section 2.2).
    - "ucb1": `mean + c sqrt(2 ln t / n)` (Auer et al. 2002, figure 1) with posterior means, c = `UCB1_WEIGHT`, and n
      counting the prior's payment and blank.
    - "thompson": a draw from the posterior (Thompson 1933; Chapelle & Li 2011, algorithm 2).
    - "optimistic thompson": the same, but never below the posterior mean (May et al. 2012, section 3.3).
    - "gittins": the Gittins index (Gittins 1979) for the discount whose horizon, `1 / (1 - discount)`, is the trial's
      length. It is optimal for discounted rewards; for the sum over a trial it is an approximation.

    Args:
        pulls: The length of a trial.
    """
    return {
        "random": lambda paid, blank, rng: rng.random(paid.shape),
        "greedy": lambda paid, blank, rng: _mean(paid, blank),
        "epsilon-greedy": _epsilon_greedy,
        "ucb1": _ucb1,
        "thompson": _thompson,
        "optimistic thompson": lambda paid, blank, rng: np.maximum(_thompson(paid, blank, rng), _mean(paid, blank)),
        "gittins": _gittins(pulls),
    }


def _mean(paid: Counts, blank: Counts) -> Float[np.ndarray, "task arm"]:
    mean: Float[np.ndarray, "task arm"] = (1 + paid) / (2 + paid + blank)
    return mean


def _epsilon_greedy(paid: Counts, blank: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    explores = rng.random((len(paid), 1)) < EPSILON
    return np.where(explores, rng.random(paid.shape), _mean(paid, blank))


def _ucb1(paid: Counts, blank: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    counts = paid + blank
    time = 1 + counts.sum(axis=-1, keepdims=True)
    bounds: Float[np.ndarray, "task arm"] = _mean(paid, blank) + UCB1_WEIGHT * np.sqrt(2 * np.log(time) / (2 + counts))
    return bounds


def _thompson(paid: Counts, blank: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    return rng.beta(1 + paid, 1 + blank)


def _gittins(pulls: int) -> Scores:
    discount = max(1 - 1 / pulls, 0.5)  # of one or two pulls little can be learned

    def scores(paid: Counts, blank: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
        found: Float[np.ndarray, "task arm"] = gittins_indices(discount, pulls)[paid.astype(int), blank.astype(int)]
        return found

    return scores


def bayes_optimal_return(arms: int, pulls: int) -> float:
    """The expected reward of a trial under the best of all strategies, over bandits with uniform means.

    By dynamic programming over what is known of the arms that were pulled, in whatever order; its cost grows fast with
    `pulls`, and 10 take a moment. How many arms there are beyond the number of pulls makes no difference.
    """
    return _best_value((), min(arms, pulls), pulls)


@cache
def _best_value(pulled: tuple[tuple[int, int], ...], fresh: int, pulls: int) -> float:
    """What can still be earned, having seen so many (payments, blanks) of the arms `pulled`, sorted."""
    if pulls == 0:
        return 0.0
    best = 0.0
    for arm in {*pulled, (0, 0)} if fresh else set(pulled):
        others, left = list(pulled), fresh
        if arm == (0, 0):
            left -= 1
        else:
            others.remove(arm)
        paid, blank = arm
        chance = (1 + paid) / (2 + paid + blank)
        won = _best_value(tuple(sorted([*others, (paid + 1, blank)])), left, pulls - 1)
        lost = _best_value(tuple(sorted([*others, (paid, blank + 1)])), left, pulls - 1)
        best = max(best, chance * (1 + won) + (1 - chance) * lost)
    return best
