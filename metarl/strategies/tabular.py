"""Classic strategies for tabular MDPs with episodes of a fixed length, all of which plan at the start of each episode.

The Bayesian ones hold the prior that the tasks are drawn from: mean rewards Normal(1, 1) with rewards of unit variance
around them, transitions from a flat Dirichlet. Ties go to the first action; tasks know no order of actions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from metarl.data.steps import Timestep
from metarl_envs.tabular import Model, action_values

EPSILON = 0.05
"""How often epsilon-greedy acts at random."""
SAMPLES = 5
"""How many models optimistic PSRL draws."""
BEB_BONUS = 10.0
"""Weight of BEB's bonus."""
UCRL2_SCALE = 0.05
"""Scaled UCRL2's confidence radii as a multiple of those that its regret bound is proved for."""
_CONFIDENCE = 0.05
"""Probability with which UCRL2's confidence region may miss the truth."""

Values = Float[np.ndarray, "task step state action"]


class Experience(NamedTuple):
    """What was seen of each MDP. Where an episode's last step led to is not shown to anyone."""

    visits: Float[np.ndarray, "task state action"]
    """How often an action was taken in a state."""
    rewards: Float[np.ndarray, "task state action"]
    """Sum of the rewards for it."""
    moves: Float[np.ndarray, "task state action next"]
    """How often it was seen to lead to each state."""


Planner = Callable[[Experience, int, np.random.Generator], Values]
"""Values of actions in the next episode, of so many steps, in the light of experience. The highest one is taken."""


