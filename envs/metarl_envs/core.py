"""The three contracts of this package: a task, a distribution over tasks, and a vector of environments with tasks."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl_envs.counts import check_counts
from metarl_envs.dynamics import Dynamics
from metarl_envs.errors import UserError
from metarl_envs.scenes import Scene

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_MOST_SHOWN = 10
"""Largest number of a task's parameters that a description shows."""
StepResult = tuple[npt.NDArray[Any], FloatArray, BoolArray, BoolArray, dict[str, Any]]


class Task:
    """One member of a task distribution: a name and the numbers that distinguish tasks of this name. Immutable.

    Args:
        name: Class of the task, such as "reach-v3"; results are reported per name.
        parameters: Numbers that distinguish tasks of one name, such as a goal or a velocity; copied to a read-only
            float64 array.
    """

    def __init__(self, name: str, parameters: Sequence[float | int] | npt.NDArray[Any]) -> None:
        self.name = name
        self.parameters: FloatArray = np.array(parameters, dtype=np.float64)
        self.parameters.setflags(write=False)

    @cached_property
    def id(self) -> str:
        """Stable identifier: 16 hexadecimal digits of the SHA-256 of name, shape and parameters."""
        digest = hashlib.sha256(self.name.encode() + b"\0" + str(self.parameters.shape).encode())
        digest.update(self.parameters.astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Task({self.name!r}, {self.parameters.tolist()})"


Expert = Callable[[Sequence[Task], FloatArray], npt.NDArray[Any]]
"""Chooses actions `(row, action)` that solve the task of each row, from the tasks and from observations `(row, obs)` as
the family's environments give them, even if these hide the tasks. It has no memory: rows are independent."""


class TaskVectorEnv(VectorEnv[Any, Any, Any], ABC):
    """Gymnasium vector environment in which each sub-environment plays its own task.

    The contract beyond `gymnasium.vector.VectorEnv`:

    - `set_tasks` gives each sub-environment its task; the tasks take effect at the next `reset`.
    - Autoreset is SAME_STEP: the observation returned with an episode's last step belongs to the next episode of the
      same task. The episode's final observation is in `infos["final_obs"]`, an array `(env, *obs)` that is valid where
      the mask `infos["_final_obs"]`, `(env,)`, is true. Both keys exist only when an episode ended.
    - `infos["success"]`, a boolean array `(env,)`, is true where the step just made solved the task. Success does not
      end an episode; the horizon does, by truncation.
    - `infos["diverged"]`, `(env,)`, exists where a physics engine checks itself, and is true where the state became
      huge or not finite in the step just made. The episode is truncated there, `final_obs` is the last good
      observation, and `infos["divergences"]` lists a `metarl_envs.divergence.Divergence` for each. Learners must
      ignore such a step.
    - `reset(seed=[...])` takes one seed per sub-environment and makes everything after it reproducible.
    - `render` returns one uint8 frame `(height, width, 3)` per sub-environment, if `render_mode` is "rgb_array".

    Subclasses set `num_envs`, the four spaces and `horizon`, and implement `set_tasks`, `reset` and `step`. Those that
    can step while the caller does something else implement `step` by `send` and `receive`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  (Gymnasium's declaration)
    single_observation_space: gym.spaces.Box
    single_action_space: gym.spaces.Box | gym.spaces.Discrete
    horizon: int
    """Steps after which an episode is truncated."""
    has_dynamics: bool = False
    """True if `set_dynamics` can change masses, friction and damping."""

    tasks: tuple[Task, ...] = ()
    """Task of each sub-environment, as last set; empty before the first `set_tasks`."""

    @abstractmethod
    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Assigns `tasks[i]` to sub-environment `i`, from the next `reset` on.

        Raises:
            UserError: If the number of tasks is not `num_envs`, or a task is not of this family.
        """

    @abstractmethod
    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Begins a new episode in every sub-environment.

        Args:
            seed: One seed per sub-environment, or an integer that counts up from the first one; None lets each
                continue its own stream of random numbers.
            options: As in Gymnasium; passed to wrapped environments, ignored by the others.

        Returns:
            Observations `(env, obs)` and an empty dictionary.

        Raises:
            UserError: Before the first `set_tasks`, or if the number of seeds is not `num_envs`.
        """

    @abstractmethod
    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Makes one step in every sub-environment.

        Args:
            actions: `(env, action)`, or `(env,)` where actions are discrete.

        Returns:
            Observations `(env, obs)`; rewards, terminated and truncated, each `(env,)`; and `infos`, see the class.
        """

    def set_dynamics(self, dynamics: Sequence[Dynamics]) -> None:
        """Scales masses, friction and damping of sub-environment `i` by `dynamics[i]`, from the next `reset` on.

        Raises:
            UserError: If there is no simulator that can do so, or the number of `dynamics` is not `num_envs`.
        """
        raise UserError(f"{type(self).__name__} has no simulator whose masses, friction and damping could be changed")

    def send(self, actions: npt.NDArray[Any]) -> None:
        """Begins a step, whose result `receive` returns; call nothing else in between. See `step`."""
        self._sent = actions

    def receive(self) -> StepResult:
        """Returns the result of the step begun by `send`."""
        return self.step(self._sent)

    def render(self) -> tuple[npt.NDArray[np.uint8], ...]:
        """Draws one frame `(height, width, 3)` per sub-environment.

        Raises:
            UserError: If the environments were not made to render.
        """
        raise UserError(f"{type(self).__name__} does not render: make it with render_mode='rgb_array' where it can")

    def scene(self, env: int = 0) -> Scene | None:
        """Returns what MuJoCo simulates in a sub-environment, as it is now; None where MuJoCo does not simulate it.

        Only for environments made to render, which are in this process, after a `reset`.
        """
        return None

    def describe(self, env: int = 0) -> str:
        """Describes the task of a sub-environment, and where the episode stands with it, in a line for pictures."""
        return describe_parameters(self.tasks[env])

    def _check_count(self, tasks: Sequence[Task]) -> tuple[Task, ...]:
        if len(tasks) != self.num_envs:
            raise UserError(f"set_tasks needs one task per environment: got {len(tasks)} for {self.num_envs}")
        return tuple(tasks)

    def _check_dynamics(self, dynamics: Sequence[Dynamics]) -> tuple[Dynamics, ...]:
        if len(dynamics) != self.num_envs:
            raise UserError(f"set_dynamics needs one per environment: got {len(dynamics)} for {self.num_envs}")
        return tuple(dynamics)

    def _in_action_space(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Converts actions to the action space's dtype and clips them to its bounds; checks their shape."""
        space = self.single_action_space
        array = np.asarray(actions, dtype=space.dtype)
        if array.shape != self.action_space.shape:
            raise ValueError(f"actions must have shape {self.action_space.shape}, not {array.shape}")
        return np.clip(array, space.low, space.high) if isinstance(space, gym.spaces.Box) else array

    def _seed_each(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        """Returns one seed per sub-environment from the argument of `reset`."""
        if not self.tasks:
            raise UserError("call set_tasks before reset: the environments have no tasks yet")
        if seed is None:
            return [None] * self.num_envs
        if not isinstance(seed, Sequence | np.ndarray):  # an int, also of NumPy
            return [int(seed) + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise UserError(f"reset needs one seed per environment: got {len(seed)} for {self.num_envs}")
        return [None if each is None else int(each) for each in seed]


def describe_parameters(task: Task) -> str:
    """Describes a task by its parameters, the first ten if there are more."""
    values = task.parameters.ravel()
    more = ", ..." if values.size > _MOST_SHOWN else ""
    return f"parameters {', '.join(f'{value:.4g}' for value in values[:_MOST_SHOWN])}{more}"


class TaskDistribution(ABC):
    """Family of tasks, split into training tasks and held-out test tasks that do not overlap.

    A family with a fixed few tasks, all of them trained on, has none to hold out. It sets `held_out=False`, and
    evaluation does not call its test tasks held-out.

    Args:
        name: Name in results, such as "ML1-reach-v3".
        train_tasks: Tasks that meta-training draws from.
        test_tasks: Held-out tasks.
        observation_space: Flat `Box` of a single environment.
        action_space: Flat `Box` or `Discrete` of a single environment.
        horizon: Steps per episode.
        held_out: False if the splits may overlap.

    Raises:
        UserError: If the horizon is not a whole number from 1 to a million, a split is empty, or the splits overlap
            although `held_out` is true.
    """

    simulated: bool = True
    """False if there are no environments, as the tasks are known from demonstrations only."""
    renderable: bool = True
    """True if `make_env(..., render_mode="rgb_array")` can draw this family."""
    positions: tuple[tuple[int, int, int], ...] = ()
    """Indices of the observation's elements that are positions in space, x, y and z of each, all in one frame of
    reference; a position of three zeros stands for an object that is not there."""
    task_visible: bool = False
    """True if observations may show a task entirely, so that nothing is left to find out in some tasks."""
    shown: str = ""
    """Name of the part of a task that observations show on request, such as "goal"; in the fingerprint."""
    workers: int | None = None
    """Number of processes or threads that `make_env` lets step its environments; None is one per core."""

    def __init__(
        self,
        name: str,
        train_tasks: Sequence[Task],
        test_tasks: Sequence[Task],
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        horizon: int,
        held_out: bool = True,
    ) -> None:
        check_counts(horizon=horizon)
        if not train_tasks or not test_tasks:
            raise UserError(f"{name}: needs at least one training task and one test task")
        shared = set(train_tasks) & set(test_tasks)
        if shared and held_out:
            raise UserError(
                f"{name}: {len(shared)} tasks are both in training and in test, such as {min(shared, key=str)}"
            )
        self.name = name
        self.train_tasks = tuple(train_tasks)
        self.test_tasks = tuple(test_tasks)
        self.observation_space = observation_space
        self.action_space = action_space
        self.horizon = int(horizon)
        self.held_out = held_out

    @abstractmethod
    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        """Makes `num_envs` environments for tasks of this family, in as many processes or threads as `workers` says.

        When rendering, they are in this process.
        """

    def expert(self) -> Expert | None:
        """Makes the scripted expert of the family's training tasks, which is told the task; None without one."""
        return None

    def sample(self, count: int, rng: np.random.Generator) -> list[Task]:
        """Draws training tasks without replacement, the same number of each name up to one.

        Args:
            count: Number of tasks to draw.
            rng: The source of randomness; the result depends on nothing else.

        Raises:
            UserError: If there are fewer than `count` training tasks.
        """
        if count > len(self.train_tasks):
            raise UserError(
                f"meta-batch of {count} is larger than the {len(self.train_tasks)} training tasks of {self.name}"
            )
        return draw_balanced(self.train_tasks, count, rng)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of both splits, their order and what is shown of the tasks.

        A checkpoint is resumed only with the fingerprint it was trained on.
        """
        digest = hashlib.sha256()
        for task in (*self.train_tasks, None, *self.test_tasks):
            digest.update(b"|" if task is None else task.id.encode())
        if self.shown:
            digest.update(b"|" + self.shown.encode())
        return digest.hexdigest()[:16]


def draw_balanced(tasks: Sequence[Task], count: int, rng: np.random.Generator) -> list[Task]:
    """Draws tasks without replacement, the same number of each name up to one.

    Args:
        tasks: Tasks to draw from.
        count: Number of tasks to draw; all, if there are fewer.
        rng: The source of randomness; the result depends on nothing else.
    """
    by_name: dict[str, list[Task]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    groups = [[group[index] for index in rng.permutation(len(group))] for group in by_name.values()]
    drawn: list[Task] = []
    while len(drawn) < min(count, len(tasks)):  # one round takes one task of each name, names in random order
        for group in (groups[index] for index in rng.permutation(len(groups))):
            if group and len(drawn) < count:
                drawn.append(group.pop())
    return drawn
