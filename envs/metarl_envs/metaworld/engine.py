"""Vectorised Meta-World: MuJoCo steps tasks of any classes on all cores, array code does everything around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import FloatArray, StepResult, Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.dynamics import UNCHANGED, Dynamics
from metarl_envs.metaworld.class_model import ClassModel, TaskState
from metarl_envs.metaworld.group import ArmSimulation, Group
from metarl_envs.metaworld.observations import observe
from metarl_envs.metaworld.reference import ACTION_SPACE, GOAL, MAX_HORIZON, check_horizon, observation_space
from metarl_envs.metaworld.task_class import Outcome
from metarl_envs.simulation import Workers, scale_dynamics

_MAX_CHUNK = 10
"""Largest number of environments that a thread takes at a time."""
_CHUNKS_PER_THREAD = 4
"""Smallest number of chunks per thread in a step; with more chunks, the threads end closer together."""


class MetaWorldEngine(TaskVectorEnv):
    """Meta-World's tasks as one vector environment: the physics of Meta-World's own environments, bit for bit.

    The reward is v2; `docs/metaworld-engine.md` says how exact it is. A task determines its
    resets, so the engine computes each initial state once per task, and seeds have no effect. Beside `success`, `infos`
    has Meta-World's `near_object`, `grasp_reward`, `in_place_reward`, `obj_to_target` and `unscaled_reward`, each
    `(env,)`.

    Args:
        num_envs: Number of environments.
        horizon: Steps after which an episode is truncated, 1 to 500.
        threads: Number of threads that step; None is one per core.
        grasp_success: Add Meta-World's `grasp_success` to `infos`; most of its cost is reading the contacts.
        goal_visible: Show the goal in the observation's last three elements, as Meta-World's multi-task benchmarks do;
            else they are 0.

    Attributes:
        groups: The environments by class, since the last `reset`.

    Raises:
        UserError: If an argument is out of its range.
    """

    has_dynamics = True

    def __init__(
        self,
        num_envs: int,
        horizon: int = MAX_HORIZON,
        threads: int | None = None,
        grasp_success: bool = False,
        goal_visible: bool = False,
    ) -> None:
        check_horizon(horizon)
        self.num_envs = num_envs
        self.horizon = horizon
        self.single_observation_space, self.single_action_space = observation_space(goal_visible), ACTION_SPACE
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(ACTION_SPACE, num_envs)
        self._workers = Workers(lambda name: self._class_models[name].copy_model(), threads)
        self._class_models: dict[str, ClassModel] = {}
        self._simulations: defaultdict[str, list[ArmSimulation]] = defaultdict(list)
        self.groups: list[Group] = []
        self._places: dict[int, tuple[Group, int]] = {}
        """Group of each environment, and its index there."""
        self._chunks: list[tuple[Group, range]] = []
        self._order = np.arange(num_envs)
        """Indices of the environments in the order of the groups."""
        self._grasp_success = grasp_success
        self._fields = (*Outcome._fields, "grasp_success") if grasp_success else Outcome._fields
        self._dynamics = (UNCHANGED,) * num_envs
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._goal_visible = goal_visible
        self._goals = np.zeros((num_envs, 3))
        """Goals that observations show after an episode's first, `(env, 3)`; 0 where they are hidden."""
        self._hands = np.empty((num_envs, 3))
        self._limits = np.empty((2, num_envs, 3))
        self._action_scale = np.empty((num_envs, 1))
        self._first_observations = np.empty((num_envs, 39))
        self._actions = np.empty((horizon, num_envs, 4))
        """Actions of the episodes in progress, `(step, env, 4)`."""

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """See `TaskVectorEnv`."""
        tasks = self._check_count(tasks)
        for task in tasks:
            if task.name not in self._class_models:
                self._class_models[task.name] = ClassModel(task.name)
            self._class_models[task.name].task_state(task)
        self.tasks = tasks

    def set_dynamics(self, dynamics: Sequence[Dynamics]) -> None:
        """See `TaskVectorEnv`; episodes begin in the same states whatever the dynamics."""
        self._dynamics = self._check_dynamics(dynamics)

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
        """Groups the environments by class and cuts the groups into chunks for the threads."""
        self._playing_dynamics = self._dynamics
        members = defaultdict(list)
        for env, task in enumerate(self.tasks):
            members[task.name].append(env)
        self.groups = []
        for name, envs in members.items():
            class_model, simulations = self._class_models[name], self._simulations[name]
            while len(simulations) < len(envs):
                simulations.append(ArmSimulation(class_model.model, class_model.arrays))
            states = self._task_states(class_model, envs)
            group = Group(class_model, np.array(envs), states, simulations[: len(envs)], self._grasp_success)
            for i, (env, state) in enumerate(zip(envs, states, strict=True)):
                self._places[env] = group, i
                self._show(env, state)
            for limits, values in zip(self._limits, (class_model.mocap_low, class_model.mocap_high), strict=True):
                limits[envs] = values
            self._action_scale[envs] = class_model.action_scale
            self.groups.append(group)
        self._order = np.concatenate([group.envs for group in self.groups])
        size = min(max(1, self.num_envs // (_CHUNKS_PER_THREAD * self._workers.threads)), _MAX_CHUNK)
        self._chunks = [
            (group, range(first, min(first + size, len(group.tasks))))
            for group in self.groups
            for first in range(0, len(group.tasks), size)
        ]

    def _task_states(self, class_model: ClassModel, envs: Sequence[int]) -> list[TaskState]:
        """Initial states of environments of one class, whose models have the environments' dynamics."""
        keys = [(self.tasks[env], self._playing_dynamics[env]) for env in envs]
        # one for each task and dynamics, so that threads do not write equal fields again
        states = {key: _task_state(class_model, *key) for key in set(keys)}
        return [states[key] for key in keys]

    def _show(self, env: int, state: TaskState) -> None:
        """Notes what the observations of an environment show of its task."""
        self._first_observations[env] = state.observation
        if self._goal_visible:
            self._first_observations[env, GOAL], self._goals[env] = state.goals

    def _next_task(self, env: int) -> Task:
        """Chooses the task of an environment's next episode, of the same class; here it stays the same."""
        return self.tasks[env]

    def _replace_task(self, env: int, task: Task) -> None:
        """Gives an environment another task of its class, from its next episode on."""
        self.tasks = (*self.tasks[:env], task, *self.tasks[env + 1 :])
        [state] = self._task_states(self._class_models[task.name], [env])
        group, i = self._places[env]
        group.replace(i, state)
        self._show(env, state)

    def _restore(self, which: npt.NDArray[np.bool_]) -> None:
        """Puts the environments of a mask `(env,)` into the initial states of their tasks."""

        def work(group: Group) -> None:
            group.restore(self._workers.model(group.name), np.flatnonzero(which[group.envs]), self._hands)

        self._workers.run(work, self.groups)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """See `TaskVectorEnv`; actions `(env, 4)` are the hand's move in x, y, z and the gripper's effort, -1 to 1."""
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
        observations, outcome = self._observe_and_reward(self._sent)
        diverged = self._by_env(np.concatenate([group.diverged for group in self.groups]))
        rewards, success, *details = outcome
        infos: dict[str, Any] = {"success": success != 0, **dict(zip(self._fields[2:], details, strict=True))}
        infos["unscaled_reward"] = rewards
        infos["diverged"] = diverged
        if diverged.any():
            infos["divergences"] = [self._divergence(int(env)) for env in np.flatnonzero(diverged)]
            observations[diverged], rewards[diverged] = self._observations[diverged], 0.0
            infos["success"] &= ~diverged
        self._observations = observations
        truncated = (self._elapsed == self.horizon) | diverged
        if truncated.any():
            infos |= {"final_obs": observations, "_final_obs": truncated.copy()}
            for env in np.flatnonzero(truncated).tolist():
                if (task := self._next_task(env)) is not self.tasks[env]:
                    self._replace_task(env, task)
            self.restart(truncated)
        return self._observations.copy(), rewards, np.zeros(self.num_envs, dtype=np.bool_), truncated, infos

    def restart(self, which: npt.NDArray[np.bool_]) -> FloatArray:
        """Begins a new episode of the same task in the environments of a mask `(env,)`, between two steps.

        Returns:
            Observations `(env, 39)` of all environments.
        """
        self._restore(which)
        self._observations = np.where(which[:, None], self._first_observations, self._observations)
        self._frames = np.where(which[:, None], self._observations[:, :18], self._frames)
        self._elapsed[which] = 0
        return self._observations.copy()

    def simulation(self, env: int) -> mujoco.MjData:
        """Returns the simulator's data of one environment."""
        if not self._places:
            raise gym.error.ResetNeeded("call reset before looking")
        group, i = self._places[env]
        return group.simulations[i].data

    def _simulate(self, actions: FloatArray) -> Callable[[], None]:
        """Moves all hands (`SawyerXYZEnv.set_xyz_action`) and begins the physics steps of one step."""
        low, high = self._limits
        # hand <- clip(hand + action_scale clip(action_xyz, -1, 1), low, high)
        moved = self._hands + np.clip(actions[:, :3], -1, 1) * self._action_scale
        self._hands = np.minimum(np.maximum(moved, low), high)
        # The fingers move against each other.
        efforts = actions[:, 3:] * (1.0, -1.0)

        def work(chunk: tuple[Group, range]) -> None:
            group, which = chunk
            group.advance(self._workers.model(group.name), which, self._hands, efforts)

        return self._workers.start(work, self._chunks)

    def _observe_and_reward(self, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Computes observations `(env, 39)` and outcomes `(field, env)`, on one thread: two would wait for the GIL."""
        snapshots = [group.snapshot(actions) for group in self.groups]
        # observation = (frame, previous frame, goal or zeros in its place)
        frames = self._by_env(observe([group.task_class for group in self.groups], snapshots))
        observations = np.concatenate([frames, self._frames, self._goals], axis=1)
        space = self.single_observation_space
        observations = np.minimum(np.maximum(observations, space.low), space.high)
        self._frames = frames
        outcomes = [group.outcome(each, observations) for group, each in zip(self.groups, snapshots, strict=True)]
        outcome = np.empty((len(self._fields), self.num_envs))
        for row, values in zip(outcome, zip(*outcomes, strict=True), strict=True):
            row[self._order] = np.concatenate(values)
        return observations, outcome

    def _by_env(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Reorders rows from the order of the groups to that of the environments."""
        result = np.empty_like(values)
        result[self._order] = values
        return result

    def _divergence(self, env: int) -> Divergence:
        """Collects what it takes to replay an environment's episode."""
        task = self.tasks[env]
        state = self._class_models[task.name].task_state(task).state
        return Divergence(task, state, self._actions[: self._elapsed[env], env].copy(), self._playing_dynamics[env])

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads and frees the simulators."""
        self._workers.close()
        self.groups, self._chunks = [], []
        self._places.clear()
        self._simulations.clear()
        self._class_models.clear()


def _task_state(class_model: ClassModel, task: Task, dynamics: Dynamics) -> TaskState:
    """Initial state of a task whose model has other dynamics."""
    state = class_model.task_state(task)
    return replace(state, fields=scale_dynamics(class_model.model, state.fields, dynamics))
