"""Classic strategies for Bernoulli bandits, and the return of the Bayes-optimal one.

All but "random" hold a uniform prior, Beta(1, 1), over each arm's mean: the distribution that tasks are drawn from.
After a successes and b failures the posterior is Beta(1 + a, 1 + b). Of arms with equal scores the first is pulled.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float

from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.strategies.gittins import gittins_indices

EPSILON = 0.02
"""Probability that epsilon-greedy pulls a random arm."""
UCB1_WEIGHT = 0.2
"""Weight of UCB1's bonus; 1 in Auer et al. (2002)."""

Counts = Float[np.ndarray, "task arm"]
Scores = Callable[[Counts, Counts, np.random.Generator], Float[np.ndarray, "task arm"]]
"""Computes a score per arm from its successes and failures; the arm with the highest score is pulled next."""


class BanditStrategy:
    """Pulls the arm with the highest score in every bandit; a `metarl.strategies.trials.Player`.

    Args:
        scores: The scores.
        num_tasks: Number of bandits played at once.
        arms: Number of arms of each.
        rng: Random generator of the strategy.
    """

    def __init__(self, scores: Scores, num_tasks: int, arms: int, rng: np.random.Generator) -> None:
        self._scores = scores
        self._shape = num_tasks, arms
        self._rng = rng
        self._tasks = np.arange(num_tasks)
        self.init()

    def init(self) -> None:
        """Forgets all rewards."""
        self._successes, self._failures = np.zeros(self._shape), np.zeros(self._shape)

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """Returns the arms to pull. A bandit's observations carry no information and are ignored."""
        return self._scores(self._successes, self._failures, self._rng).argmax(axis=-1), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """Counts the rewards, 1 or 0, of the arms pulled."""
        pulled = (self._tasks, timestep.action)
        self._successes[pulled] += timestep.reward
        self._failures[pulled] += 1 - timestep.reward


def bandit_strategies(pulls: int) -> dict[str, Scores]:
    """Returns the strategies by name.

    - "random": each arm as often as any other.
    - "greedy": the highest posterior mean.
    - "epsilon-greedy": greedy, but a random arm with probability `EPSILON` (Sutton & Barto 2018, section 2.2).
    - "ucb1": `mean + c sqrt(2 ln t / n)` (Auer et al. 2002, figure 1) with posterior means, c = `UCB1_WEIGHT`, and n
      counting the prior's success and failure.
    - "thompson": a draw from the posterior (Thompson 1933; Chapelle & Li 2011, algorithm 2).
    - "optimistic thompson": thompson, but never below the posterior mean (May et al. 2012, section 3.3).
    - "gittins": the Gittins index (Gittins 1979) for the discount whose horizon, `1 / (1 - discount)`, is the trial's
      length. It is optimal for discounted rewards; for the sum over a trial it is an approximation.

    Args:
        pulls: Pulls per trial.
    """
    return {
        "random": lambda successes, failures, rng: rng.random(successes.shape),
        "greedy": lambda successes, failures, rng: _posterior_mean(successes, failures),
        "epsilon-greedy": _epsilon_greedy,
        "ucb1": _ucb1,
        "thompson": _thompson,
        "optimistic thompson": _optimistic_thompson,
        "gittins": _gittins(pulls),
    }


def _posterior_mean(successes: Counts, failures: Counts) -> Float[np.ndarray, "task arm"]:
    # E[Beta(1 + a, 1 + b)] = (1 + a) / (2 + a + b)
    mean: Float[np.ndarray, "task arm"] = (1 + successes) / (2 + successes + failures)
    return mean


def _epsilon_greedy(successes: Counts, failures: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    explores = rng.random((len(successes), 1)) < EPSILON
    return np.where(explores, rng.random(successes.shape), _posterior_mean(successes, failures))


def _ucb1(successes: Counts, failures: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    pulls = successes + failures
    # mean + c sqrt(2 ln t / n): t counts the next pull, n the prior's two.
    t = 1 + pulls.sum(axis=-1, keepdims=True)
    bonus = UCB1_WEIGHT * np.sqrt(2 * np.log(t) / (2 + pulls))
    bounds: Float[np.ndarray, "task arm"] = _posterior_mean(successes, failures) + bonus
    return bounds


def _thompson(successes: Counts, failures: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
    # theta ~ Beta(1 + a, 1 + b)
    return rng.beta(1 + successes, 1 + failures)


def _optimistic_thompson(
    successes: Counts, failures: Counts, rng: np.random.Generator
) -> Float[np.ndarray, "task arm"]:
    # max(theta, E[theta]), theta ~ Beta(1 + a, 1 + b)
    mean = _posterior_mean(successes, failures)
    draws: Float[np.ndarray, "task arm"] = np.maximum(_thompson(successes, failures, rng), mean)
    return draws


def _gittins(pulls: int) -> Scores:
    # 1 / (1 - discount) = pulls, but at least 2, as a discount of 0 would not look ahead at all.
    discount = max(1 - 1 / pulls, 0.5)

    def scores(successes: Counts, failures: Counts, rng: np.random.Generator) -> Float[np.ndarray, "task arm"]:
        table = gittins_indices(discount, pulls)
        indices: Float[np.ndarray, "task arm"] = table[successes.astype(int), failures.astype(int)]
        return indices

    return scores


def bayes_optimal_return(arms: int, pulls: int) -> float:
    """Computes the expected return of the best of all strategies in a trial, over bandits with uniform means.

    By dynamic programming over the posteriors of the arms, without regard to the arms' order. The cost grows fast with
    `pulls`; 10 take a moment. Arms beyond the number of pulls make no difference.

    Args:
        arms: Number of arms.
        pulls: Pulls per trial.
    """
    return _optimal_value((), min(arms, pulls), pulls)


@cache
def _optimal_value(pulled: tuple[tuple[int, int], ...], untried: int, pulls: int) -> float:
    """Value of `pulls` further pulls, with sorted (successes, failures) of the arms pulled, and `untried` others."""
    if pulls == 0:
        return 0.0
    best = 0.0
    for arm in {*pulled, (0, 0)} if untried else set(pulled):
        others, still_untried = list(pulled), untried
        if arm == (0, 0):
            still_untried -= 1
        else:
            others.remove(arm)
        successes, failures = arm
        after_success = tuple(sorted([*others, (successes + 1, failures)]))
        after_failure = tuple(sorted([*others, (successes, failures + 1)]))
        # V(s) = max over arms of p (1 + V(s, success)) + (1 - p) V(s, failure), with p = (1 + a) / (2 + a + b)
        p = (1 + successes) / (2 + successes + failures)
        success = 1 + _optimal_value(after_success, still_untried, pulls - 1)
        failure = _optimal_value(after_failure, still_untried, pulls - 1)
        best = max(best, p * success + (1 - p) * failure)
    return best
