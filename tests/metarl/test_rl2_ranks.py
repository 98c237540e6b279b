"""RL² on several ranks takes the step that one process takes on all tasks: in float64, from trials made up here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_env import Counting
from thread_ranks import on_ranks
from torch import Tensor

from metarl.acting.sampler import MakeActor, Sampler
from metarl.algorithms.base import DataParallel, IterationResult
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import (
    ExpertConfig,
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
from metarl_envs import Task
from metarl_envs.core import Expert, FloatArray
from metarl_envs.divergence import Divergence

Result = TypeVar("Result")
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


class Guided(Counting):
    """The tasks above with an expert."""

    def __init__(self) -> None:
        super().__init__()
        self.train_tasks = tuple(TASKS)

    def expert(self) -> Expert:
        def act(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
            return np.asarray(np.tanh(observations + [[task.parameters[0]] for task in tasks]))

        return act


def make_rl2(space: str = "continuous", core: CoreConfig = GRU, **settings: Any) -> RL2:
    """An algorithm in float64, its networks away from initial zeros."""
    torch.manual_seed(0)
    config = RL2Config(**settings, meta_batch=len(TASKS), episodes=EPISODES, core=core)
    guidance = config.build_guidance(Guided())
    rl2 = RL2(config, gym.spaces.Box(-np.inf, np.inf, (2,), np.float64), SPACES[space], CPU, TASKS, guidance)
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
    tensors = {name: torch.from_numpy(x * (valid if x.ndim == 3 else valid[..., None])) for name, x in arrays.items()}
    final = torch.zeros(len(TASKS), EPISODES, 2, dtype=torch.float64)
    return Trajectories(**tensors, valid=torch.from_numpy(valid), final_observations=final, tasks=tuple(TASKS))


def rows_of(trajectories: Trajectories, ranks: Ranks) -> Trajectories:
    """What one of the ranks plays of the trajectories."""
    tensors = {name: getattr(trajectories, name)[ranks.own(len(TASKS))] for name in TENSORS}
    return replace(trajectories, **tensors, tasks=tuple(ranks.share(trajectories.tasks)))


class Recorded(Sampler):
    """Gives trajectories that are there already; with a divergence, so that states at chunk starts are recomputed."""

    def __init__(self, trajectories: Trajectories, indices: Sequence[int], diverged: bool) -> None:
        self.tasks, self.indices = trajectories.tasks, tuple(indices)
        self._trajectories = trajectories
        self.divergences = [Divergence(TASKS[0], np.zeros(1), np.zeros((1, 2)))] if diverged else []

    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        make_actor(slice(0, len(self.tasks)), [np.random.default_rng(index) for index in self.indices])
        return self._trajectories


Learned = tuple[dict[str, Tensor], list[IterationResult]]


def learn(ranks: Ranks, rl2: RL2, iterations: Sequence[Trajectories]) -> Learned:
    """All that a rank's learning from its rows changes, and what it reports of each iteration."""
    rl2.join(ranks)
    results = []
    for seed, trajectories in enumerate(iterations):
        # only the last rank's simulations diverge, but all ranks recompute states
        indices = ranks.share(range(len(TASKS)))
        sampler = Recorded(rows_of(trajectories, ranks), indices, ranks.rank == ranks.size - 1)
        results.append(rl2.meta_iteration(sampler, torch.Generator().manual_seed(seed)))
    return rl2.state_dict(), results


