"""Classic strategies for tabular MDPs with episodes of fixed length. Each plans at the start of every episode.

The Bayesian ones hold the prior that tasks are drawn from: mean rewards Normal(1, 1) with rewards of unit variance
around them, transitions from a flat Dirichlet. Of actions with equal values the first is taken.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl_envs.tabular import Model, action_values

EPSILON = 0.05
"""Probability that epsilon-greedy takes a random action."""
SAMPLES = 5
"""Number of models that optimistic PSRL draws."""
BEB_BONUS = 10.0
"""Weight of BEB's exploration bonus."""
UCRL2_SCALE = 0.05
"""Factor of scaled UCRL2's confidence radii; 1 for those of the regret bound."""
_CONFIDENCE = 0.05
"""Probability with which UCRL2's confidence region may miss the true model."""

Values = Float[np.ndarray, "task step state action"]
"""Action values of an episode."""
StateActionValues = Float[np.ndarray, "task state action"]
"""Action values of one step of an episode."""
StateValues = Float[np.ndarray, "task next"]
"""Values of the states at the next step."""


class Experience(NamedTuple):
    """Statistics of the steps made in each MDP. Nobody is shown the state after an episode's last step."""

    visits: Float[np.ndarray, "task state action"]
    """Number of times that an action was taken in a state."""
    reward_sums: Float[np.ndarray, "task state action"]
    """Sum of its rewards."""
    transition_counts: Float[np.ndarray, "task state action next"]
    """Number of times that it was seen to lead to each state."""


Planner = Callable[[Experience, int, np.random.Generator], Values]
"""Plans an episode of the given number of steps from experience; the action with the highest value is taken."""


