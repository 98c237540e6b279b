"""Gymnasium ids for the task distributions of this package, registered when `metarl_envs` is imported.

An id names a distribution and one of its splits: `gymnasium.make_vec("metarl/ML10-train-v0", num_envs=20)`, or
`gymnasium.make("metarl/ML10-train-v0", task=3)` for a single task. Meta-World's multi-task benchmarks have one split,
and draw a goal per episode: `gymnasium.make_vec("metarl/MT10-v0", num_envs=10)`. With the prefix `metarl_envs:`, as in
`"metarl_envs:metarl/ML10-train-v0"`, Gymnasium imports the package itself.
"""

from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Literal, cast

import gymnasium as gym
import numpy as np

from metarl_envs import registry
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv, draw_balanced
from metarl_envs.counts import check_counts, check_seed
from metarl_envs.errors import UserError, unknown
from metarl_envs.single import RandomTaskEnv, SingleTaskEnv, pick_task

if TYPE_CHECKING:
    from metarl_envs.metaworld import MetaWorld

Split = Literal["train", "test"]

_NAMES = {
    "ML1": "ML1",
    "ML10": "ML10",
    "ML25": "ML25",
    "ML45": "ML45",
    "Navigation": "navigation",
    "Bandit": "bandit",
    "Tabular": "tabular",
    **{family: family for family in registry.LOCOMOTION},
}
_MULTI_TASK = ("MT1", "MT10", "MT25", "MT50")
_OF_ONE_CLASS = ("ML1", "MT1")
"""Distributions that have to be told the name of a Meta-World task."""


def register_gymnasium_ids() -> None:
    """Registers `metarl/<name>-<split>-v0` for all distributions of this package except "custom", and the MT ones."""
    for name, distribution in _NAMES.items():
        for split in ("train", "test"):
            _register(f"metarl/{name}-{split}-v0", "env", distribution=distribution, split=split)
    for benchmark in _MULTI_TASK:
        _register(f"metarl/{benchmark}-v0", "multi_task_env", benchmark=benchmark)


def _register(id: str, what: str, **kwargs: Any) -> None:  # noqa: A002  (Gymnasium's name for it)
    gym.register(
        id,
        entry_point=f"metarl_envs.gymnasium_ids:make_single_{what}",
        vector_entry_point=f"metarl_envs.gymnasium_ids:make_vector_{what}",
        disable_env_checker=True,  # it warns of observations without bounds, and of a bandit's, which is always 0
        kwargs=kwargs,
    )


def make_single_env(
    distribution: str,
    split: Split,
    env_name: str | None = None,
    task: int = 0,
    render_mode: str | None = None,
    **options: Any,
) -> SingleTaskEnv:
    """Makes an environment of a single task; `gymnasium.make` calls it.

    Args:
        distribution: Name in the registry.
        split: Split that the task belongs to.
        env_name: Meta-World's name of the class, such as "reach-v3"; ML1 needs it, None is all classes elsewhere.
        task: Index of the task in the split, among those of `env_name` if it is given.
        render_mode: None or "rgb_array".
        **options: Further options of the distribution.

    Raises:
        UserError: If an option is not one of the distribution's, or there is no such class or task.
    """
    family, tasks = _family_and_tasks(distribution, split, env_name, options)
    return SingleTaskEnv(family, pick_task(tasks, task), render_mode)


def make_vector_env(
    num_envs: int,
    distribution: str,
    split: Split,
    env_name: str | None = None,
    task: int | None = None,
    seed: int = 0,
    render_mode: str | None = None,
    **options: Any,
) -> TaskVectorEnv:
    """Makes a vector of environments with tasks set; `gymnasium.make_vec` calls it.

    Args:
        num_envs: Number of environments.
        distribution: Name in the registry.
        split: Split that the tasks are drawn from.
        env_name: Meta-World's name of the class, such as "reach-v3"; ML1 needs it, None is all classes elsewhere.
        task: Index of the task that all environments play, among those of `env_name` if it is given; None draws tasks.
        seed: Seed of the drawn tasks, the same number of each name up to one; the tasks repeat if there are more
            environments than tasks.
        render_mode: None or "rgb_array".
        **options: Further options of the distribution.

    Raises:
        UserError: If an option is not one of the distribution's, there is no such class or task, or a number is out of
            its range.
    """
    check_counts(num_envs=num_envs)
    check_seed(seed)
    family, tasks = _family_and_tasks(distribution, split, env_name, options)
    drawn = draw_balanced(tasks, num_envs, np.random.default_rng(seed)) if task is None else [pick_task(tasks, task)]
    env = family.make_env(num_envs, render_mode)
    env.set_tasks(list(islice(cycle(drawn), num_envs)))
    return env


