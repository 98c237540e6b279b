"""Meta-World's meta-learning and multi-task benchmarks as task distributions."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import metaworld
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ML10_V3, ML25_V3, ML45_V3

from metarl_envs.core import Expert, FloatArray, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError, unknown
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.goals import benchmark_tasks
from metarl_envs.metaworld.multi_task import MultiTaskVectorEnv
from metarl_envs.metaworld.recombining import recombine
from metarl_envs.metaworld.reference import (
    ACTION_SPACE,
    MAX_HORIZON,
    ReferenceVectorEnv,
    Reward,
    check_horizon,
    observation_space,
)
from metarl_envs.parallel import ParallelVectorEnv
from metarl_envs.wrapping import TaskObservation, append

TASK_NAMES: tuple[str, ...] = tuple(ALL_V3_ENVIRONMENTS)
"""Names of the 50 classes of tasks, such as "reach-v3"."""

BENCHMARKS = ("ML1", "ML10", "ML25", "ML45", "custom", "MT1", "MT10", "MT25", "MT50")
"""Benchmarks of `MetaWorld`."""

Engine = Literal["native", "reference"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
"""Implementations that step the environments."""
REWARDS: tuple[Reward, ...] = get_args(Reward)
"""Versions of Meta-World's reward functions."""

_MAX_SEED = 2**32 - 2  # NumPy's limit less one: ML1 draws its test goals with seed + 1

_log = logging.getLogger(__name__)


