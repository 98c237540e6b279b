"""Vectorised locomotion: MuJoCo steps the robots of a family on all cores, array code does everything around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space

from metarl_envs.core import BoolArray, FloatArray, StepResult, Task, TaskVectorEnv
from metarl_envs.cores import available_cores
from metarl_envs.divergence import Divergence
from metarl_envs.dynamics import UNCHANGED, Dynamics
from metarl_envs.errors import UserError
from metarl_envs.locomotion.family import ROBOT, Family, Motion
from metarl_envs.painting import Painter
from metarl_envs.scenes import Scene
from metarl_envs.simulation import STATE, Fields, Simulation, Workers, scale_dynamics

_MAX_CHUNK = 25
"""Largest number of environments that a thread takes at a time."""


class LocomotionVectorEnv(TaskVectorEnv):
    """Robots of one family, each with its own task.

    The physics is that of Gymnasium's v5 environment: the same seed and actions give the same states, bit for bit,
    unless the task changes the model. Success belongs to a whole episode: `infos["success"]` can be true only in the
    step that reaches the horizon. Where the simulation diverges, `infos["diverged"]` `(env,)` is true, the episode is
    truncated with the last good observation and a reward of 0, and `infos["divergences"]` lists a `Divergence`, by
    which the episode can be replayed.

    Args:
        family: The robot and its tasks.
        num_envs: Number of environments.
        horizon: Steps after which an episode is truncated.
        threads: Number of threads that step; None is one per core.
        render_mode: None, or "rgb_array" for `render`.

    Raises:
        UserError: If the render mode is another one.
    """

    has_dynamics = True

    def __init__(
        self, family: Family, num_envs: int, horizon: int, threads: int | None = None, render_mode: str | None = None
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"{family.name} has no render mode '{render_mode}': use 'rgb_array'")
        self.family, self.num_envs, self.horizon, self.render_mode = family, num_envs, horizon, render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / family.step_duration)}
        self.single_observation_space, self.single_action_space = family.observation_space, family.action_space
        self.observation_space = batch_space(family.observation_space, num_envs)
        self.action_space = batch_space(family.action_space, num_envs)
        threads = threads or available_cores()
        self._workers = Workers(lambda _: family.copy_model(), threads)
        rounds = -(-num_envs // (_MAX_CHUNK * threads))
        self._chunks = np.array_split(np.arange(num_envs), min(num_envs, rounds * threads))
        self._simulations = [Simulation(family.model, family.arrays) for _ in range(num_envs)]
        views = zip(family.arrays, self._simulations[0].views, strict=True)
        self._arrays = {name: np.empty((num_envs, *view.shape)) for name, view in views}
        self._dynamics = self._playing_dynamics = (UNCHANGED,) * num_envs
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._playing: tuple[Task, ...] = ()
        """Tasks of the episodes in progress; `tasks` may already hold those of the next reset."""
        self._fields: list[Fields] = []
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._observations = np.empty((num_envs, *family.observation_space.shape))
        self._position, self._start = np.empty((2, num_envs, *family.position(self._arrays).shape[1:]))
        self._velocity = np.zeros_like(self._position)
        """Average velocities over the last step; zero before the first of an episode."""
        self._states = np.empty((num_envs, mujoco.mj_stateSize(family.model, STATE)))
        """Initial states of the episodes in progress."""
        self._actions = np.empty((horizon, num_envs, *family.action_space.shape))
        """Actions of the episodes in progress, `(step, env, action)`."""
        self._painter: Painter | None = None

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """See `TaskVectorEnv`."""
        checked = self._check_count(tasks)
        for task in checked:
            if task.name != self.family.name or not self.family.accepts(task.parameters):
                raise UserError(f"{task} is not a task of {self.family.name}")
        self.tasks = checked

    def set_dynamics(self, dynamics: Sequence[Dynamics]) -> None:
        """See `TaskVectorEnv`; where a task changes the model itself, its values are scaled."""
        self._dynamics = self._check_dynamics(dynamics)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """See `TaskVectorEnv`; seeds determine the noise at the start of this episode and the following ones."""
        for env, number in enumerate(self._seed_each(seed)):
            if number is not None:
                self._generators[env] = np.random.default_rng(number)
        self._playing = self.tasks
        self._parameters = np.stack([task.parameters for task in self._playing])
        self._playing_dynamics = self._dynamics
        keys = list(zip(self._playing, self._playing_dynamics, strict=True))
        fields = {
            (task, dynamics): scale_dynamics(self.family.model, self.family.fields(task.parameters), dynamics)
            for task, dynamics in set(keys)
        }
        self._fields = [fields[key] for key in keys]
        self._begin(np.ones(self.num_envs, dtype=np.bool_))
        return self._observations.copy(), {}

    def _begin(self, which: BoolArray) -> None:
        """Begins new episodes in the environments of a mask `(env,)`."""

        def begin(env: int, model: mujoco.MjModel) -> None:
            data = self._simulations[env].data
            self.family.begin(model, data, self._generators[env])
            mujoco.mj_getState(model, data, self._states[env], STATE)

        self._simulate(begin, which)()
        arrays = {name: values[which] for name, values in self._arrays.items()}
        self._observations[which] = self.family.observe(arrays)
        self._position[which] = self._start[which] = self.family.position(arrays)
        self._velocity[which] = 0.0
        self._elapsed[which] = 0

    def _simulate(self, work: Callable[[int, mujoco.MjModel], None], which: BoolArray) -> Callable[[], None]:
        """Has all threads call `work` for the environments of a mask, with their models, and copy their arrays.

        Returns:
            Function that waits for the threads, see `Workers.start`.
        """
        arrays = tuple(self._arrays.values())

        def on_chunk(envs: npt.NDArray[np.int64]) -> None:
            model = self._workers.model(self.family.name)
            for env in envs[which[envs]].tolist():
                work(env, model.become(self._fields[env]))
                for array, view in zip(arrays, self._simulations[env].views, strict=True):
                    array[env] = view

        return self._workers.start(on_chunk, self._chunks)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """See `TaskVectorEnv`; actions are torques as Gymnasium's robots take them, clipped to their limits."""
        self.send(actions)
        return self.receive()

    def send(self, actions: npt.NDArray[Any]) -> None:
        """See `TaskVectorEnv`."""
        if not self._playing:
            raise gym.error.ResetNeeded("call reset before step")
        self._sent = self._in_action_space(actions).astype(np.float64)
        self._actions[self._elapsed, np.arange(self.num_envs)] = self._sent
        self._diverged = np.zeros(self.num_envs, dtype=np.bool_)
        self._finish = self._advance(self._sent, self._diverged)

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        self._finish()
        self._elapsed += 1
        controls, diverged = self._sent, self._diverged
        with np.errstate(over="ignore", invalid="ignore"):  # from environments that diverged
            observations = self.family.observe(self._arrays)
            rewards, terminated = self._reward_and_terminate(controls)
        diverged |= ~np.isfinite(observations).all(axis=1)  # MuJoCo would find it in the next step
        at_horizon = self._elapsed == self.horizon
        truncated = at_horizon | diverged
        infos: dict[str, Any] = {"success": self._succeeded(at_horizon & ~diverged & ~terminated), "diverged": diverged}
        if diverged.any():
            infos["divergences"] = [self._divergence(int(env)) for env in np.flatnonzero(diverged)]
            observations[diverged], rewards[diverged], terminated[diverged] = self._observations[diverged], 0.0, False
        self._observations = observations
        ended = terminated | truncated
        if ended.any():
            infos |= {"final_obs": observations.copy(), "_final_obs": ended}
            self._begin(ended)
        return self._observations.copy(), rewards, terminated, truncated, infos

    def _advance(self, controls: FloatArray, diverged: BoolArray) -> Callable[[], None]:
        """Begins the physics steps of one step in all environments; they mark in `diverged` where they diverge."""

        def advance(env: int, model: mujoco.MjModel) -> None:
            simulation = self._simulations[env]
            simulation.control[:] = controls[env]
            mujoco.mj_step(model, simulation.data, self.family.frame_skip)
            if self.family.contact_forces:
                mujoco.mj_rnePostConstraint(model, simulation.data)
            diverged[env] = simulation.has_diverged()

        return self._simulate(advance, np.ones(self.num_envs, dtype=np.bool_))

    def _reward_and_terminate(self, controls: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Computes the rewards and terminations of the step just made."""
        position = np.array(self.family.position(self._arrays))
        # velocity = (position - previous position) / step duration
        self._velocity = (position - self._position) / self.family.step_duration
        self._position = position
        motion = Motion(self._arrays, self._velocity, position, controls, self._parameters)
        return self.family.reward(motion), self.family.terminated(self._arrays)

    def _succeeded(self, finished: BoolArray) -> BoolArray:
        """Returns true where an environment of the mask `(env,)`, all at the horizon, has solved its task."""
        success = np.zeros(self.num_envs, dtype=np.bool_)
        if finished.any():
            velocity = (self._position - self._start) / (self.horizon * self.family.step_duration)
            success[:] = finished & self.family.succeeded(self._parameters, velocity, self._position)
        return success

    def _divergence(self, env: int) -> Divergence:
        """Collects what it takes to replay an environment's episode."""
        actions = self._actions[: self._elapsed[env], env].copy()
        return Divergence(self._playing[env], self._states[env].copy(), actions, self._playing_dynamics[env])

    def simulation(self, env: int) -> mujoco.MjData:
        """Returns the simulator's data of one environment."""
        return self._simulations[env].data

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Draws one frame `(480, 480, 3)` per environment: the robot, and marks of its task.

        Raises:
            UserError: If the environments were not made to render.
        """
        if self.render_mode is None:
            return super().render()
        if not self._playing:
            raise gym.error.ResetNeeded("call reset before looking")
        scenes = [self.scene(env) for env in range(self.num_envs)]
        if self._painter is None:
            self._painter = Painter(scenes[0])
        return tuple(map(self._painter.draw, scenes))

    def scene(self, env: int = 0) -> Scene:
        """See `TaskVectorEnv`; marks what the task asks for, and what the robot does about it."""
        data = self._simulations[env].data
        marks = self.family.marks(self._parameters[env], data.xpos[ROBOT], self._velocity[env])
        return Scene(self.family.model, data, self.family.view, marks)

    def describe(self, env: int = 0) -> str:
        """See `TaskVectorEnv`: what the task asks for, and what the robot does about it."""
        text = self.family.describe(self._parameters[env], self._velocity[env], self._position[env])
        return text or super().describe(env)

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the threads and frees the simulators and the OpenGL context."""
        self._workers.close()
        self._simulations.clear()
        if self._painter is not None:
            self._painter.close()
            self._painter = None
