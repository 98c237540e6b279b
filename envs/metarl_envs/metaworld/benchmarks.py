"""Meta-World's meta-learning benchmarks as task distributions."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import metaworld
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError, unknown
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.goals import benchmark_tasks
from metarl_envs.metaworld.reference import (
    ACTION_SPACE,
    MAX_HORIZON,
    OBSERVATION_SPACE,
    ReferenceVectorEnv,
    Reward,
    check_horizon,
)
from metarl_envs.parallel import ParallelVectorEnv

TASK_NAMES: tuple[str, ...] = tuple(ALL_V3_ENVIRONMENTS)
"""Names of the 50 classes of tasks, such as "reach-v3"."""

BENCHMARKS = ("ML1", "ML10", "ML25", "ML45", "custom")
"""Benchmarks of `MetaWorld`."""

Engine = Literal["native", "reference"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
"""Implementations that step the environments."""
REWARDS: tuple[Reward, ...] = get_args(Reward)
"""Versions of Meta-World's reward functions."""

_MAX_SEED = 2**32 - 2  # NumPy's limit less one: ML1 draws its test goals with seed + 1

_log = logging.getLogger(__name__)


class MetaWorld(TaskDistribution):
    """Meta-World's meta-learning benchmarks: 50 tasks of each class, with the goal hidden from the observation.

    Goals are those of Meta-World's own benchmark class for this seed. In ML1, training and test tasks are of one class
    with different goals; in all others, their classes differ. ML25 has basketball-v3 in both of its splits; it is left
    out of the test split.

    Use one seed for all runs that are to be compared: it chooses the tasks, and ML1's test goals under seed `n` are its
    training goals under `n + 1`.

    Attributes:
        excluded: Classes left out of the test split because the training split has them.

    Args:
        benchmark: One of `BENCHMARKS`.
        task: One of `TASK_NAMES`, for ML1 only.
        train: Classes to train on, for "custom" only.
        test: Held-out classes, for "custom" only.
        horizon: Steps per episode, 1 to 500; 500 in Meta-World.
        seed: Seed of the goals.
        engine: "native" for `MetaWorldEngine`, "reference" for Meta-World's own environment classes, which are several
            times slower; `docs/metaworld-engine.md` compares them.
        reward: Version of Meta-World's reward functions; "v1" needs the reference engine.

    Raises:
        UserError: If an argument is missing, superfluous, unknown or out of its range.
    """

    # hand, first object, second object, and the same one step before
    positions = tuple((start, start + 1, start + 2) for start in (0, 4, 11, 18, 22, 29))
    task_visible = True  # where the goal belongs to an object that is seen, such as a drawer

    def __init__(
        self,
        benchmark: str,
        task: str | None = None,
        train: Sequence[str] = (),
        test: Sequence[str] = (),
        horizon: int = MAX_HORIZON,
        seed: int = 1,
        engine: Engine = "native",
        reward: Reward = "v2",
    ) -> None:
        make = _benchmark_class(benchmark, task, train, test)
        check_horizon(horizon)
        if not 0 <= seed <= _MAX_SEED:
            raise UserError(f"seed must be 0 to {_MAX_SEED}, not {seed}")
        if engine not in ENGINES:
            raise unknown("engine", engine, ENGINES)
        if reward not in REWARDS:
            raise unknown("reward", reward, REWARDS)
        if reward == "v1" and engine == "native":
            raise UserError("reward 'v1' needs engine='reference': the native engine computes 'v2' only")
        self._engine, self._reward = engine, reward
        key = {"benchmark": benchmark, "task": task, "train": list(train), "test": list(test), "seed": seed}
        train_tasks, test_tasks = benchmark_tasks(partial(make, seed=seed), key)
        trained = set() if benchmark == "ML1" else {task.name for task in train_tasks}
        self.excluded = tuple(sorted({task.name for task in test_tasks} & trained))
        if self.excluded:
            _log.warning("%s trains on %s: left out of its test split", benchmark, ", ".join(self.excluded))
        super().__init__(
            name=f"ML1-{task}" if benchmark == "ML1" else benchmark,
            train_tasks=train_tasks,
            test_tasks=[task for task in test_tasks if task.name not in trained],
            observation_space=OBSERVATION_SPACE,
            action_space=ACTION_SPACE,
            horizon=horizon,
        )

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """Makes environments on all cores; with a `render_mode`, one of Meta-World's own (`num_envs` must be 1)."""
        if render_mode is not None:
            return ReferenceVectorEnv(num_envs, self.horizon, render_mode, self._reward)
        if self._engine == "native":
            return MetaWorldEngine(num_envs, self.horizon, self.workers)
        make_shard = partial(ReferenceVectorEnv, horizon=self.horizon, reward=self._reward)
        return ParallelVectorEnv(make_shard, num_envs, self.workers)


def _benchmark_class(
    benchmark: str, task: str | None, train: Sequence[str], test: Sequence[str]
) -> Callable[..., metaworld.Benchmark]:
    """Checks the user's choice and returns Meta-World's class of the benchmark, to be called with a seed."""
    if benchmark not in BENCHMARKS:
        raise unknown("Meta-World benchmark", benchmark, BENCHMARKS)
    for name in (*([] if task is None else [task]), *train, *test):
        if name not in ALL_V3_ENVIRONMENTS:
            raise unknown("Meta-World task", name, ALL_V3_ENVIRONMENTS)
    if benchmark == "ML1" and task is None:
        raise UserError("ML1 needs a task, such as task='reach-v3'")
    if benchmark != "ML1" and task is not None:
        raise UserError(f"{benchmark} takes no task (got '{task}'); only ML1 does")
    if benchmark == "custom" and not (train and test):
        raise UserError("custom needs train and test, each with at least one task, such as train=['reach-v3']")
    if benchmark != "custom" and (train or test):
        raise UserError(f"{benchmark} takes neither train nor test; only custom does")
    for split in (train, test):
        twice = sorted(name for name, count in Counter(split).items() if count > 1)
        if twice:
            raise UserError(f"{', '.join(twice)} is in a split twice: name each task once")
    shared = sorted(set(train) & set(test))
    if shared:
        raise UserError(f"{', '.join(shared)} cannot be both in train and in test")
    if benchmark == "ML1":
        return partial(metaworld.ML1, task)
    if benchmark == "custom":
        return partial(metaworld.CustomML, list(train), list(test))
    return {"ML10": metaworld.ML10, "ML25": metaworld.ML25, "ML45": metaworld.ML45}[benchmark]