def same(one: Learned, other: Learned, tolerance: float = 1e-10) -> None:
    """Compares each tensor with a tolerance relative to its largest element."""
    for name, tensor in one[0].items():
        scale = float(tensor.double().abs().max())
        torch.testing.assert_close(other[0][name], tensor, rtol=0, atol=tolerance * scale, msg=name)
    for ours, theirs in zip(one[1], other[1], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            if a is not None:  # the score is that of classifiers only
                assert b == pytest.approx(a, rel=tolerance, abs=tolerance, nan_ok=True)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Restores PyTorch's number of threads, which ranks that play change at the same time."""
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


def on_made(size: int, make: Callable[[], RL2], play: Callable[[Ranks, RL2], Result]) -> list[Result]:
    """Plays with an algorithm on each rank; makes them beforehand, since threads share PyTorch's generator."""
    made = [make() for _ in range(size)]
    with twice_differentiable():  # restores kernels, which threads would restore in any order
        return on_ranks(size, lambda ranks: play(ranks, made[ranks.rank]))


def equal_on_ranks(make: Callable[[], RL2], iterations: Sequence[Trajectories]) -> Learned:
    """Checks that two and three ranks learn what one process learns, each of them the same; returns what that is."""
    alone = learn(ALONE, make(), iterations)
    for size in (2, 3):
        first, *others = on_made(size, make, lambda ranks, rl2: learn(ranks, rl2, iterations))
        same(alone, first)
        for other in others:
            same(first, other, tolerance=0.0)
    return alone


@pytest.mark.parametrize(("outer", "baseline", "space", "scale"), COMBINED)
def test_ranks_learn_what_one_process_learns(outer: str, baseline: str, space: str, scale: str) -> None:
    settings = {"outer": OUTER[outer], "baseline": BASELINES[baseline], "advantage_scale": scale}
    settings["chunk"] = 3 if outer == "minibatches" else None
    start = make_rl2(space, **settings).state_dict()
    iterations = [made_up(seed, space) for seed in range(1 if outer == "minibatches" else 2)]
    state, results = equal_on_ranks(lambda: make_rl2(space, **settings), iterations)
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, start[name])}
    assert changed >= {f"policy.{name}" for name, _ in make_rl2(space, **settings).policy.named_parameters()}
    assert results[0].skipped_updates == 0


@pytest.mark.parametrize("outer", ["minibatches", "trpo"])
def test_ranks_learn_what_one_process_learns_with_a_transformer(outer: str) -> None:
    core = TransformerConfig(memory=4, model_size=4, layers=1, heads=1)
    equal_on_ranks(lambda: make_rl2(core=core, outer=OUTER[outer], chunk=4), [made_up(0)])


def test_ranks_learn_what_one_process_learns_from_experts() -> None:
    settings = {"outer": OUTER["minibatches"], "chunk": 3, "expert": ExpertConfig(weight=2.0, iterations=3)}
    iterations = [made_up(0), made_up(1)]
    state, results = equal_on_ranks(lambda: make_rl2(**settings), iterations)
    assert [each.metrics["train/expert_weight"] for each in results] == pytest.approx([2.0, 4 / 3])
    assert all(each.metrics["train/expert_error"] > 0 for each in results)
    alone, _ = learn(ALONE, make_rl2(**settings | {"expert": None}), iterations)
    assert any(not torch.equal(state[name], tensor) for name, tensor in alone.items() if name.startswith("policy."))


