"""Families of locomotion tasks as task distributions."""

from __future__ import annotations

import numpy as np

from metarl_envs.core import Task, TaskDistribution, draw_balanced
from metarl_envs.counts import check_counts, check_seed
from metarl_envs.errors import UserError, unknown
from metarl_envs.locomotion.ant import AntDir, AntGoal
from metarl_envs.locomotion.engine import LocomotionVectorEnv
from metarl_envs.locomotion.family import Family
from metarl_envs.locomotion.half_cheetah import HalfCheetahDir, HalfCheetahVel
from metarl_envs.locomotion.humanoid import HumanoidDir
from metarl_envs.locomotion.walkers import HopperRandParams, Walker2dRandParams, Walker2dVel

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        HalfCheetahDir,
        HalfCheetahVel,
        AntDir,
        AntGoal,
        HumanoidDir,
        Walker2dVel,
        HopperRandParams,
        Walker2dRandParams,
    )
}
"""The families by name."""

_NUM_TRAIN_TASKS, _NUM_TEST_TASKS = 1000, 40


class Locomotion(TaskDistribution):
    """Tasks of one family of the meta-reinforcement-learning literature; each family's class describes it.

    The tasks are drawn once, and there are so many that a meta-batch seldom repeats one. MAML and ProMP draw new tasks
    in every iteration, PEARL draws from 40 to 150 tasks.

    Args:
        family: One of `FAMILIES`.
        num_train_tasks: Number of training tasks; None is 1000, or all tasks of a family with a fixed few.
        num_test_tasks: Number of held-out tasks; None is 40, or all tasks of a family with a fixed few.
        horizon: Steps per episode; None is the family's.
        seed: Seed of the drawn tasks.

    Raises:
        UserError: If the family is unknown, a number is out of its range, or the family has a fixed few
            tasks although a number of tasks is given.
    """

    def __init__(
        self,
        family: str,
        num_train_tasks: int | None = None,
        num_test_tasks: int | None = None,
        horizon: int | None = None,
        seed: int = 1,
    ) -> None:
        if family not in FAMILIES:
            raise unknown("locomotion family", family, FAMILIES)
        self.family = FAMILIES[family]()
        if not self.family.held_out and (num_train_tasks, num_test_tasks) != (None, None):
            raise UserError(f"{family} always has the same few tasks: leave out num_train_tasks and num_test_tasks")
        given = {"num_train_tasks": num_train_tasks, "num_test_tasks": num_test_tasks, "horizon": horizon}
        check_counts(**{name: value for name, value in given.items() if value is not None})
        check_seed(seed)
        seeds = np.random.SeedSequence(seed).spawn(2)
        counts = (
            _NUM_TRAIN_TASKS if num_train_tasks is None else num_train_tasks,
            _NUM_TEST_TASKS if num_test_tasks is None else num_test_tasks,
        )
        train, test = (
            [Task(family, parameters) for parameters in self.family.draw(np.random.default_rng(split_seed), count)]
            for split_seed, count in zip(seeds, counts, strict=True)
        )
        super().__init__(
            name=family,
            train_tasks=train,
            test_tasks=test,
            observation_space=self.family.observation_space,
            action_space=self.family.action_space,
            horizon=self.family.horizon if horizon is None else horizon,
            held_out=self.family.held_out,
        )

    def sample(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws training tasks; from a family with a fixed few, repeats them, each equally often up to one."""
        if self.held_out:
            return super().sample(count, rng)
        drawn: list[Task] = []
        while len(drawn) < count:
            drawn += draw_balanced(self.train_tasks, count - len(drawn), rng)
        return drawn

    def make_env(self, num_envs: int, render_mode: str | None = None) -> LocomotionVectorEnv:
        """Makes a vector of environments, which steps in this process on all cores."""
        return LocomotionVectorEnv(self.family, num_envs, self.horizon, self.workers, render_mode)
