"""Point navigation in the plane, the first experiment of the MAML paper (Finn et al. 2017, section 5.3).

A point starts at the origin and should move to a hidden goal. Two details differ from the paper's text. The reward is
minus the *distance* to the goal after the move, as in the authors' code; with the squared distance of the text, the
published return of about -40 before adaptation could not occur. And an episode always lasts the full horizon, as
everywhere in this package; the paper ends it within 0.01 of the goal, where a step costs less than 0.01.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector.utils import batch_space
from PIL import Image, ImageDraw

from metarl_envs.core import Expert, FloatArray, StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.counts import Count, Seed, check_counts, check_seed
from metarl_envs.errors import UserError

MAX_STEP = 0.1
"""Largest move of the point in a step, along each axis."""
GOAL_RANGE = 0.5
"""Goals are uniform in `[-GOAL_RANGE, GOAL_RANGE]` along each axis."""
SUCCESS_DISTANCE = 0.01
"""Largest distance from the goal at which a step is a success."""

_NAME = "navigation"
_OBSERVATION_SPACE = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
_ACTION_SPACE = gym.spaces.Box(-MAX_STEP, MAX_STEP, (2,), np.float64)
_PICTURE_SIZE = 480
_PICTURE_RANGE = 0.75
"""Frames show `[-_PICTURE_RANGE, _PICTURE_RANGE]` along each axis."""


class Navigation(TaskDistribution):
    """Goals drawn uniformly from a square; a task's parameters are its goal, shape `(2,)`.

    Args:
        num_train_tasks: Number of training goals.
        num_test_tasks: Number of held-out goals.
        horizon: Steps per episode; 100 in the paper.
        seed: Seed of the drawn goals.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self,
        num_train_tasks: Count = 1000,
        num_test_tasks: Count = 40,
        horizon: Count = 100,
        seed: Seed = 1,
    ) -> None:
        check_counts(num_train_tasks=num_train_tasks, num_test_tasks=num_test_tasks, horizon=horizon)
        check_seed(seed)
        train, test = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
        splits = _draw(train, num_train_tasks), _draw(test, num_test_tasks)
        super().__init__(_NAME, *splits, _OBSERVATION_SPACE, _ACTION_SPACE, horizon)

    def make_env(self, num_envs: int, render_mode: str | None = None) -> "NavigationVectorEnv":
        """Makes a vector of environments, which step in this process as one array operation."""
        return NavigationVectorEnv(num_envs, self.horizon, render_mode)

    def expert(self) -> Expert:
        """See `TaskDistribution`; the expert earns the `optimal_return`."""
        return _go_straight


class NavigationVectorEnv(TaskVectorEnv):
    """Points that move in the plane: observations are positions, actions are moves, nothing is random.

    Args:
        num_envs: Number of environments.
        horizon: Steps after which an episode is truncated.
        render_mode: None, or "rgb_array" for `render`.

    Raises:
        UserError: If the render mode is another one.
    """

    def __init__(self, num_envs: int, horizon: int, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"navigation has no render mode '{render_mode}': use 'rgb_array'")
        self.num_envs = num_envs
        self.horizon = horizon
        self.render_mode = render_mode
        self.single_observation_space = _OBSERVATION_SPACE
        self.single_action_space = _ACTION_SPACE
        self.observation_space = batch_space(_OBSERVATION_SPACE, num_envs)
        self.action_space = batch_space(_ACTION_SPACE, num_envs)
        self._path = np.zeros((horizon + 1, num_envs, 2))
        """Positions of the current episode, `(step, env, 2)`."""
        self._elapsed = 0

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Gives point `i` the goal of `tasks[i]`, from the next `reset` on."""
        checked = self._check_count(tasks)
        for task in checked:
            if task.name != _NAME or task.parameters.shape != (2,):
                raise UserError(f"{task} is not a navigation task")
        self.tasks = checked

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Puts every point at the origin."""
        self._seed_each(seed)
        self._goals = np.stack([task.parameters for task in self.tasks])
        self._elapsed = 0
        return self._path[0].copy(), {}

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Moves every point, by at most `MAX_STEP` along each axis."""
        # x' = x + clip(action, -0.1, 0.1);  reward = -|x' - goal|
        positions = self._path[self._elapsed] + self._in_action_space(actions)
        self._elapsed += 1
        self._path[self._elapsed] = positions
        distances = np.linalg.norm(positions - self._goals, axis=-1)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        infos: dict[str, Any] = {"success": distances <= SUCCESS_DISTANCE}
        if self._elapsed == self.horizon:
            truncated[:] = True
            infos |= {"final_obs": positions, "_final_obs": truncated.copy()}
            positions = self._path[0].copy()
            self._elapsed = 0
        return positions, -distances, terminated, truncated, infos

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Draws one frame `(480, 480, 3)` per point: its goal, its position and its path."""
        if self.render_mode is None:
            return super().render()
        paths = self._path[: self._elapsed + 1]
        return tuple(_picture(paths[:, index], self._goals[index]) for index in range(self.num_envs))

    def describe(self, env: int = 0) -> str:
        """See `TaskVectorEnv`: the goal, and the distance to it."""
        x, y = goal = self._goals[env]
        distance = np.linalg.norm(self._path[self._elapsed, env] - goal)
        return f"hidden goal x {x:.2f}, y {y:.2f}; distance {distance:.2f}"


def optimal_return(task: Task, horizon: int) -> float:
    """Highest return of an episode: the point approaches the goal along each axis at full speed, then stays.

    No other path is closer along any axis at any step, so none has a higher reward at any step.
    """
    steps = np.arange(1, horizon + 1)[:, None]
    # return = -sum_t |max(|goal| - 0.1 t, 0)|, the maximum along each axis
    left = np.maximum(np.abs(task.parameters) - MAX_STEP * steps, 0.0)
    return -float(np.linalg.norm(left, axis=-1).sum())


def _go_straight(tasks: Sequence[Task], observations: FloatArray) -> FloatArray:
    """Moves each point towards its goal, along each axis as far as a step allows."""
    # a = clip(goal - x, -0.1, 0.1)
    return np.clip(np.stack([task.parameters for task in tasks]) - observations, -MAX_STEP, MAX_STEP)


def _draw(rng: np.random.Generator, count: int) -> list[Task]:
    return [Task(_NAME, goal) for goal in rng.uniform(-GOAL_RANGE, GOAL_RANGE, (count, 2))]


def _picture(path: FloatArray, goal: FloatArray) -> npt.NDArray[np.uint8]:
    image = Image.new("RGB", (_PICTURE_SIZE, _PICTURE_SIZE), "white")
    draw = ImageDraw.Draw(image)
    corners = _pixels(np.array([[-GOAL_RANGE, GOAL_RANGE], [GOAL_RANGE, -GOAL_RANGE]]))
    draw.rectangle(corners, outline="lightgray")
    draw.circle(_pixels(goal[None])[0], 10, fill="limegreen")
    points = _pixels(path)
    draw.line(points, fill="gray", width=2)
    draw.circle(points[-1], 6, fill="royalblue")
    return np.asarray(image)


def _pixels(positions: FloatArray) -> list[tuple[float, float]]:
    unit = (positions * (1, -1) + _PICTURE_RANGE) / (2 * _PICTURE_RANGE)
    return [(float(x), float(y)) for x, y in unit * _PICTURE_SIZE]
