"""The MAML family on several ranks: together they take the step that one process takes on the whole meta-batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from maml_objectives import SPACES, float64
from thread_ranks import on_ranks
from torch import Tensor

from metarl.acting.sampler import MakeActor, Sampler
from metarl.algorithms.base import DataParallel, IterationResult
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import (
    InnerConfig,
    MAMLConfig,
    MAMLPPOConfig,
    MAMLTRPOConfig,
    MAMLValueBaselineConfig,
    OuterConfig,
    ProMPConfig,
    ReptileConfig,
    VPGConfig,
)
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.ranks import Ranks
from metarl_envs.core import Task

TASKS, EPISODES, LONGEST, OBSERVATIONS = 6, 4, 10, 2
ITERATIONS = 2
DAMPED: dict[str, Any] = {"cg_damping": 0.1}
"""Conjugate gradients multiply rounding errors by the condition number, which is up to 1e4 times larger without."""
OUTER_RULES: dict[str, OuterConfig] = {
    "trpo": MAMLTRPOConfig(**DAMPED),
    "ppo": MAMLPPOConfig(lr=0.02, epochs=3, clip=0.05),
    "promp": ProMPConfig(lr=0.02, epochs=3, clip=0.05, inner_kl_penalty=0.5),
    "vpg": VPGConfig(),
    "reptile": ReptileConfig(),
}
INNER_RULES: dict[str, dict[str, Any]] = {
    "maml": {},
    "fomaml": {"first_order": True},
    "anil": {"adapted": "head"},
    "meta-sgd": {"learned_lr": True},
    "two steps": {"steps": 2, "prior_episodes": 2.0},
}
BASELINES: dict[str, dict[str, Any]] = {
    "linear": {},
    "value": {"baseline": MAMLValueBaselineConfig(hidden_sizes=(3,), epochs=3), "gae_lambda": 0.9},
}
Change = Callable[[int, dict[str, Tensor]], None]
"""Changes the tensors of a record in place, given its index within the iteration."""


def goes_with(outer: str, inner: str) -> bool:
    return not (outer == "reptile" and inner in ("anil", "meta-sgd"))


def record(seed: int, index: int, discrete: bool, change: Change | None) -> Trajectories:
    """Random episodes of 4 to 8 steps, but one of 10 for task 0, in float64."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 9, (TASKS, EPISODES), generator=rng)
    lengths[0, index % EPISODES] = LONGEST
    valid = torch.arange(LONGEST + 2) < lengths.unsqueeze(-1)

    def random(size: int) -> Tensor:
        return torch.randn(*valid.shape, size, generator=rng, dtype=torch.float64) * valid.unsqueeze(-1)

    actions = random(3 if discrete else 2)
    if discrete:
        actions = torch.nn.functional.one_hot(actions.argmax(-1), 3).double() * valid.unsqueeze(-1)
    tensors = {
        "observations": 2 * random(OBSERVATIONS) + valid.unsqueeze(-1),
        "actions": actions,
        "rewards": random(1).squeeze(-1),
        "log_probs": random(1).squeeze(-1),
        "successes": valid & (torch.rand(valid.shape, generator=rng) < 0.2),
        "terminated": torch.zeros_like(valid),
        "truncated": torch.zeros_like(valid),
        "valid": valid,
        "final_observations": torch.zeros(TASKS, EPISODES, OBSERVATIONS, dtype=torch.float64),
    }
    if change is not None:
        change(index, tensors)
    return Trajectories(**tensors)


class Given(Sampler):
    """Sampler that hands out given records: of the whole meta-batch, or of one rank's tasks."""

    def __init__(self, records: Sequence[Trajectories], ranks: Ranks) -> None:
        rows = slice(ranks.rank, None, ranks.size)
        self.tasks = tuple(ranks.share([Task("given", (float(row),)) for row in range(TASKS)]))
        self._records = [
            replace(record, **{name: getattr(record, name)[rows] for name in TENSORS}) for record in records
        ]

    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        return self._records.pop(0)


def train(
    size: int,
    *,
    space: str = "gaussian",
    change: Change | None = None,
    single: bool = False,
    iterations: int = ITERATIONS,
    **settings: Any,
) -> list[tuple[dict[str, Tensor], list[IterationResult]]]:
    """State and results of each rank after warm-up and some iterations."""
    inner = InnerConfig(**({"lr": 0.3} | settings.pop("inner", {})))
    config = MAMLConfig(hidden_sizes=(3,), init_std=0.7, meta_batch=TASKS, inner=inner, **settings)
    whole = [
        [record(10 * iteration + index, index, space == "categorical", change) for index in range(inner.steps + 1)]
        for iteration in range(1 + iterations)
    ]
    if single:
        names = [name for name in TENSORS if name != "observations"]
        whole = [
            [replace(each, **{name: _single(getattr(each, name)) for name in names}) for each in records]
            for records in whole
        ]

    def make() -> MAML:
        torch.manual_seed(0)
        return MAML(config, gym.spaces.Box(-np.inf, np.inf, (OBSERVATIONS,)), SPACES[space], torch.device("cpu"))

    if single:
        members = [make() for _ in range(size)]
    else:
        with float64():
            members = [make() for _ in range(size)]

    def play(ranks: Ranks) -> tuple[dict[str, Tensor], list[IterationResult]]:
        maml = members[ranks.rank]
        maml.join(ranks)
        warm_up, *samplers = (Given(records, ranks) for records in whole)
        maml.warm_up(warm_up)
        results = [maml.meta_iteration(sampler, torch.Generator()) for sampler in samplers]
        return maml.state_dict(), results

    return on_ranks(size, play)


