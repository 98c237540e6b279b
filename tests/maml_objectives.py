"""Small random objectives for tests of the MAML family, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from draws import draw

from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig, ProMPConfig
from metarl.algorithms.maml.losses import Batch
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.policies.distributions import ActionDistribution, action_distribution
from metarl.policies.feedforward import FeedForwardPolicy

TASKS, SAMPLES, OBSERVATIONS = 3, 6, 2
SPACES: dict[str, gym.spaces.Box | gym.spaces.Discrete] = {
    "gaussian": gym.spaces.Box(-1.0, 1.0, (2,), np.float64),
    "categorical": gym.spaces.Discrete(3),
}
INNER_RULES: dict[str, dict[str, Any]] = {
    " ".join(words): {"adapted": words[0], "learned_lr": words[1] == "learned", "first_order": words[2] == "first"}
    | {"estimator": words[3]}
    for words in (
        (adapted, lr, order, estimator)
        for adapted in ("all", "head")
        for lr in ("fixed", "learned")
        for order in ("second", "first")
        for estimator in ("log_likelihood", "likelihood_ratio")
    )
}
"""Settings of every inner rule, by a readable name."""


@contextmanager
def float64() -> Iterator[None]:
    """Makes float64 the default type of new tensors."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def make_maml(
    space: str = "gaussian",
    *,
    hidden_sizes: tuple[int, ...] = (3,),
    inner: dict[str, Any] | None = None,
    make_policy: Callable[[int, ActionDistribution], FeedForwardPolicy] | None = None,
    **settings: Any,
) -> MAML:
    """Makes a MAML whose networks are tiny and in float64, with an MLP unless `make_policy` makes another policy."""
    torch.manual_seed(0)
    config = MAMLConfig(
        hidden_sizes=hidden_sizes,
        inner=InnerConfig(**({"lr": 0.3} | (inner or {}))),
        init_std=0.7,
        meta_batch=TASKS,
        **settings,
    )
    observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,))
    with float64():
        policy = make_policy(OBSERVATIONS, action_distribution(SPACES[space])) if make_policy else None
        return MAML(config, observation_space, SPACES[space], torch.device("cpu"), policy)


def random_batch(maml: MAML, seed: int, samples: int = SAMPLES) -> Batch:
    """Draws samples of the initial policy with random advantages; task 0 ends with two samples of padding."""
    rng = torch.Generator().manual_seed(seed)
    observations = torch.randn(TASKS, samples, OBSERVATIONS, generator=rng, dtype=torch.float64)
    outputs = maml.outputs(maml.replicate(maml.parameters, TASKS), observations)
    actions = draw(maml.distribution, outputs, seed)
    advantages = torch.randn(TASKS, samples, generator=rng, dtype=torch.float64)
    weights = torch.full((TASKS, samples), 1 / samples, dtype=torch.float64)
    weights[0, -2:], weights[0, :-2] = 0, 1 / (samples - 2)
    return Batch(observations, actions, advantages, weights)


def random_objective(maml: MAML, credit: bool = False, samples: int = SAMPLES) -> MetaObjective:
    """Makes an objective of random batches; learned step sizes are all different."""
    rng = torch.Generator().manual_seed(3)
    for name, value in maml.step_sizes.items():
        maml.step_sizes[name] = value + 0.1 * torch.randn(value.shape, generator=rng, dtype=torch.float64)
    supports = [random_batch(maml, seed, samples) for seed in range(maml.config.inner.steps)]
    adapted = maml.replicate(maml.parameters, TASKS)
    for batch in supports:
        adapted = maml.adapt(adapted, batch)
    weights = torch.randn(TASKS, generator=rng, dtype=torch.float64)
    return MetaObjective(
        distribution=maml.distribution,
        inner=maml.inner,
        theta=maml.meta_parameters,
        adapted=adapted,
        supports=supports,
        query=random_batch(maml, 10, samples),
        credit=weights if credit else None,
    )


def outer_goes_with(outer: object, inner: dict[str, Any], credit: bool) -> bool:
    """Returns true if `check_combination` accepts an outer rule that has a surrogate with an inner rule."""
    if isinstance(outer, ProMPConfig) and inner["estimator"] != "likelihood_ratio":
        return False
    return not (credit and inner["estimator"] == "likelihood_ratio")
