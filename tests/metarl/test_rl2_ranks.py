"""RL² on several ranks takes the step that one process takes on all tasks: in float64, from trials made up here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from thread_ranks import on_ranks
from torch import Tensor
from two_classes import family

from metarl.acting.sampler import MakeActor, Sampler
from metarl.algorithms.base import DataParallel, IterationResult
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import (
    RL2Config,
    RL2LinearBaselineConfig,
    RL2PPOConfig,
    RL2PrivilegedBaselineConfig,
    RL2ValueBaselineConfig,
)
from metarl.algorithms.rl2.minibatches import Minibatches
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.errors import RunFailure
from metarl.optim.config import TrustRegionConfig
from metarl.optim.curvature import twice_differentiable
from metarl.policies.config import CoreConfig, GRUConfig, TransformerConfig
from metarl.ranks import ALONE, Ranks
from metarl_envs import Task, WrappedDistribution
from metarl_envs.divergence import Divergence

CPU = torch.device("cpu")
GRU = GRUConfig(hidden_size=4)
EPISODES, HORIZON = 2, 5
# on two ranks the only task of class "c" is on the first; lengths differ, so that the longest trial is on one rank only
TASKS = [Task(name, [0.1 * index]) for index, name in enumerate(("a", "b", "b", "b", "c", "a"))]
LENGTHS = np.array([[5, 5], [2, 3], [1, 4], [5, 2], [3, 3], [1, 1]])
OUTER: dict[str, Any] = {
    "ppo": RL2PPOConfig(epochs=2, entropy_coefficient=0.1),
    # six trials of 10, 5, 5, 7, 6 and 2 steps in chunks of 3 are 14 rows; in 10 minibatches some ranks have none
    "minibatches": RL2PPOConfig(epochs=2, minibatches=10, max_grad_norm=0.1, steps_at_once=3, recompute_state=True),
    "trpo": TrustRegionConfig(cg_iterations=4),
}
BASELINES: dict[str, Any] = {
    "linear": RL2LinearBaselineConfig(),
    "per task": RL2LinearBaselineConfig(per_task=True),
    "value": RL2ValueBaselineConfig(epochs=2),
    "returns as they are": RL2ValueBaselineConfig(epochs=2, normalize_returns=False),
    "shared core": RL2ValueBaselineConfig(shares_core=True),
    "privileged": RL2PrivilegedBaselineConfig(hidden_sizes=(5,), epochs=2, minibatches=9),
}
SPACES: dict[str, gym.spaces.Box | gym.spaces.Discrete] = {
    "continuous": gym.spaces.Box(-1, 1, (2,), np.float64),
    "discrete": gym.spaces.Discrete(3),
}
COMBINED = [
    (outer, baseline, space, scale)
    for outer in OUTER
    for baseline in BASELINES
    for space, scale in (("continuous", "class"), ("discrete", "meta_batch"))
    if (outer, baseline) != ("trpo", "shared core")
]


def make_rl2(space: str = "continuous", core: CoreConfig = GRU, **settings: Any) -> RL2:
    """An algorithm in float64, its networks away from initial zeros."""
    torch.manual_seed(0)
    config = RL2Config(**settings, meta_batch=len(TASKS), episodes=EPISODES, core=core)
    rl2 = RL2(config, gym.spaces.Box(-np.inf, np.inf, (2,), np.float64), SPACES[space], CPU, TASKS)
    modules = [rl2.network] if rl2.privileged is None else [rl2.network, rl2.privileged]
    rng = torch.Generator().manual_seed(3)
    for module in modules:
        for parameter in module.double().parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return rl2


def made_up(seed: int, space: str = "continuous") -> Trajectories:
    """Random episodes of all tasks in float64, of several lengths."""
    rng = np.random.default_rng(seed)
    valid = np.arange(HORIZON) < LENGTHS[:, :, None]
    shape = valid.shape
    actions = rng.normal(size=(*shape, 2)) if space == "continuous" else np.eye(3)[rng.integers(3, size=shape)]
    log_probs = -0.5 * (actions**2).sum(-1) - np.log(2 * np.pi) if space == "continuous" else np.full(shape, -np.log(3))
    arrays = {
        "observations": rng.normal(1.0, 3.0, (*shape, 2)),
        "actions": actions,
        "rewards": rng.normal(size=shape) * np.array([1.0, 2.0, 1.0, 5.0, 100.0, 1.0])[:, None, None],
        "log_probs": log_probs + 0.2 * rng.normal(size=shape),
        "successes": rng.random(shape) < 0.1,
        "terminated": np.zeros(shape, np.bool_),
        "truncated": np.zeros(shape, np.bool_),
    }
    tensors = {
        name: torch.from_numpy(x * (valid if x.ndim == 3 else valid[..., None])) for name, x in arrays.items()
    }
    final = torch.zeros(len(TASKS), EPISODES, 2, dtype=torch.float64)
    return Trajectories(**tensors, valid=torch.from_numpy(valid), final_observations=final, tasks=tuple(TASKS))


def rows_of(trajectories: Trajectories, ranks: Ranks) -> Trajectories:
    """What one of the ranks plays of the trajectories."""
    tensors = {name: getattr(trajectories, name)[ranks.rank :: ranks.size] for name in TENSORS}
    return replace(trajectories, **tensors, tasks=tuple(ranks.share(trajectories.tasks)))


class Recorded(Sampler):
    """Gives trajectories that are there already; with a divergence, so that states at chunk starts are recomputed."""

    def __init__(self, trajectories: Trajectories, diverged: bool) -> None:
        self.tasks = trajectories.tasks
        self._trajectories = trajectories
        self.divergences = [Divergence(TASKS[0], np.zeros(1), np.zeros((1, 2)))] if diverged else []

    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        return self._trajectories


Learned = tuple[dict[str, Tensor], list[IterationResult]]


def learn(ranks: Ranks, make: Callable[[], RL2], iterations: Sequence[Trajectories]) -> Learned:
    """All that a rank's learning from its rows changes, and what it reports of each iteration."""
    rl2 = make()
    rl2.join(ranks)
    results = []
    for seed, trajectories in enumerate(iterations):
        # only the last rank's simulations diverge, but all ranks recompute states
        sampler = Recorded(rows_of(trajectories, ranks), ranks.rank == ranks.size - 1)
        results.append(rl2.meta_iteration(sampler, torch.Generator().manual_seed(seed)))
    return rl2.state_dict(), results