class PlanningStrategy:
    """Acts by the values planned at the start of an episode; a `metarl.strategies.trials.Player`.

    Args:
        plan: The planner.
        num_tasks: How many MDPs are played at once.
        states: How many states each has.
        actions: How many actions each has.
        horizon: Steps per episode.
        rng: The source of the strategy's randomness.
    """

    def __init__(
        self, plan: Planner, num_tasks: int, states: int, actions: int, horizon: int, rng: np.random.Generator
    ) -> None:
        self._plan = plan
        self._shape = num_tasks, states, actions
        self._horizon = horizon
        self._rng = rng
        self._index = np.arange(num_tasks)
        self.init()

    def init(self) -> None:
        """Forgets all experience."""
        self.experience = Experience(
            np.zeros(self._shape), np.zeros(self._shape), np.zeros((*self._shape, self._shape[1]))
        )
        self._elapsed = 0
        self._last: tuple[Any, ...] = ()
        """Index of the (task, state, action) of the step before."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """Plans if an episode begins, learns where the last action led to if not, and acts."""
        states = observations.argmax(axis=-1)
        if self._elapsed == 0:
            self._values = self._plan(self.experience, self._horizon, self._rng)
        else:
            self.experience.moves[*self._last, states] += 1
        actions = self._values[self._index, self._elapsed, states].argmax(axis=-1)
        self._last = self._index, states, actions
        return actions, {}

    def step(self, timestep: Timestep) -> None:
        """Learns what the last action earned."""
        self.experience.visits[self._last] += 1
        self.experience.rewards[self._last] += timestep.reward
        self._elapsed = (self._elapsed + 1) % self._horizon


def tabular_strategies() -> dict[str, Planner]:
    """The strategies by name.

    - "random": each action as often as any other.
    - "greedy": the best plan for the posterior mean.
    - "epsilon-greedy": the same, but a random action with probability `EPSILON` (Sutton & Barto 2018, section 2.2).
    - "psrl": the best plan for a draw from the posterior (Osband, Russo & Van Roy 2013, algorithm 1).
    - "optimistic psrl": the best plan where each action may choose, at every step, among `SAMPLES` draws (the merged
      model of Asmuth et al. 2009, section 3, drawn anew for every episode).
    - "beb": the posterior mean with a bonus of `BEB_BONUS / (1 + n)`, where n counts the prior's one move to each state
      (Kolter & Ng 2009, equation 4).
    - "ucrl2": the most rewarding of all plausible models, with the radii of its regret bound; see `ucrl2`.
    - "ucrl2 scaled": the same with these radii times `UCRL2_SCALE`.
    """
    return {
        "random": lambda seen, horizon, rng: rng.random(_shape(seen, horizon)),
        "greedy": lambda seen, horizon, rng: action_values(posterior_mean(seen), horizon),
        "epsilon-greedy": _epsilon_greedy,
        "psrl": lambda seen, horizon, rng: action_values(posterior_draw(seen, rng), horizon),
        "optimistic psrl": _optimistic_psrl,
        "beb": _beb,
        "ucrl2": lambda seen, horizon, rng: ucrl2(seen, horizon, scale=1.0),
        "ucrl2 scaled": lambda seen, horizon, rng: ucrl2(seen, horizon, UCRL2_SCALE),
    }


def posterior_mean(seen: Experience) -> Model:
    """The mean of the posterior, with the leading axis `task`."""
    return Model((1 + seen.rewards) / (1 + seen.visits), _normalised(1 + seen.moves))


def posterior_draw(seen: Experience, rng: np.random.Generator) -> Model:
    """A draw from the posterior: normal mean rewards, Dirichlet transitions; with the leading axis `task`."""
    precision = 1 + seen.visits
    rewards = (1 + seen.rewards) / precision + rng.standard_normal(precision.shape) / np.sqrt(precision)
    return Model(rewards, _normalised(rng.standard_gamma(1 + seen.moves)))


def _normalised(weights: Float[np.ndarray, "*b next"]) -> Float[np.ndarray, "*b next"]:
    normalised: Float[np.ndarray, "*b next"] = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def _shape(seen: Experience, horizon: int) -> tuple[int, ...]:
    tasks, *pairs = seen.visits.shape
    return tasks, horizon, *pairs


def _epsilon_greedy(seen: Experience, horizon: int, rng: np.random.Generator) -> Values:
    values = action_values(posterior_mean(seen), horizon)
    explores = rng.random(values.shape[:-1])[..., None] < EPSILON
    return np.where(explores, rng.random(values.shape), values)


def _beb(seen: Experience, horizon: int, rng: np.random.Generator) -> Values:
    mean = posterior_mean(seen)
    counts = (1 + seen.moves).sum(axis=-1)
    return action_values(mean._replace(rewards=mean.rewards + BEB_BONUS / (1 + counts)), horizon)


def _optimistic_psrl(seen: Experience, horizon: int, rng: np.random.Generator) -> Values:
    draws = [posterior_draw(seen, rng) for _ in range(SAMPLES)]

    def backup(following: Float[np.ndarray, "task next"]) -> Float[np.ndarray, "task state action"]:
        best: Float[np.ndarray, "task state action"] = np.max(
            [draw.rewards + _expected(draw.transitions, following) for draw in draws], axis=0
        )
        return best

    return _induce(backup, seen, horizon)


def ucrl2(seen: Experience, horizon: int, scale: float) -> Values:
    """Values under the most rewarding of all plausible models: UCRL2 (Jaksch, Ortner & Auer 2010), for fixed episodes.

    Mean rewards are plausible within `2 sqrt(7 ln(2 S A t / d) / 2n)` of an estimate (its equation 3; the 2 is for
    rewards of unit variance, as those between 0 and 1 have one of at most 1/4), transitions within the L1 distance
    `sqrt(14 S ln(2 A t / d) / n)` (its equation 4), t being the steps made so far and d 0.05.

    Departures from the paper: the estimates are posterior means, and the counts n include the prior's, so that this
    strategy knows what the others know. Plans are made by backward induction for each episode, not by extended value
    iteration for the average reward whenever a count has doubled. Both radii are scaled.

    Args:
        seen: What was seen so far.
        horizon: Steps per episode.
        scale: Factor of both radii; 1 for those of the regret bound, which explore for thousands of steps.
    """
    _, states, actions = seen.visits.shape
    mean = posterior_mean(seen)
    time = max(1.0, seen.visits[0].sum()) / _CONFIDENCE
    radius = scale * 2 * np.sqrt(7 * np.log(2 * states * actions * time) / (2 * (1 + seen.visits)))
    moves = (1 + seen.moves).sum(axis=-1)
    spread = scale * np.sqrt(14 * states * np.log(2 * actions * time) / moves)

    def backup(following: Float[np.ndarray, "task next"]) -> Float[np.ndarray, "task state action"]:
        order = following.argsort(axis=-1)
        ascending = np.take_along_axis(mean.transitions, order[:, None, None], axis=-1)
        likely = optimistic_transitions(ascending, spread)
        values: Float[np.ndarray, "task state action"] = (
            mean.rewards + radius + _expected(likely, np.take_along_axis(following, order, axis=-1))
        )
        return values

    return _induce(backup, seen, horizon)


def optimistic_transitions(
    frequencies: Float[np.ndarray, "*b next"], spread: Float[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b next"]:
    """The distribution within an L1 distance that favours the last states most (Jaksch et al. 2010, figure 2).

    Args:
        frequencies: The distribution in the middle, its states in ascending order of value.
        spread: The largest L1 distance from it.
    """
    added = np.minimum(spread / 2, 1 - frequencies[..., -1])
    kept = np.maximum(frequencies[..., :-1].cumsum(axis=-1) - added[..., None], 0)  # the worst states lose it first
    last = frequencies[..., -1] + added
    likely: Float[np.ndarray, "*b next"] = np.concatenate([np.diff(kept, prepend=0.0), last[..., None]], axis=-1)
    return likely


def _expected(
    transitions: Float[np.ndarray, "task state action next"], following: Float[np.ndarray, "task next"]
) -> Float[np.ndarray, "task state action"]:
    expected: Float[np.ndarray, "task state action"] = np.einsum("tsap,tp->tsa", transitions, following)
    return expected


def _induce(
    backup: Callable[[Float[np.ndarray, "task next"]], Float[np.ndarray, "task state action"]],
    seen: Experience,
    horizon: int,
) -> Values:
    """Backward induction from nothing after the last step."""
    values = [backup(np.zeros(seen.visits.shape[:2]))]
    for _ in range(horizon - 1):
        values.append(backup(values[-1].max(axis=-1)))
    return np.stack(values[::-1], axis=1)
