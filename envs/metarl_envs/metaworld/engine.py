"""Many Meta-World tasks of any classes stepped at once: MuJoCo on all cores, everything around it in array code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.metaworld.blueprints import Blueprint
from metarl_envs.metaworld.group import ArmSimulation, Group
from metarl_envs.metaworld.observing import observe
from metarl_envs.metaworld.reference import ACTION_SPACE, MAX_HORIZON, OBSERVATION_SPACE, check_horizon
from metarl_envs.metaworld.task_class import Outcome
from metarl_envs.simulation import Workers

_LARGEST_PART = 10
"""Environments, at most, that a thread takes at a time."""
_PARTS = 4
"""That each thread gets of them in a step, at least, so that no thread waits long for another."""


class MetaWorldEngine(TaskVectorEnv):
    """The same trajectories as Meta-World's own environments, bit for bit, at the speed of MuJoCo.

    The goal is hidden and the reward is v2. A task determines its resets, so what they come to is computed once per
    task; seeds have no effect. Beside `success`, `infos` has Meta-World's `near_object`, `grasp_reward`,
    `in_place_reward`, `obj_to_target` and `unscaled_reward`, each `(env,)`.

    Args:
        num_envs: How many environments.
        horizon: Steps after which an episode is truncated, 1 to 500.
        threads: Threads that step; None is one per core.
        grasp_success: Whether `infos` has Meta-World's `grasp_success` too; most of its cost is a look at the contacts.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self, num_envs: int, horizon: int = MAX_HORIZON, threads: int | None = None, grasp_success: bool = False
    ) -> None:
        check_horizon(horizon)
        self.num_envs = num_envs
        self.horizon = horizon
        self.single_observation_space, self.single_action_space = OBSERVATION_SPACE, ACTION_SPACE
        self.observation_space = batch_space(OBSERVATION_SPACE, num_envs)
        self.action_space = batch_space(ACTION_SPACE, num_envs)
        self._workers = Workers(lambda name: self._blueprints[name].copy_model(), threads)
        self._blueprints: dict[str, Blueprint] = {}
        self._simulations: defaultdict[str, list[ArmSimulation]] = defaultdict(list)
        self.groups: list[Group] = []
        self._parts: list[tuple[Group, range]] = []
        self._order = np.arange(num_envs)
        """The environments in the order of the groups."""
        self._grasp_success = grasp_success
        self._fields = (*Outcome._fields, "grasp_success") if grasp_success else Outcome._fields
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._hidden_goals = np.zeros((num_envs, 3))
        self._hands = np.empty((num_envs, 3))
        self._limits = np.empty((2, num_envs, 3))
        self._action_scale = np.empty((num_envs, 1))
        self._first_observations = np.empty((num_envs, 39))
        self._actions = np.empty((horizon, num_envs, 4))
        """Of the episodes that are being played."""

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """See `TaskVectorEnv`."""
        tasks = self._check_count(tasks)
        for task in tasks:
            if task.name not in self._blueprints:
                self._blueprints[task.name] = Blueprint(task.name)
            self._blueprints[task.name].task_state(task)
        self.tasks = tasks

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """See `TaskVectorEnv`; seeds have no effect."""
        self._seed_each(seed)
        self._arrange()
        self._elapsed[:] = 0
        self._restore(np.ones(self.num_envs, dtype=np.bool_))
        self._observations = self._first_observations.copy()
        self._frames = self._observations[:, :18]
        return self._observations.copy(), {}

    def _arrange(self) -> None:
        """Groups the environments by class."""
        members = defaultdict(list)
        for env, task in enumerate(self.tasks):
            members[task.name].append(env)
        self.groups = []
        for name, envs in members.items():
            blueprint, simulations = self._blueprints[name], self._simulations[name]
            while len(simulations) < len(envs):
                simulations.append(ArmSimulation(blueprint.model, blueprint.arrays))
            states = [blueprint.task_state(self.tasks[env]) for env in envs]
            group = Group(blueprint, np.array(envs), states, simulations[: len(envs)], self._grasp_success)
            self._first_observations[envs] = group.first_observations
            for limits, values in zip(self._limits, (blueprint.mocap_low, blueprint.mocap_high), strict=True):
                limits[envs] = values
            self._action_scale[envs] = blueprint.action_scale
            self.groups.append(group)
        self._order = np.concatenate([group.envs for group in self.groups])
        size = min(max(1, self.num_envs // (_PARTS * self._workers.threads)), _LARGEST_PART)
        self._parts = [
            (group, range(first, min(first + size, len(group.tasks))))
            for group in self.groups
            for first in range(0, len(group.tasks), size)
        ]

    def _restore(self, which: npt.NDArray[np.bool_]) -> None:
        """Puts the environments of a mask back to where their episodes begin."""

        def work(group: Group) -> None:
            group.restore(self._workers.model(group.name), np.flatnonzero(which[group.envs]), self._hands)

        self._workers.run(work, self.groups)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """See `TaskVectorEnv`; actions `(env, 4)` are the hand's displacement and the gripper's effort, -1 to 1."""
        self.send(actions)
        return self.receive()

    def send(self, actions: npt.NDArray[Any]) -> None:
        """See `TaskVectorEnv`."""
        if not self.groups:
            raise gym.error.ResetNeeded("call reset before step")
        self._sent = np.asarray(actions, dtype=np.float64)
        self._actions[self._elapsed, np.arange(self.num_envs)] = self._sent
        self._finish = self._simulate(self._sent)

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        self._finish()
        self._elapsed += 1
        observations, outcome = self._judge(self._sent)
        diverged = self._by_env(np.concatenate([group.diverged for group in self.groups]))
        rewards, success, *details = outcome
        infos: dict[str, Any] = {"success": success != 0, **dict(zip(self._fields[2:], details, strict=True))}
        infos["unscaled_reward"] = rewards
        infos["diverged"] = diverged
        if diverged.any():
            infos["divergences"] = [self._evidence(int(env)) for env in np.flatnonzero(diverged)]
            observations[diverged], rewards[diverged] = self._observations[diverged], 0.0
            infos["success"] &= ~diverged
        truncated = (self._elapsed == self.horizon) | diverged
        if truncated.any():
            infos |= {"final_obs": observations, "_final_obs": truncated.copy()}
            self._restore(truncated)
            observations = np.where(truncated[:, None], self._first_observations, observations)
            self._frames = np.where(truncated[:, None], observations[:, :18], self._frames)
            self._elapsed[truncated] = 0
        self._observations = observations
        return observations.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def simulation(self, env: int) -> mujoco.MjData:
        """The simulator's data of one environment, for a look inside."""
        for group in self.groups:
            for member, simulation in zip(group.envs, group.simulations, strict=True):
                if member == env:
                    return simulation.data
        raise gym.error.ResetNeeded("call reset before looking")

    def _simulate(self, actions: FloatArray) -> Callable[[], None]:
        """Moves all hands (`SawyerXYZEnv.set_xyz_action`) and begins the physics steps of one step."""
        low, high = self._limits
        moved = self._hands + np.clip(actions[:, :3], -1, 1) * self._action_scale
        self._hands = np.minimum(np.maximum(moved, low), high)
        efforts = actions[:, 3:] * (1.0, -1.0)

        def work(part: tuple[Group, range]) -> None:
            group, which = part
            group.advance(self._workers.model(group.name), which, self._hands, efforts)

        return self._workers.start(work, self._parts)

    def _judge(self, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Observations `(env, 39)` and outcomes `(field, env)`; on one thread, as two would wait for Python's lock."""
        snapshots = [group.snapshot(actions) for group in self.groups]
        frames = self._by_env(observe([group.task_class for group in self.groups], snapshots))
        observations = np.concatenate([frames, self._frames, self._hidden_goals], axis=1)
        observations = np.minimum(np.maximum(observations, OBSERVATION_SPACE.low), OBSERVATION_SPACE.high)
        self._frames = frames
        outcome = np.empty((len(self._fields), self.num_envs))
        for group, snapshot in zip(self.groups, snapshots, strict=True):
            for row, values in zip(outcome, group.outcome(snapshot, observations), strict=True):
                row[group.members] = values
        return observations, outcome

    def _by_env(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows that are in the order of the groups in the order of the environments."""
        result = np.empty_like(values)
        result[self._order] = values
        return result

    def _evidence(self, env: int) -> Divergence:
        task = self.tasks[env]
        state = self._blueprints[task.name].task_state(task).state
        return Divergence(task, state, self._actions[: self._elapsed[env], env].copy())

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads and frees the simulators."""
        self._workers.close()
        self.groups, self._parts = [], []
        self._simulations.clear()
        self._blueprints.clear()
