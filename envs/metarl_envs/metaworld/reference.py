"""Meta-World's own environment classes, unmodified, behind the contract `TaskVectorEnv`: the reference, and slow."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import metaworld
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl_envs.core import FloatArray, StepResult, Task, TaskVectorEnv
from metarl_envs.errors import UserError, unknown
from metarl_envs.painting import Painter
from metarl_envs.scenes import Mark, Scene, View

_MOST_DRAWS = 20
"""Draws of the same parameters in a reset, after which it would never end; classes draw once or twice."""
_VIEW = View(look_at=(-0.02, 0.64, 0.18), distance=1.6, azimuth=143.0, elevation=-30.0)
"""Robot and table from the robot's right. Of Meta-World's cameras "corner2" is upside down, others miss one of them."""
_GOAL_RADIUS = 0.04
MAX_HORIZON = SawyerXYZEnv.max_path_length
"""Longest episode of Meta-World's environments; they refuse further steps."""


ACTION_SPACE = gym.spaces.Box(-1.0, 1.0, shape=(4,), dtype=np.float32)
GOAL = slice(36, 39)
"""The observation's elements that show the goal, or are 0."""


def observation_space(goal_visible: bool) -> gym.spaces.Box:
    """Makes the observation space of all Meta-World environments, without the cost of making one.

    Args:
        goal_visible: The last three elements are the goal, without bounds since these differ between classes; else 0.
    """
    hand, gripper, objects = SawyerXYZEnv._HAND_SPACE, np.ones(1), np.full(14, np.inf)
    goal = np.full(3, np.inf if goal_visible else 0.0)
    low = [hand.low, -gripper, -objects]
    high = [hand.high, gripper, objects]
    # two frames, the current one first
    return gym.spaces.Box(np.concatenate([*low, *low, -goal]), np.concatenate([*high, *high, goal]), dtype=np.float64)


Reward = Literal["v1", "v2"]
"""Versions of Meta-World's reward functions: v2 is 0 to 10 per step; v1 differs between classes, up to thousands."""


