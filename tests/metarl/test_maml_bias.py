"""Bias of each estimator of the meta-gradient, by enumeration of everything that a tabular bandit can do.

The support is K pulls, the adapted policy is one gradient step away, and every expectation is a sum over outcomes. Two
objectives have exact gradients here:

- J1(theta) = E_D V(U(theta, D)), U being the step on the sampled support D, which is what happens at test time.
- J2(theta) = V(theta + alpha grad E[R]), a step on the *expected* gradient, for which ProMP's estimator was derived; J1
  tends to it as K grows.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from math import factorial, prod
from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig
from metarl.algorithms.maml.losses import Batch
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.optim.vectors import unflatten

ALPHA, OFFSET = 0.8, 0.4
LOGITS = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64)
PAYS = torch.tensor([1.0, 0.2, 1.7], dtype=torch.float64)
BASELINE = 0.6
"""Subtracted from every reward: a constant changes no expectation."""


Pulls = tuple[int, ...]


def make_bandit(arms: int, estimator: Any, steps: int = 1) -> MAML:
    config = MAMLConfig(hidden_sizes=(), inner=InnerConfig(lr=ALPHA, estimator=estimator, steps=steps))
    maml = MAML(config, gym.spaces.Box(-1.0, 1.0, (1,)), gym.spaces.Discrete(arms), torch.device("cpu"))
    maml.policy.double()
    state = {"head.linear.weight": torch.zeros(arms, 1), "head.linear.bias": LOGITS[:arms]}
    maml.policy.load_state_dict(state, strict=False)
    return maml


def step_on(logits: Tensor, arms: Sequence[int], advantages: list[float]) -> Tensor:
    """theta + alpha * mean of grad log pi A, written out: grad log softmax = onehot - pi. Differentiable."""
    onehot = torch.nn.functional.one_hot(torch.tensor(arms), len(logits)).double()
    return logits + ALPHA * (
        (onehot - logits.softmax(0)) * torch.tensor(advantages, dtype=torch.float64)[:, None]
    ).mean(0)


def to_go(arms: Sequence[int], horizon: int) -> list[float]:
    """Rewards from each pull to its episode's end, minus the baseline; pulls are laid end to end."""
    pays = [PAYS[arm].item() for arm in arms]
    return [sum(pays[t : (t // horizon + 1) * horizon]) - BASELINE for t in range(len(pays))]


def _supports(arms: int, pulls: int, ordered: bool) -> list[tuple[Pulls, int]]:
    """Every support, and in how many orders it can come about where the order makes no difference."""
    if ordered:
        return [(support, 1) for support in product(range(arms), repeat=pulls)]
    return [
        (support, factorial(pulls) // prod(factorial(support.count(arm)) for arm in range(arms)))
        for support in combinations_with_replacement(range(arms), pulls)
    ]


class Outcomes:
    """All pairs of supports and query episodes that can happen, each with its probability, as tasks of a meta-batch.

    Args:
        maml: Whose estimator is asked.
        pulls: Pulls in each support batch.
        steps: Support batches.
        horizon: Pulls per episode.
    """

    def __init__(self, maml: MAML, pulls: int, steps: int = 1, horizon: int = 1) -> None:
        arms = maml.distribution.action_size
        self.maml, self.horizon = maml, horizon
        self.weights, rows = [], []
        for support, ways in _supports(arms, pulls * steps, ordered=steps * horizon > 1):
            batches = [support[i * pulls : (i + 1) * pulls] for i in range(steps)]
            for query in product(range(arms), repeat=horizon):
                rows.append((batches, query, ways))
                self.weights.append(self._probability(LOGITS[:arms], *rows[-1]).item())
        self.rows = rows

    def _probability(self, logits: Tensor, batches: list[Pulls], query: Pulls, ways: int) -> Tensor:
        chance = torch.tensor(ways, dtype=torch.float64)
        for batch in batches:
            chance = chance * logits.softmax(0)[list(batch)].prod()
            logits = step_on(logits, batch, to_go(batch, self.horizon))
        return chance * logits.softmax(0)[list(query)].prod()

    def true_gradient(self) -> Tensor:
        """Of J1 per pull, by differentiating the sum over outcomes of probability times return."""
        logits = LOGITS[: self.maml.distribution.action_size].clone().requires_grad_()
        terms = [self._probability(logits, *row) * sum(PAYS[arm] for arm in row[1]) for row in self.rows]
        total = torch.stack(terms).sum()
        (gradient,) = torch.autograd.grad(total / self.horizon, logits)
        return gradient

    def estimate(self, credit: bool) -> Tensor:
        """The expectation of the library's estimate."""
        weights = torch.tensor(self.weights, dtype=torch.float64) * len(self.rows)  # the surrogate is a mean over tasks
        supports = [self._batch([batches[step] for batches, *_ in self.rows]) for step in range(len(self.rows[0][0]))]
        query = self._batch([query for _, query, _ in self.rows])
        returns = torch.tensor([to_go(query, self.horizon)[0] for _, query, _ in self.rows], dtype=torch.float64)
        objective = MetaObjective(
            distribution=self.maml.distribution,
            inner=self.maml.inner,
            theta=self.maml.parameters,
            adapted={},
            supports=supports,
            query=query._replace(weights=query.weights * weights.unsqueeze(-1)),
            credit=weights * returns / self.horizon if credit else None,
        )
        linear = objective.linearize(objective.theta)
        gradient, _ = objective.gradient(lambda new: objective.surrogate(new, linear.outputs), linear)
        return -unflatten(gradient, objective.theta)["head.linear.bias"]

    def _batch(self, pulls: list[Pulls]) -> Batch:
        actions = torch.nn.functional.one_hot(torch.tensor(pulls), self.maml.distribution.action_size).double()
        advantages = torch.tensor([to_go(each, self.horizon) for each in pulls], dtype=torch.float64)
        return Batch(
            torch.zeros(*actions.shape[:2], 1, dtype=torch.float64),
            actions,
            advantages,
            torch.full_like(advantages, 1 / advantages.shape[1]),
        )


ESTIMATORS = list(product(("log_likelihood", "likelihood_ratio"), (False, True)))
"""Inner estimator, and whether there is exploration credit."""


def bias(estimator: str, credit: bool, pulls: int, arms: int = 3) -> float:
    outcomes = Outcomes(make_bandit(arms, estimator), pulls)
    return float((outcomes.estimate(credit) - outcomes.true_gradient()).norm())


@pytest.mark.parametrize(
    ("arms", "pulls", "steps", "horizon"),
    [(3, 1, 1, 1), (3, 3, 1, 1), (2, 2, 2, 1), (2, 1, 3, 1), (2, 2, 1, 2), (2, 2, 2, 2), (2, 4, 1, 2)],
)
def test_log_likelihood_with_exploration_credit_is_unbiased(arms: int, pulls: int, steps: int, horizon: int) -> None:
    """E-MAML's formula as `exploration_credit` states it, for one and several steps, pulls and longer episodes."""
    outcomes = Outcomes(make_bandit(arms, "log_likelihood", steps), pulls, steps, horizon)
    assert sum(outcomes.weights) == pytest.approx(1.0, abs=1e-12)
    truth = outcomes.true_gradient()
    assert truth.norm() > 0.05
    torch.testing.assert_close(outcomes.estimate(credit=True), truth, atol=1e-10, rtol=0)


def test_bias_of_every_estimator() -> None:
    """Distance of the expected estimate from the gradient of J1 at K = 1, 2 and 4 pulls; that gradient's norm is 0.3.

    MAML's own estimator leaves out how theta changes the sampling of the support. ProMP's contains the expectation of
    that term, up to O(1/K); with the credit added it counts twice, and the bias is as large as with neither.
    """
    table = {name: [bias(*name, pulls) for pulls in (1, 2, 4)] for name in ESTIMATORS}
    for name, (low, high) in {
        ("log_likelihood", False): (0.057, 0.059),
        ("log_likelihood", True): (0.0, 1e-10),
        ("likelihood_ratio", False): (0.001, 0.003),
        ("likelihood_ratio", True): (0.059, 0.060),
    }.items():
        assert all(low <= value <= high for value in table[name]), (name, table[name])


def test_only_the_biases_of_promp_and_e_maml_vanish_as_the_support_grows() -> None:
    table = {name: [bias(*name, pulls, arms=2) for pulls in (16, 64)] for name in ESTIMATORS}
    few, many = table["likelihood_ratio", False]
    assert few / many == pytest.approx(4, rel=0.1)
    assert max(table["log_likelihood", True]) < 1e-10
    for name in (("log_likelihood", False), ("likelihood_ratio", True)):
        assert table[name][1] > 0.8 * table[name][0] > 20 * few


def test_promp_converges_to_the_gradient_of_a_step_on_the_expected_gradient() -> None:
    """J2 of the module's docstring, for which the estimator was derived; J1's gradient differs from J2's by O(1/K)."""
    logits = LOGITS[:2].clone().requires_grad_()
    (inner,) = torch.autograd.grad(logits.softmax(0) @ PAYS[:2], logits, create_graph=True)
    (truth,) = torch.autograd.grad((logits + ALPHA * inner).softmax(0) @ PAYS[:2], logits)

    def distance(estimator: str, pulls: int) -> float:
        return float((Outcomes(make_bandit(2, estimator), pulls).estimate(credit=False) - truth).norm())

    few, many = (distance("likelihood_ratio", pulls) for pulls in (16, 64))
    assert few / many == pytest.approx(4, rel=0.1)
    assert distance("log_likelihood", 64) > 10 * many


@pytest.mark.parametrize("pulls", [1, 3])
def test_expected_jacobian_of_the_inner_step(pulls: int) -> None:
    """Of U: identity + alpha times the Hessian of E[R] for the likelihood ratio at any K; something else for log pi."""
    hessian = torch.func.hessian(lambda logits: logits.softmax(0) @ PAYS)(LOGITS)
    exact = torch.eye(3, dtype=torch.float64) + ALPHA * hessian
    found = {}
    for estimator in ("log_likelihood", "likelihood_ratio"):
        maml = make_bandit(3, estimator)
        total = torch.zeros(3, 3, dtype=torch.float64)
        for support in product(range(3), repeat=pulls):
            batch = Outcomes(maml, 1)._batch([support])
            theta = maml.parameters | {"head.linear.bias": LOGITS}
            step = maml.inner.step(theta, theta, batch)
            nothing = {name: torch.zeros_like(value) for name, value in theta.items()}
            columns = [
                maml.inner.jvp(step, theta, nothing | {"head.linear.bias": direction})["head.linear.bias"][0]
                for direction in torch.eye(3, dtype=torch.float64)
            ]
            total += LOGITS.softmax(0)[list(support)].prod() * torch.stack(columns, dim=1)
        found[estimator] = total
    torch.testing.assert_close(found["likelihood_ratio"], exact, atol=1e-12, rtol=0)
    assert (found["log_likelihood"] - exact).norm() > 0.1
