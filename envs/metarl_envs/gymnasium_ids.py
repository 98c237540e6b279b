"""Gymnasium ids for the task distributions of this package, registered when `metarl_envs` is imported.

An id names a distribution and one of its splits: `gymnasium.make_vec("metarl/ML10-train-v0", num_envs=20)`, or
`gymnasium.make("metarl/ML10-train-v0", index=3)` for a single task. With the prefix `metarl_envs:`, as in
`"metarl_envs:metarl/ML10-train-v0"`, Gymnasium imports the package itself.
"""

from itertools import cycle, islice
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from metarl_envs import registry
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv, draw_balanced
from metarl_envs.counts import check_counts, check_seed
from metarl_envs.single import SingleTaskEnv, pick_task

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


def register_gymnasium_ids() -> None:
    """Registers `metarl/<name>-<split>-v0` for all distributions of this package except "custom"."""
    for name, distribution in _NAMES.items():
        for split in ("train", "test"):
            gym.register(
                f"metarl/{name}-{split}-v0",
                entry_point="metarl_envs.gymnasium_ids:make_single_env",
                vector_entry_point="metarl_envs.gymnasium_ids:make_vector_env",
                disable_env_checker=True,  # it warns of a bandit's observation, which is always 0
                kwargs={"distribution": distribution, "split": split},
            )


def make_single_env(
    distribution: str,
    split: Literal["train", "test"],
    index: int = 0,
    render_mode: str | None = None,
    env_name: str | None = None,
    **options: Any,
) -> SingleTaskEnv:
    """Makes an environment of a single task; `gymnasium.make` calls it.

    Args:
        distribution: Name in the registry.
        split: Split that the task belongs to.
        index: Index of the task in the split.
        render_mode: None or "rgb_array".
        env_name: The task of ML1, such as "reach-v3", as Meta-World's own ids call it.
        **options: Further options of the distribution.

    Raises:
        UserError: If an option is not one of the distribution's, or there is no such task.
    """
    family, tasks = _family_and_tasks(distribution, split, env_name, options)
    return SingleTaskEnv(family, pick_task(tasks, index), render_mode)


def make_vector_env(
    num_envs: int,
    distribution: str,
    split: Literal["train", "test"],
    seed: int = 0,
    render_mode: str | None = None,
    env_name: str | None = None,
    **options: Any,
) -> TaskVectorEnv:
    """Makes a vector of environments with tasks set; `gymnasium.make_vec` calls it.

    Args:
        num_envs: Number of environments.
        distribution: Name in the registry.
        split: Split that the tasks are drawn from.
        seed: Seed of the drawn tasks, the same number of each name up to one; the tasks repeat if there are more
            environments than tasks.
        render_mode: None or "rgb_array".
        env_name: The task of ML1, such as "reach-v3", as Meta-World's own ids call it.
        **options: Further options of the distribution.

    Raises:
        UserError: If an option is not one of the distribution's, or a number is out of its range.
    """
    check_counts(num_envs=num_envs)
    check_seed(seed)
    family, tasks = _family_and_tasks(distribution, split, env_name, options)
    drawn = draw_balanced(tasks, num_envs, np.random.default_rng(seed))
    env = family.make_env(num_envs, render_mode)
    env.set_tasks(list(islice(cycle(drawn), num_envs)))
    return env


def _family_and_tasks(
    distribution: str, split: Literal["train", "test"], env_name: str | None, options: dict[str, Any]
) -> tuple[TaskDistribution, tuple[Task, ...]]:
    if env_name is not None:
        options = options | {"task": env_name}
    family = registry.make(distribution, **options)
    return family, {"train": family.train_tasks, "test": family.test_tasks}[split]
