"""Families of locomotion tasks as task distributions."""

from __future__ import annotations

import numpy as np

from metarl_envs.core import Task, TaskDistribution, draw_balanced
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
"""What `Locomotion` offers, by name."""

_NUM_TRAIN_TASKS, _NUM_TEST_TASKS = 1000, 40


class Locomotion(TaskDistribution):
    """One of the families that the literature on meta-reinforcement learning is measured on; see their classes.

    Tasks are drawn once, so many that a meta-batch hardly ever has one a second time: MAML and ProMP draw anew in every
    iteration, PEARL from 40 to 150 tasks.

    Args:
        family: One of `FAMILIES`.
        num_train_tasks: How many training tasks; None is 1000, or all there are.
        num_test_tasks: How many held-out tasks; None is 40, or all there are.
        horizon: Steps per episode; None is the family's.
        seed: What the tasks are drawn from.

    Raises:
        UserError: If there is no such family, or it has no tasks to draw but a number of them is asked for.
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
        streams = np.random.SeedSequence(seed).spawn(2)
        counts = (
            _NUM_TRAIN_TASKS if num_train_tasks is None else num_train_tasks,
            _NUM_TEST_TASKS if num_test_tasks is None else num_test_tasks,
        )
        train, test = (
            [Task(family, parameters) for parameters in self.family.draw(np.random.default_rng(stream), count)]
            for stream, count in zip(streams, counts, strict=True)
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
        """As everywhere; a family of few tasks in all gives each of them as often as any other, up to one."""
        if self.held_out:
            return super().sample(count, rng)
        drawn: list[Task] = []
        while len(drawn) < count:
            drawn += draw_balanced(self.train_tasks, count - len(drawn), rng)
        return drawn

    def make_env(self, num_envs: int, render_mode: str | None = None) -> LocomotionVectorEnv:
        """A vector of environments, in this process and on all cores."""
        return LocomotionVectorEnv(self.family, num_envs, self.horizon, render_mode=render_mode)