class PlanningStrategy:
    """Acts by values planned at the start of an episode; a `metarl.strategies.trials.Player`.

    Args:
        plan: The planner.
        num_tasks: Number of MDPs played at once.
        states: Number of states of each.
        actions: Number of actions of each.
        horizon: Steps per episode.
        rng: Random generator of the strategy.
    """

    def __init__(
        self, plan: Planner, num_tasks: int, states: int, actions: int, horizon: int, rng: np.random.Generator
    ) -> None:
        self._plan = plan
        self._shape = num_tasks, states, actions
        self._horizon = horizon
        self._rng = rng
        self._tasks = np.arange(num_tasks)
        self.init()

    def init(self) -> None:
        """Forgets all experience."""
        transition_counts = np.zeros((*self._shape, self._shape[1]))
        self.experience = Experience(np.zeros(self._shape), np.zeros(self._shape), transition_counts)
        self._elapsed = 0
        self._previous: tuple[Any, ...] = ()
        """Index (task, state, action) of the previous step."""

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        """Plans if an episode starts, else counts the transition that led here; returns the best actions."""
        states = observations.argmax(axis=-1)
        if self._elapsed == 0:
            self._values = self._plan(self.experience, self._horizon, self._rng)
        else:
            self.experience.transition_counts[*self._previous, states] += 1
        actions = self._values[self._tasks, self._elapsed, states].argmax(axis=-1)
        self._previous = self._tasks, states, actions
        return actions, {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """Counts the rewards of the actions just taken."""
        self.experience.visits[self._previous] += 1
        self.experience.reward_sums[self._previous] += timestep.reward
        self._elapsed = (self._elapsed + 1) % self._horizon


def tabular_strategies() -> dict[str, Planner]:
    """Returns the strategies by name.

    - "random": each action as often as any other.
    - "greedy": the best plan for the posterior mean.
    - "epsilon-greedy": greedy, but a random action with probability `EPSILON` (Sutton & Barto 2018, section 2.2).
    - "psrl": the best plan for a draw from the posterior (Osband, Russo & Van Roy 2013, algorithm 1).
    - "optimistic psrl": the best plan where each action may choose, at every step, among `SAMPLES` draws (the merged
      model of Asmuth et al. 2009, section 3, drawn anew for every episode).
    - "beb": the posterior mean with a bonus of `BEB_BONUS / (1 + n)`, where n counts the prior's one transition to each
      state (Kolter & Ng 2009, equation 4).
    - "ucrl2": the most rewarding of all plausible models, with the radii of its regret bound; see `ucrl2`.
    - "ucrl2 scaled": ucrl2 with these radii times `UCRL2_SCALE`.
    """
    return {
        "random": lambda experience, horizon, rng: rng.random(_shape(experience, horizon)),
        "greedy": lambda experience, horizon, rng: action_values(posterior_mean(experience), horizon),
        "epsilon-greedy": _epsilon_greedy,
        "psrl": lambda experience, horizon, rng: action_values(posterior_draw(experience, rng), horizon),
        "optimistic psrl": _optimistic_psrl,
        "beb": _beb,
        "ucrl2": lambda experience, horizon, rng: ucrl2(experience, horizon, scale=1.0),
        "ucrl2 scaled": lambda experience, horizon, rng: ucrl2(experience, horizon, UCRL2_SCALE),
    }


def posterior_mean(experience: Experience) -> Model:
    """Computes the mean of the posterior over models, with the leading axis `task`."""
    # Rewards: prior Normal(1, 1), n observations of unit variance: E[r] = (1 + sum of rewards) / (1 + n).
    rewards = (1 + experience.reward_sums) / (1 + experience.visits)
    # Transitions: prior Dirichlet(1, ..., 1): E[P(s')] = (1 + n(s')) / sum over s' of (1 + n(s')).
    return Model(rewards, _normalised(1 + experience.transition_counts))


def posterior_draw(experience: Experience, rng: np.random.Generator) -> Model:
    """Draws from the posterior over models, with the leading axis `task`."""
    # Rewards: Normal(mean, 1 / (1 + n)), with the mean (1 + sum of rewards) / (1 + n).
    precision = 1 + experience.visits
    noise = rng.standard_normal(precision.shape) / np.sqrt(precision)
    rewards = (1 + experience.reward_sums) / precision + noise
    # Transitions: Dirichlet(1 + n), which is g / sum(g) for independent g ~ Gamma(1 + n).
    return Model(rewards, _normalised(rng.standard_gamma(1 + experience.transition_counts)))


def _normalised(weights: Float[np.ndarray, "*b next"]) -> Float[np.ndarray, "*b next"]:
    normalised: Float[np.ndarray, "*b next"] = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def _shape(experience: Experience, horizon: int) -> tuple[int, ...]:
    """Shape of `Values`."""
    tasks, states, actions = experience.visits.shape
    return tasks, horizon, states, actions


def _epsilon_greedy(experience: Experience, horizon: int, rng: np.random.Generator) -> Values:
    values = action_values(posterior_mean(experience), horizon)
    explores = rng.random(values.shape[:-1])[..., None] < EPSILON
    return np.where(explores, rng.random(values.shape), values)


def _beb(experience: Experience, horizon: int, rng: np.random.Generator) -> Values:
    mean = posterior_mean(experience)
    # r(s, a) + beta / (1 + n(s, a)), n counting the prior's transitions
    counts = (1 + experience.transition_counts).sum(axis=-1)
    return action_values(mean._replace(rewards=mean.rewards + BEB_BONUS / (1 + counts)), horizon)


def _optimistic_psrl(experience: Experience, horizon: int, rng: np.random.Generator) -> Values:
    draws = [posterior_draw(experience, rng) for _ in range(SAMPLES)]

    def backup(next_values: StateValues) -> StateActionValues:
        # Q(s, a) = max over draws k of r_k(s, a) + sum over s' of P_k(s' | s, a) V(s')
        best: StateActionValues = np.max(
            [draw.rewards + _expected(draw.transitions, next_values) for draw in draws], axis=0
        )
        return best

    return _backward_induction(backup, experience, horizon)


def ucrl2(experience: Experience, horizon: int, scale: float) -> Values:
    """Plans for the most rewarding of all plausible models: UCRL2 (Jaksch, Ortner & Auer 2010), for fixed episodes.

    Mean rewards are plausible within `2 sqrt(7 ln(2 S A t / d) / 2n)` of an estimate (their equation 3; the 2 is for
    rewards of unit variance, as those between 0 and 1 have one of at most 1/4), transitions within the L1 distance
    `sqrt(14 S ln(2 A t / d) / n)` (their equation 4), for t steps made so far and d = 0.05.

    Departures from the paper: the estimates are posterior means, and the counts n include the prior's, so that this
    strategy knows what the others know. Plans are made by backward induction for each episode, not by extended value
    iteration for the average reward whenever a count has doubled. Both radii are scaled.

    Args:
        experience: Statistics of the steps made so far.
        horizon: Steps per episode.
        scale: Factor of both radii; 1 for those of the regret bound, which explore for thousands of steps.
    """
    _, states, actions = experience.visits.shape
    mean = posterior_mean(experience)
    # t / d
    time = max(1.0, experience.visits[0].sum()) / _CONFIDENCE
    # Equation 3: 2 sqrt(7 ln(2 S A t / d) / 2n), n = 1 + visits
    reward_radius = scale * 2 * np.sqrt(7 * np.log(2 * states * actions * time) / (2 * (1 + experience.visits)))
    # Equation 4: sqrt(14 S ln(2 A t / d) / n), n = S + transitions seen
    counts = (1 + experience.transition_counts).sum(axis=-1)
    l1_radius = scale * np.sqrt(14 * states * np.log(2 * actions * time) / counts)

    def backup(next_values: StateValues) -> StateActionValues:
        # Q(s, a) = r(s, a) + reward radius + max over plausible P of sum over s' of P(s' | s, a) V(s')
        order = next_values.argsort(axis=-1)
        estimate = np.take_along_axis(mean.transitions, order[:, None, None], axis=-1)
        optimistic = optimistic_transitions(estimate, l1_radius)
        following = _expected(optimistic, np.take_along_axis(next_values, order, axis=-1))
        values: StateActionValues = mean.rewards + reward_radius + following
        return values

    return _backward_induction(backup, experience, horizon)


def optimistic_transitions(
    estimate: Float[np.ndarray, "*b next"], l1_radius: Float[np.ndarray, "*b"]
) -> Float[np.ndarray, "*b next"]:
    """Finds the distribution with the highest expected value within an L1 ball (Jaksch et al. 2010, figure 2).

    Args:
        estimate: Centre of the ball: probabilities of the next states, in ascending order of the states' values.
        l1_radius: Radius of the ball.
    """
    # The best state s_n gets P(s_n) = min(1, estimate(s_n) + radius / 2).
    added = np.minimum(l1_radius / 2, 1 - estimate[..., -1])
    best = estimate[..., -1] + added
    # The worst states lose as much: cumulative probabilities, in ascending order, fall by it but not below 0.
    cumulative = np.maximum(estimate[..., :-1].cumsum(axis=-1) - added[..., None], 0)
    others = np.diff(cumulative, prepend=0.0)
    optimistic: Float[np.ndarray, "*b next"] = np.concatenate([others, best[..., None]], axis=-1)
    return optimistic


def _expected(transitions: Float[np.ndarray, "task state action next"], next_values: StateValues) -> StateActionValues:
    # sum over s' of P(s' | s, a) V(s')
    expected: StateActionValues = np.einsum("tsap,tp->tsa", transitions, next_values)
    return expected


def _backward_induction(
    backup: Callable[[StateValues], StateActionValues], experience: Experience, horizon: int
) -> Values:
    """Computes action values of all steps, from the last one, after which nothing is earned, to the first."""
    # Q_h = backup(0);  Q_t = backup(V_t+1), V_t+1(s) = max over a of Q_t+1(s, a)
    values = [backup(np.zeros(experience.visits.shape[:2]))]
    for _ in range(horizon - 1):
        values.append(backup(values[-1].max(axis=-1)))
    return np.stack(values[::-1], axis=1)