def test_minibatches_of_ranks_are_those_of_one_process() -> None:
    lengths = torch.tensor([10, 5, 5, 7, 6, 2])

    def draw(ranks: Ranks) -> list[tuple[list[int], int]]:
        minibatches = Minibatches(lengths[ranks.own(6)], 3, ranks)
        generator = torch.Generator().manual_seed(0)
        return [(each.rows.tolist(), each.steps) for _ in range(2) for each in minibatches.draw(10, generator)]

    (alone,) = on_ranks(1, draw)
    # row by row of the meta-batch, the steps and the trial: 3 of 10, 3, 3, 1; 3 of 5, 2; ...
    steps = [3, 3, 3, 1, 3, 2, 3, 2, 3, 3, 1, 3, 3, 2]
    trial = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5]
    assert [sum(steps[row] for row in rows) for rows, _ in alone] == [count for _, count in alone]
    assert sorted(row for rows, _ in alone[:10] for row in rows) == list(range(14))
    for size in (2, 3):
        parts = on_ranks(size, draw)
        owned = [[row for row in range(14) if trial[row] * size // 6 == rank] for rank in range(size)]
        for index, (rows, count) in enumerate(alone):
            for rank, part in enumerate(parts):
                assert [owned[rank][row] for row in part[index][0]] == [row for row in rows if row in owned[rank]]
                assert part[index][1] == count
        assert any(not rows for part in parts for rows, _ in part)


def test_ranks_stop_together_at_the_bound_on_the_divergence() -> None:
    outer = RL2PPOConfig(epochs=20, minibatches=2, lr=0.02, max_kl=0.15)
    _, (result,) = equal_on_ranks(lambda: make_rl2(outer=outer), [made_up(0)])
    assert 4 < result.metrics["train/minibatches"] < 40


@pytest.mark.parametrize(("outer", "skipped"), [("minibatches", 2), ("trpo", 1)])
def test_ranks_skip_an_update_that_is_not_finite_on_one_of_them(outer: str, skipped: int) -> None:
    """A step of one trial, hence one minibatch of each epoch; the other minibatches are learned from."""
    broken = made_up(0)
    broken.log_probs[3, 0, 1] = torch.nan
    settings = {"outer": OUTER[outer], "chunk": 3}
    _, (result,) = equal_on_ranks(lambda: make_rl2(**settings), [broken])
    assert result.skipped_updates == skipped


def test_ranks_end_together_after_five_updates_that_are_not_finite() -> None:
    broken = made_up(0)
    broken.log_probs[3, 0, 1] = torch.nan

    def play(ranks: Ranks, rl2: RL2) -> str:
        with pytest.raises(RunFailure) as failure:
            learn(ranks, rl2, [broken])
        return str(failure.value)

    messages = on_made(3, lambda: make_rl2(outer=RL2PPOConfig(epochs=9)), play)
    assert len(set(messages)) == 1
    assert "5 updates in a row" in messages[0]


class Classes(Counting):
    """Six tasks of three classes, with trials that end early; the first number of an observation is a position."""

    positions = ((0, 0, 0),)

    def __init__(self) -> None:
        super().__init__(train=[(length, 1) for length in (2, 4, 3, 4, 2, 3)])
        named = zip("abbbca", self.train_tasks, strict=True)
        self.train_tasks = tuple(Task(name, task.parameters) for name, task in named)


def play_and_learn(ranks: Ranks, rl2: RL2) -> Learned:
    """Two iterations on tasks that are really played, double-buffered, after the warm-up."""
    assert isinstance(rl2, DataParallel)
    rl2.join(ranks)
    distribution = Classes()
    tasks, indices = ranks.share(distribution.train_tasks), ranks.share(range(6))

    def sampler(number: int) -> Sampler:
        envs = [distribution.make_env(count) for count in (1, len(tasks) - 1)]
        return Sampler(envs, tasks, (1, number), CPU, indices)

    rl2.warm_up(sampler(0))
    results = [rl2.meta_iteration(sampler(number), torch.Generator().manual_seed(number)) for number in (1, 2)]
    return rl2.state_dict(), results


PLAYED: dict[str, dict[str, Any]] = {
    "skills": {
        "config": SkillSearchConfig,
        "settings": {"untold": 0.3, "frame_shift": 0.2, "baseline": BASELINES["privileged"]},
    },
    # the states at chunk starts are those of acting
    "rl2": {"config": RL2Config, "settings": {"episodes": 2, "chunk": 3, "baseline": BASELINES["value"]}},
}


@pytest.mark.parametrize("algorithm", PLAYED)
def test_ranks_play_and_learn_what_one_process_does(algorithm: str) -> None:
    """In float32, in which training runs: to 1e-4 of the largest element after two iterations, noise included."""

    def make() -> RL2:
        torch.manual_seed(0)
        outer = RL2PPOConfig(epochs=2, minibatches=4)
        played = PLAYED[algorithm]
        rl2: RL2 = played["config"](meta_batch=6, core=GRU, outer=outer, **played["settings"]).build(Classes(), CPU)
        return rl2

    alone = play_and_learn(ALONE, make())
    for size in (2, 3):
        for learned in on_made(size, make, play_and_learn):
            same(alone, learned, tolerance=1e-4)