def make_single_multi_task_env(
    benchmark: str,
    env_name: str | None = None,
    task: int | None = None,
    seed: int = 1,
    render_mode: str | None = None,
    **options: Any,
) -> SingleTaskEnv:
    """Makes an environment of one class of a multi-task benchmark; `gymnasium.make` calls it.

    Args:
        benchmark: One of Meta-World's multi-task benchmarks, such as "MT10".
        env_name: Name of the class, such as "reach-v3".
        task: Index of its goal, 0 to 49; None draws a goal at each reset, as Meta-World does.
        seed: Seed of the benchmark's goals, and of the drawing.
        render_mode: None or "rgb_array".
        **options: `horizon` and `use_one_hot`.

    Raises:
        UserError: If an option is unknown, or there is no such class or goal.
    """
    if env_name is None:
        raise UserError(f"{benchmark} needs env_name to make one environment, such as env_name='reach-v3'")
    family, tasks = _family_and_tasks(benchmark, "train", env_name, {**options, "seed": seed})
    if task is not None:
        return SingleTaskEnv(family, pick_task(tasks, task), render_mode)
    return RandomTaskEnv(family, tasks, seed, render_mode)


def make_vector_multi_task_env(
    num_envs: int,
    benchmark: str,
    env_name: str | None = None,
    seed: int = 1,
    render_mode: str | None = None,
    **options: Any,
) -> TaskVectorEnv:
    """Makes the environments of a multi-task benchmark, which draw a goal per episode; `gymnasium.make_vec` calls it.

    Args:
        num_envs: Number of environments, a multiple of the number of classes; 1, which Gymnasium passes if it is left
            out, is one per class.
        benchmark: One of Meta-World's multi-task benchmarks, such as "MT10".
        env_name: Name of MT1's class, such as "reach-v3".
        seed: Seed of the benchmark's goals, and of the drawing.
        render_mode: None only: Meta-World renders single environments.
        **options: `horizon` and `use_one_hot`.

    Raises:
        UserError: If an option is unknown, `num_envs` is no such multiple, or a render mode is asked for.
    """
    if render_mode is not None:
        raise UserError(f"a vector of {benchmark} does not render: use gymnasium.make with env_name='reach-v3'")
    family = cast("MetaWorld", _family_and_tasks(benchmark, "train", env_name, {**options, "seed": seed})[0])
    if env_name is not None and len(family.classes) > 1:
        raise UserError(f"a vector of {benchmark} plays all its classes: leave out env_name, or use metarl/MT1-v0")
    return family.make_multi_task_env(len(family.classes) if num_envs == 1 else num_envs, seed)


def _family_and_tasks(
    distribution: str, split: Split, env_name: str | None, options: dict[str, Any]
) -> tuple[TaskDistribution, tuple[Task, ...]]:
    of_one_class = distribution in _OF_ONE_CLASS
    if of_one_class:
        if env_name is None:
            raise UserError(f"{distribution} needs env_name, such as env_name='reach-v3'")
        options = {**options, "task": env_name}
    family = registry.make(distribution, **options)
    tasks = {"train": family.train_tasks, "test": family.test_tasks}[split]
    if env_name is None or of_one_class:
        return family, tasks
    named = tuple(task for task in tasks if task.name == env_name)
    if not named:
        raise unknown(f"env_name of {family.name} {split}", env_name, {task.name for task in tasks})
    return family, named