def _single(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


def assert_ranks_equal_one_process(
    tolerance: float = 1e-10, **settings: Any
) -> tuple[dict[str, Tensor], list[IterationResult]]:
    """Compares 2 and 3 ranks, among each other bit for bit, with one process; returns what that has.

    Differences are relative to the largest element of each tensor.
    """
    [(state, results)] = train(1, **settings)
    for size in (2, 3):
        ranks = train(size, **settings)
        for own, own_results in ranks:
            assert own.keys() == state.keys()
            assert all(torch.equal(value, ranks[0][0][name]) for name, value in own.items())
            assert repr(own_results) == repr(ranks[0][1])
        for name, value in ranks[0][0].items():
            largest = float(state[name].abs().max())
            torch.testing.assert_close(value, state[name], rtol=tolerance, atol=tolerance * largest)
        for got, expected in zip(ranks[0][1], results, strict=True):
            assert got.skipped_updates == expected.skipped_updates
            assert got.before == pytest.approx(expected.before, rel=tolerance, abs=tolerance, nan_ok=True)
            assert got.after == pytest.approx(expected.after, rel=tolerance, abs=tolerance, nan_ok=True)
            assert got.metrics == pytest.approx(expected.metrics, rel=tolerance, abs=tolerance, nan_ok=True)
    return state, results


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(("outer", "inner"), [pair for pair in product(OUTER_RULES, INNER_RULES) if goes_with(*pair)])
def test_ranks_take_the_step_of_one_process(outer: str, inner: str, baseline: str) -> None:
    rule = INNER_RULES[inner] | ({"estimator": "likelihood_ratio"} if outer == "promp" else {})
    _, results = assert_ranks_equal_one_process(outer=OUTER_RULES[outer], inner=rule, **BASELINES[baseline])
    assert all(result.skipped_updates == 0 for result in results)


@pytest.mark.parametrize("outer", ["trpo", "ppo", "vpg"])
def test_credit_is_taken_over_the_tasks_of_all_ranks(outer: str) -> None:
    assert_ranks_equal_one_process(
        outer=OUTER_RULES[outer], inner={"steps": 2}, exploration_credit=1.0, space="categorical"
    )


def test_subsampled_curvature_is_taken_from_the_same_samples() -> None:
    """Only one rank has the longest episodes, whose length decides which samples are drawn."""
    assert_ranks_equal_one_process(outer=MAMLTRPOConfig(fisher_subsample=0.4, **DAMPED))


def test_line_searches_backtrack_alike() -> None:
    _, results = assert_ranks_equal_one_process(outer=MAMLTRPOConfig(max_kl=2.0, **DAMPED), iterations=1)
    assert max(result.metrics["train/line_search_steps"] for result in results) > 1


def test_line_searches_fail_alike() -> None:
    _, results = assert_ranks_equal_one_process(
        outer=MAMLTRPOConfig(max_kl=2.0, backtrack_steps=1, **DAMPED), iterations=1
    )
    assert max(result.metrics["train/line_search_failed"] for result in results) == 1


@pytest.mark.parametrize("outer", OUTER_RULES)
@pytest.mark.parametrize("at", [0, 1], ids=["support", "query"])
def test_a_task_that_is_not_finite_keeps_all_ranks_from_the_step(outer: str, at: int) -> None:
    def spoil(index: int, tensors: dict[str, Tensor]) -> None:
        if index == at:
            tensors["rewards"][1, 0, 0] = torch.inf

    rule = {"estimator": "likelihood_ratio"} if outer == "promp" else {}
    state, results = assert_ranks_equal_one_process(outer=OUTER_RULES[outer], inner=rule, change=spoil)
    # Reptile's step needs the support samples only through the inner step, which the task then did not take
    skipped = 0 if (outer, at) == ("reptile", 0) else 1
    assert [result.skipped_updates for result in results] == [skipped] * ITERATIONS
    assert state["skipped_in_a_row"] == skipped * ITERATIONS


def test_tasks_without_steps_or_signal_count_over_all_ranks(caplog: pytest.LogCaptureFixture) -> None:
    def empty(index: int, tensors: dict[str, Tensor]) -> None:
        """Leaves no step of tasks 1, 3 and 5, all those of one of two ranks, and no differences in task 0."""
        for tensor in tensors.values():
            tensor[1::2] = 0
        tensors["rewards"][0] = 0

    _, results = assert_ranks_equal_one_process(
        outer=OUTER_RULES["trpo"], change=empty, **BASELINES["value"] | {"gae_lambda": 0.0}
    )
    assert results[0].metrics["meta/tasks_without_signal"] >= 3
    assert "no task's support episodes differ" not in caplog.text


def test_the_rank_that_leads_tells_of_a_meta_batch_without_a_signal(caplog: pytest.LogCaptureFixture) -> None:
    def level(index: int, tensors: dict[str, Tensor]) -> None:
        tensors["rewards"][:] = 0

    with caplog.at_level(logging.WARNING):
        [(_, results), _] = train(2, change=level)
    assert results[0].metrics["meta/tasks_without_signal"] == TASKS
    assert caplog.text.count("no task's support episodes differ") == ITERATIONS


@pytest.mark.parametrize("outer", OUTER_RULES)
def test_in_float32_ranks_differ_by_rounding_only(outer: str) -> None:
    rule = {"estimator": "likelihood_ratio"} if outer == "promp" else {}
    # conjugate gradients multiply rounding errors
    tolerance = 1e-2 if outer == "trpo" else 1e-4
    assert_ranks_equal_one_process(tolerance, outer=OUTER_RULES[outer], inner=rule, single=True, **BASELINES["value"])


def test_the_family_is_data_parallel() -> None:
    assert issubclass(MAML, DataParallel)