class ReferenceVectorEnv(TaskVectorEnv):
    """Steps Meta-World environments one after the other, in this process.

    A task is a class of Meta-World and its `rand_vec`, which determine a reset entirely; seeds have no effect. No
    episode terminates, so all are truncated together. Actions are converted to float64, because Meta-World would
    compute rewards in float32 otherwise; it clips them itself. Environment objects (20 to 30 MB each) are kept and
    reused for other tasks of their class; a class has as many as it ever played at the same time.

    Args:
        num_envs: Number of environments.
        horizon: Steps after which an episode is truncated, 1 to 500.
        render_mode: None, or "rgb_array" for `render`, with a single environment.
        reward: Version of Meta-World's reward functions.
        goal_visible: Show the goal in the observation's last three elements, which are 0 otherwise.

    Raises:
        UserError: If an argument is out of its range.
    """

    metadata = TaskVectorEnv.metadata | {
        "render_modes": ["rgb_array"],
        "render_fps": SawyerXYZEnv.metadata["render_fps"],
    }

    def __init__(
        self,
        num_envs: int,
        horizon: int = MAX_HORIZON,
        render_mode: str | None = None,
        reward: Reward = "v2",
        goal_visible: bool = False,
    ) -> None:
        if num_envs < 1:
            raise UserError(f"num_envs must be at least 1, not {num_envs}")
        check_horizon(horizon)
        if render_mode not in (None, "rgb_array"):
            raise unknown("render mode", str(render_mode), ["rgb_array"])
        if render_mode is not None and num_envs > 1:
            raise UserError(f"Meta-World renders a single environment per process: num_envs must be 1, not {num_envs}")
        self.num_envs = num_envs
        self.horizon = horizon
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = observation_space(goal_visible), ACTION_SPACE
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(ACTION_SPACE, num_envs)
        self._reward, self._goal_visible = reward, goal_visible
        self._pool: defaultdict[str, list[SawyerXYZEnv]] = defaultdict(list)
        self._playing: list[SawyerXYZEnv] = []
        self._elapsed = 0
        self._painter: Painter | None = None

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assigns `tasks[i]` to environment `i`, from the next `reset` on.

        Raises:
            UserError: If the number of tasks is not `num_envs`, or one is not a task of Meta-World.
        """
        tasks = self._check_count(tasks)
        for task in tasks:
            self._check_task(task)
        self.tasks = tasks

    def _check_task(self, task: Task) -> None:
        if task.name not in ALL_V3_ENVIRONMENTS:
            raise unknown("Meta-World task", task.name, ALL_V3_ENVIRONMENTS)
        if not self._pool[task.name]:
            self._add_env(task.name)
        space = self._pool[task.name][0]._random_reset_space
        assert space is not None  # each class sets its own
        if not space.contains(task.parameters):
            raise UserError(f"{task} is out of Meta-World's range: its rand_vec lies in {space.low} to {space.high}")

    def _add_env(self, name: str) -> None:
        self._pool[name].append(ALL_V3_ENVIRONMENTS[name](reward_function_version=self._reward))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins a new episode in every environment; seeds are checked but have no effect.

        Returns:
            Observations `(env, 39)` and an empty dictionary.

        Raises:
            UserError: Before the first `set_tasks`, or if the number of seeds is not `num_envs`.
        """
        self._seed_each(seed)
        self._playing = []
        taken: Counter[str] = Counter()
        for task in self.tasks:
            if taken[task.name] == len(self._pool[task.name]):
                self._add_env(task.name)
            env = self._pool[task.name][taken[task.name]]
            taken[task.name] += 1
            env.set_task(encode(task, self._goal_visible))
            self._playing.append(env)
        return self._begin_episodes(), {}

    def _begin_episodes(self) -> FloatArray:
        self._elapsed = 0
        return np.stack([reset_task(env, task) for env, task in zip(self._playing, self.tasks, strict=True)])

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Makes one step in every environment.

        Args:
            actions: The hand's move in x, y and z and the gripper's effort, each -1 to 1, `(env, 4)`.

        Returns:
            Observations `(env, 39)`; rewards (0 to 10), terminated and truncated, each `(env,)`; and `infos`.
        """
        if not self._playing:
            raise gym.error.ResetNeeded("call reset before step")
        observations = np.empty((self.num_envs, *self.single_observation_space.low.shape))
        rewards = np.empty(self.num_envs)
        success = np.empty(self.num_envs, dtype=np.bool_)
        for i, (env, action) in enumerate(zip(self._playing, np.asarray(actions, dtype=np.float64), strict=True)):
            observations[i], rewards[i], _, _, info = env.step(action)
            success[i] = info["success"]
        self._elapsed += 1
        terminated = np.zeros(self.num_envs, dtype=np.bool_)
        truncated = np.full(self.num_envs, self._elapsed == self.horizon)
        infos: dict[str, Any] = {"success": success}
        if self._elapsed == self.horizon:
            infos |= {"final_obs": observations, "_final_obs": truncated.copy()}
            observations = self._begin_episodes()
        return observations, rewards, terminated, truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Draws one frame `(480, 480, 3)` of the only environment, with the goal as a green ball.

        Raises:
            UserError: If the environment was not made with `render_mode="rgb_array"`.
        """
        if self.render_mode is None:
            return super().render()
        scene = self.scene()
        if self._painter is None or self._painter.model is not scene.model:
            self._close_painter()
            self._painter = Painter(scene)
        return (self._painter.draw(scene),)

    def scene(self, env: int = 0) -> Scene:
        """See `TaskVectorEnv`; marks the goal by a green ball, in place of Meta-World's marks.

        A step moves those back to their places in the model file, and some do not mark the goal.
        """
        playing = self._only_env()
        return Scene(playing.model, playing.data, _VIEW, (Mark(self._goal(), _GOAL_RADIUS),), sites=False)

    def describe(self, env: int = 0) -> str:
        """See `TaskVectorEnv`: the hidden goal."""
        return "hidden goal x {:.2f}, y {:.2f}, z {:.2f} m".format(*self._goal())

    def _goal(self) -> tuple[float, float, float]:
        target = self._only_env()._target_pos
        assert target is not None  # set by a reset
        x, y, z = target.tolist()
        return x, y, z

    def _only_env(self) -> SawyerXYZEnv:
        if not self._playing:
            raise gym.error.ResetNeeded("call reset before looking")
        (env,) = self._playing
        return env

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the simulators and the OpenGL context."""
        self._close_painter()
        self._playing = []
        self._pool.clear()

    def _close_painter(self) -> None:
        if self._painter is not None:
            self._painter.close()
            self._painter = None


def check_horizon(horizon: int) -> None:
    """Checks that Meta-World can play episodes of this many steps.

    Raises:
        UserError: If the horizon is out of its range.
    """
    if not 1 <= horizon <= MAX_HORIZON:
        raise UserError(f"horizon must be 1 to {MAX_HORIZON} steps in Meta-World, not {horizon}")


def reset_task(env: SawyerXYZEnv, task: Task) -> FloatArray:
    """Resets an environment whose task is set, and returns the first observation `(39,)`.

    Some classes draw again until goal and object are far enough apart; with the parameters of a task, which are always
    the same, they would do so for ever.

    Raises:
        UserError: If Meta-World would draw the same parameters again and again.
    """
    original, draws = env._get_state_rand_vec, 0

    def draw() -> FloatArray:
        nonlocal draws
        draws += 1
        if draws > _MOST_DRAWS:
            raise UserError(
                f"{task}: Meta-World refuses these parameters, and would draw the same ones again for ever; most likely"
                " goal and object are too close together"
            )
        return np.asarray(original())

    env._get_state_rand_vec = draw  # type: ignore[method-assign]
    try:
        return np.asarray(env.reset()[0])
    finally:
        del env._get_state_rand_vec  # the method of the class again


def encode(task: Task, goal_visible: bool = False) -> metaworld.types.Task:
    """Encodes a task for Meta-World's environment objects, with the goal hidden or visible."""
    env_class = ALL_V3_ENVIRONMENTS[task.name]
    data = {"rand_vec": task.parameters, "env_cls": env_class, "partially_observable": not goal_visible}
    return metaworld._encode_task(task.name, data)