def benchmark_classes(benchmark: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the training classes and of the held-out classes of "ML10", "ML25" or "ML45"."""
    splits = {"ML10": ML10_V3, "ML25": ML25_V3, "ML45": ML45_V3}[benchmark]
    return tuple(splits["train"]), tuple(splits["test"])


class MetaWorld(TaskDistribution):
    """Meta-World's benchmarks: 50 tasks of each class.

    Goals are those of Meta-World's own benchmark class for this seed. In ML1, training and test tasks are of one class
    with different goals; in the other ML benchmarks, their classes differ. ML25 has basketball-v3 in both of its
    splits; it is left out of the test split. ML benchmarks hide the goal from the observation unless asked otherwise.

    The multi-task benchmarks MT1 (one class), MT10, MT25 and MT50 show it, and hold nothing out: their test tasks are
    their training tasks.

    Use one seed for all runs that are to be compared: it chooses the tasks, and ML1's test goals under seed `n` are its
    training goals under `n + 1`.

    Attributes:
        excluded: Classes left out of the test split because the training split has them.
        classes: Names of the training classes, in Meta-World's order.

    Args:
        benchmark: One of `BENCHMARKS`.
        task: One of `TASK_NAMES`, for ML1 and MT1 only.
        train: Classes to train on, for "custom" only.
        test: Held-out classes, for "custom" only.
        horizon: Steps per episode, 1 to 500; 500 in Meta-World.
        seed: Seed of the goals.
        engine: "native" for `MetaWorldEngine`, "reference" for Meta-World's own environment classes, which are several
            times slower; `docs/metaworld-engine.md` compares them.
        reward: Version of Meta-World's reward functions; "v1" needs the reference engine.
        goal_visible: Show the goal in the observation's last three elements, as in Meta-World's MT benchmarks, which
            always do.
        use_one_hot: Append the class to observations, 1 at its index in `classes` and 0 elsewhere; for MT only.
        recombined: Train on the places of objects of some training tasks with the goals of others, see `recombine`.

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
        goal_visible: bool = False,
        use_one_hot: bool = False,
        recombined: bool = False,
    ) -> None:
        make = _benchmark_class(benchmark, task, train, test)
        multi_task = benchmark.startswith("MT")
        if use_one_hot and not multi_task:
            raise UserError(f"{benchmark} takes no use_one_hot: its held-out classes have no index; MT10 does")
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
        self._goal_visible, self._use_one_hot = goal_visible or multi_task, use_one_hot
        self._recombined = recombined
        self.shown = "goal, class" if use_one_hot else "goal" if self._goal_visible else ""
        key = {"benchmark": benchmark, "task": task, "train": list(train), "test": list(test), "seed": seed}
        train_tasks, test_tasks = benchmark_tasks(partial(make, seed=seed), key)
        test_tasks = train_tasks if multi_task else test_tasks
        self.classes = tuple(dict.fromkeys(task.name for task in train_tasks))
        trained = set() if multi_task or benchmark == "ML1" else set(self.classes)
        self.excluded = tuple(sorted({task.name for task in test_tasks} & trained))
        if self.excluded:
            _log.warning("%s trains on %s: left out of its test split", benchmark, ", ".join(self.excluded))
        name = benchmark if task is None else f"{benchmark}-{task}"
        space = observation_space(self._goal_visible)
        if use_one_hot:
            space = append(space, *self._one_hot_bounds())
        super().__init__(
            name=f"{name}-goal-visible" if goal_visible and not multi_task else name,
            train_tasks=train_tasks,
            test_tasks=[task for task in test_tasks if task.name not in trained],
            observation_space=space,
            action_space=ACTION_SPACE,
            horizon=horizon,
            held_out=not multi_task,
        )

    def sample(self, count: int, rng: np.random.Generator) -> list[Task]:
        """See `TaskDistribution`; with `recombined`, goals are exchanged among the tasks of each class."""
        tasks = super().sample(count, rng)
        return [recombine(task, self.train_tasks, rng) for task in tasks] if self._recombined else tasks

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """Makes environments on all cores; with a `render_mode`, one of Meta-World's own (`num_envs` must be 1)."""
        return self._with_one_hot(self._make_plain_env(num_envs, render_mode))

    def expert(self) -> Expert | None:
        """See `TaskDistribution`: Meta-World's scripted policies, which are told the goal."""
        from metarl_envs.metaworld.expert import GoalTold, have_experts  # imports a file for each class

        return GoalTold() if have_experts(self.classes) else None

    def make_multi_task_env(self, num_envs: int, seed: int) -> TaskVectorEnv:
        """Makes environments that play another goal of their class in every episode, see `MultiTaskVectorEnv`.

        Args:
            num_envs: Number of environments, a multiple of the number of training classes: environment i plays class
                i modulo that number.
            seed: Seed of the choice of goals.

        Raises:
            UserError: If `num_envs` is not such a multiple, the goals are hidden, or the engine is the reference one.
        """
        if num_envs < 1 or num_envs % len(self.classes):
            raise UserError(
                f"num_envs must be a multiple of the {len(self.classes)} classes of {self.name}: got {num_envs}"
            )
        if self._engine != "native" or not self._goal_visible:
            raise UserError("environments with a goal per episode need engine='native' and visible goals")
        env = MultiTaskVectorEnv(self.train_tasks, num_envs, seed, self.horizon, self.workers)
        return self._with_one_hot(env)

    def _make_plain_env(self, num_envs: int, render_mode: str | None) -> TaskVectorEnv:
        if render_mode is not None:
            return ReferenceVectorEnv(num_envs, self.horizon, render_mode, self._reward, self._goal_visible)
        if self._engine == "native":
            return MetaWorldEngine(num_envs, self.horizon, self.workers, goal_visible=self._goal_visible)
        make_shard = partial(
            ReferenceVectorEnv, horizon=self.horizon, reward=self._reward, goal_visible=self._goal_visible
        )
        return ParallelVectorEnv(make_shard, num_envs, self.workers)

    def _with_one_hot(self, env: TaskVectorEnv) -> TaskVectorEnv:
        return TaskObservation(env, self._one_hot, *self._one_hot_bounds()) if self._use_one_hot else env

    def _one_hot(self, task: Task) -> FloatArray:
        return np.array([float(task.name == name) for name in self.classes])

    def _one_hot_bounds(self) -> tuple[FloatArray, FloatArray]:
        return np.zeros(len(self.classes)), np.ones(len(self.classes))


def _benchmark_class(
    benchmark: str, task: str | None, train: Sequence[str], test: Sequence[str]
) -> Callable[..., metaworld.Benchmark]:
    """Checks the user's choice and returns Meta-World's class of the benchmark, to be called with a seed."""
    if benchmark not in BENCHMARKS:
        raise unknown("Meta-World benchmark", benchmark, BENCHMARKS)
    for name in (*([] if task is None else [task]), *train, *test):
        if name not in ALL_V3_ENVIRONMENTS:
            raise unknown("Meta-World task", name, ALL_V3_ENVIRONMENTS)
    single = benchmark in ("ML1", "MT1")
    if single and task is None:
        raise UserError(f"{benchmark} needs a task, such as task='reach-v3'")
    if not single and task is not None:
        raise UserError(f"{benchmark} takes no task (got '{task}'); only ML1 and MT1 do")
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
    if benchmark == "custom":
        return partial(metaworld.CustomML, list(train), list(test))
    made: Callable[..., metaworld.Benchmark] = getattr(metaworld, benchmark)
    return partial(made, task) if single else made
