"""Meta-World's multi-task benchmarks as it plays them: each environment keeps its class and changes its goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_envs.core import FloatArray, Task
from metarl_envs.errors import UserError
from metarl_envs.metaworld.engine import MetaWorldEngine


class MultiTaskVectorEnv(MetaWorldEngine):
    """Environments of fixed classes that draw one of their class's goals at the beginning of every episode.

    Before a `reset` with seeds, all draw the same sequence of indices, as those of Meta-World's `make_vec` do when they
    are given a seed. `tasks` is what is played; `set_tasks` is refused.

    Args:
        tasks: Tasks to draw from; environment i has class i modulo the number of classes, in the tasks' order.
        num_envs: Number of environments.
        seed: Seed of the drawn goals.
        horizon: Steps after which an episode is truncated, 1 to 500.
        threads: Number of threads that step; None is one per core.
    """

    def __init__(
        self, tasks: Sequence[Task], num_envs: int, seed: int, horizon: int, threads: int | None = None
    ) -> None:
        super().__init__(num_envs, horizon, threads, goal_visible=True)
        by_class: dict[str, list[Task]] = {}
        for task in tasks:
            by_class.setdefault(task.name, []).append(task)
        choices = list(by_class.values())
        self._choices = [choices[env % len(choices)] for env in range(num_envs)]
        # Copies of a class, which Meta-World does not have, draw other goals than its first environment.
        self._generators = [np.random.default_rng(seed + env // len(choices)) for env in range(num_envs)]
        super().set_tasks([choice[0] for choice in self._choices])

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Raises a `UserError`: the environments choose their tasks themselves."""
        raise UserError("these environments draw a goal per episode: to set tasks, use make_env of the distribution")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins an episode of another goal in every environment; seeds determine this goal and the following ones."""
        for env, number in enumerate(self._seed_each(seed)):
            if number is not None:
                self._generators[env] = np.random.default_rng(number)
        super().set_tasks([self._next_task(env) for env in range(self.num_envs)])
        return super().reset()

    def _next_task(self, env: int) -> Task:
        choice = self._choices[env]
        return choice[self._generators[env].choice(len(choice))]