def same(one: Learned, other: Learned, tolerance: float = 1e-10) -> None:
    """Compares each tensor with a tolerance relative to its largest element."""
    for name, tensor in one[0].items():
        scale = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(
            other[0][name], tensor, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: f"{n}: {m}"
        )
    for ours, theirs in zip(one[1], other[1], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert b == pytest.approx(a, rel=10 * tolerance, abs=tolerance)


def equal_on_ranks(
    make: Callable[[], RL2], iterations: Sequence[Trajectories], sizes: Sequence[int] = (2, 3)
) -> Learned:
    """Checks that ranks learn what one process learns, all of them the same; returns what that is."""
    alone = learn(ALONE, make, iterations)
    for size in sizes:
        with twice_differentiable():  # restores kernels, which threads would restore in any order
            first, *others = on_ranks(size, lambda ranks: learn(ranks, make, iterations))
        same(alone, first)
        for other in others:
            same(first, other, tolerance=0.0)
    return alone


@pytest.mark.parametrize(("outer", "baseline", "space", "scale"), COMBINED)
def test_ranks_learn_what_one_process_learns(outer: str, baseline: str, space: str, scale: str) -> None:
    settings = {"outer": OUTER[outer], "baseline": BASELINES[baseline], "advantage_scale": scale}
    settings["chunk"] = 3 if outer == "minibatches" else None
    start = make_rl2(space, **settings).state_dict()
    state, results = equal_on_ranks(lambda: make_rl2(space, **settings), [made_up(seed, space) for seed in (0, 1)])
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, start[name])}
    parameters = {f"policy.{name}" for name, _ in make_rl2(space, **settings).policy.named_parameters()}
    assert parameters <= changed
    assert results[0].skipped_updates == 0


@pytest.mark.parametrize("outer", ["minibatches", "trpo"])
def test_ranks_learn_what_one_process_learns_with_a_transformer(outer: str) -> None:
    core = TransformerConfig(memory=4, model_size=4, layers=1, heads=1)
    equal_on_ranks(lambda: make_rl2(core=core, outer=OUTER[outer], chunk=4), [made_up(0)])
