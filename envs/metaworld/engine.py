"""Many Meta-World tasks of any classes stepped at once: MuJoCo on all cores, everything around it in array code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from envs.core import FloatArray, StepResult, Task, TaskVectorEnv
from envs.divergence import Divergence
from envs.metaworld.blueprints import Blueprint
from envs.metaworld.chunk import ArmSimulation, Chunk
from envs.metaworld.reference import ACTION_SPACE, MAX_HORIZON, OBSERVATION_SPACE, check_horizon
from envs.simulation import Workers

_CHUNK = 25
"""Environments of one class, at most, that a thread steps and whose rewards it then computes together."""


class MetaWorldEngine(TaskVectorEnv):
    """The same trajectories as Meta-World's own environments, bit for bit, at the speed of MuJoCo.

    The goal is hidden and the reward is v2. A task determines its resets, so what they come to is computed once per
    task; seeds have no effect. Beside `success`, `infos` has Meta-World's `near_object`, `grasp_reward`,
    `in_place_reward`, `obj_to_target` and `unscaled_reward`, each `(env,)`.

    Args:
        num_envs: How many environments.
        horizon: Steps after which an episode is truncated, 1 to 500.
        threads: Threads that step; None is one per core.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(self, num_envs: int, horizon: int = MAX_HORIZON, threads: int | None = None) -> None:
        check_horizon(horizon)
        self.num_envs = num_envs
        self.horizon = horizon
        self.single_observation_space, self.single_action_space = OBSERVATION_SPACE, ACTION_SPACE
        self.observation_space = batch_space(OBSERVATION_SPACE, num_envs)
        self.action_space = batch_space(ACTION_SPACE, num_envs)
        self._workers = Workers(lambda name: self._blueprints[name].copy_model(), threads)
        self._blueprints: dict[str, Blueprint] = {}
        self._simulations: defaultdict[str, list[ArmSimulation]] = defaultdict(list)
        self._chunks: list[Chunk] = []
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
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
        self._chunks = self._arrange()
        self._elapsed[:] = 0
        self._observations = self._restore(np.ones(self.num_envs, dtype=np.bool_))
        return self._observations.copy(), {}

    def _arrange(self) -> list[Chunk]:
        """Groups the environments by class, in chunks of even size."""
        by_name: defaultdict[str, list[int]] = defaultdict(list)
        for env, task in enumerate(self.tasks):
            by_name[task.name].append(env)
        chunks = []
        for name, envs in by_name.items():
            blueprint, simulations = self._blueprints[name], self._simulations[name]
            while len(simulations) < len(envs):
                simulations.append(ArmSimulation(blueprint.model, blueprint.arrays))
            parts = np.array_split(np.array(envs), -(-len(envs) // _CHUNK))
            for part in parts:
                states = [blueprint.task_state(self.tasks[env]) for env in part]
                start = envs.index(int(part[0]))
                chunks.append(Chunk(blueprint, part, states, simulations[start : start + len(part)]))
        return chunks

    def _restore(self, which: npt.NDArray[np.bool_]) -> FloatArray:
        """Begins new episodes in the environments of a mask; their first observations, others undefined."""
        observations = np.empty((self.num_envs, *OBSERVATION_SPACE.shape))

        def work(chunk: Chunk) -> None:
            members = np.flatnonzero(which[chunk.envs])
            chunk.restore(self._workers.model(chunk.name), members)
            observations[chunk.envs[members]] = chunk.first_observations[members]

        self._workers.run(work, self._chunks)
        return observations

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """See `TaskVectorEnv`; actions `(env, 4)` are the hand's displacement and the gripper's effort, -1 to 1."""
        if not self._chunks:
            raise gym.error.ResetNeeded("call reset before step")
        actions = np.asarray(actions, dtype=np.float64)
        self._actions[self._elapsed, np.arange(self.num_envs)] = actions
        observations = np.empty((self.num_envs, *OBSERVATION_SPACE.shape))
        outcome = np.empty((6, self.num_envs))
        diverged = np.zeros(self.num_envs, dtype=np.bool_)

        def work(chunk: Chunk) -> None:
            step = chunk.step(
                self._workers.model(chunk.name), actions[chunk.envs], OBSERVATION_SPACE.low, OBSERVATION_SPACE.high
            )
            observations[chunk.envs] = step.observations
            for row, values in zip(outcome, step.outcome, strict=True):
                row[chunk.envs] = values
            diverged[chunk.envs] = step.diverged

        self._workers.run(work, self._chunks)
        self._elapsed += 1
        rewards, success, *details = outcome
        names = ("near_object", "grasp_reward", "in_place_reward", "obj_to_target")
        infos: dict[str, Any] = {"success": success != 0, **dict(zip(names, details, strict=True))}
        infos["unscaled_reward"] = rewards
        infos["diverged"] = diverged
        if diverged.any():
            infos["divergences"] = [self._evidence(int(env)) for env in np.flatnonzero(diverged)]
            observations[diverged], rewards[diverged] = self._observations[diverged], 0.0
            infos["success"] &= ~diverged
        truncated = (self._elapsed == self.horizon) | diverged
        if truncated.any():
            infos |= {"final_obs": observations, "_final_obs": truncated.copy()}
            observations = np.where(truncated[:, None], self._restore(truncated), observations)
            self._elapsed[truncated] = 0
        self._observations = observations
        return observations.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def simulation(self, env: int) -> mujoco.MjData:
        """The simulator's data of one environment, for a look inside."""
        for chunk in self._chunks:
            for index in np.flatnonzero(chunk.envs == env):
                return chunk.simulations[int(index)].data
        raise gym.error.ResetNeeded("call reset before looking")

    def _evidence(self, env: int) -> Divergence:
        task = self.tasks[env]
        state = self._blueprints[task.name].task_state(task).state
        return Divergence(task, state, self._actions[: self._elapsed[env], env].copy())

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads and frees the simulators."""
        self._workers.close()
        self._chunks = []
        self._simulations.clear()
        self._blueprints.clear()
