"""Checks that a task distribution keeps the contracts of `metarl_envs.core`, for this package's families and others."""

import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.task_effects import check_tasks
from metarl_envs.wrapped import SUCCESS_KEYS, WrappedDistribution

_KEYS = ("success", "final_obs", "_final_obs")


class _Step(NamedTuple):
    observations: npt.NDArray[Any]
    rewards: npt.NDArray[Any]
    terminated: npt.NDArray[Any]
    truncated: npt.NDArray[Any]
    infos: dict[str, Any]


def check_distribution(
    distribution: TaskDistribution, num_envs: int = 3, render: bool = False, random_tells: bool = True
) -> None:
    """Plays a distribution's environments with random actions and checks the results.

    Checks the splits and the drawing of meta-batches; shapes, dtypes, autoreset, truncation at the horizon and infos;
    that an environment's results depend on its task, seed and actions alone, neither on other environments nor on
    earlier episodes; that they do depend on the task; and that observations do not show it. Warns if a wrapped
    environment never tells of success.

    Args:
        distribution: The distribution to check; make it cheap to play, by a short horizon for example.
        num_envs: Number of environments to play at once, two or more.
        render: Draw a frame too.
        random_tells: False if random actions need not tell tasks apart, as with rewards for reaching the goal only.

    Raises:
        AssertionError: If the contract is broken; the message names how.
        UserError: If a wrapped environment does not answer as it declares.
    """
    _check_splits(distribution)
    _check_sampling(distribution)
    tasks = [distribution.train_tasks[index % len(distribution.train_tasks)] for index in range(num_envs)]
    others = [distribution.test_tasks[index % len(distribution.test_tasks)] for index in range(num_envs)]
    seeds = list(range(100, 100 + num_envs))
    actions = _random_actions(distribution, num_envs)
    env = distribution.make_env(num_envs)
    try:
        _check_declarations(distribution, env, num_envs)
        _check_refusals(env, tasks)
        first = _play(env, tasks, seeds, actions)
        _check_steps(env, first)
        _play(env, others, [seed + 1000 for seed in seeds], actions)
        _check_equal(first, _play(env, tasks, seeds[0], actions), "played again with the same tasks, seeds and actions")
    finally:
        env.close()
        env.close()  # closing twice must do no harm
    single = distribution.make_env(1)
    try:
        alone = _play(single, tasks[:1], seeds[:1], actions[:, :1])
    finally:
        single.close()
    _check_equal([_first_env(step) for step in first], alone, "played without the other environments")
    check_tasks(distribution, random_tells)
    if isinstance(distribution, WrappedDistribution) and not distribution.tells_success():
        warnings.warn(
            f"{distribution.name}: no step's info tells of success under any of {list(SUCCESS_KEYS)}, so that the"
            " success rate stays 0; add a key, or give WrappedDistribution a function `success`",
            stacklevel=2,
        )
    if render:
        _check_picture(distribution)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_splits(distribution: TaskDistribution) -> None:
    train, test = distribution.train_tasks, distribution.test_tasks
    _require(len(set(train)) == len(train), "a task is twice in train_tasks")
    _require(len(set(test)) == len(test), "a task is twice in test_tasks")
    _require(not set(train) & set(test) or not distribution.held_out, "a task is both in train_tasks and in test_tasks")
    _require(distribution.horizon >= 1, "horizon is below 1")


def _check_sampling(distribution: TaskDistribution) -> None:
    count = min(20, len(distribution.train_tasks))
    drawn, again = (distribution.sample(count, np.random.default_rng(0)) for _ in range(2))
    _require(drawn == again, "sample depends on more than its generator")
    _require(len(set(drawn)) == count, "sample repeats a task")
    _require(set(drawn) <= set(distribution.train_tasks), "sample draws a task that is not in train_tasks")


def _check_declarations(distribution: TaskDistribution, env: TaskVectorEnv, num_envs: int) -> None:
    observation, action = distribution.observation_space, distribution.action_space
    _require(isinstance(observation, gym.spaces.Box) and len(observation.shape) == 1, "observations are not a flat Box")
    _require(observation.dtype == np.float64, "observations are not float64")
    _require(
        isinstance(action, gym.spaces.Discrete) or (isinstance(action, gym.spaces.Box) and len(action.shape) == 1),
        "actions are neither a flat Box nor a Discrete",
    )
    _require(isinstance(env, TaskVectorEnv), "make_env does not make a TaskVectorEnv")
    _require(env.num_envs == num_envs, "num_envs is not what make_env was asked for")
    _require(env.horizon == distribution.horizon, "the environment has another horizon than the distribution")
    _require(env.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP, "the autoreset mode is not SAME_STEP")
    _require(env.single_observation_space == observation, "the environment has another single_observation_space")
    _require(env.single_action_space == action, "the environment has another single_action_space")
    for space, single in ((env.observation_space, observation), (env.action_space, action)):
        _require(space.shape == (num_envs, *(single.shape or ())), f"the shape of {space} is not (env, ...)")


def _check_refusals(env: TaskVectorEnv, tasks: list[Task]) -> None:
    for refused, command in (
        ("reset before set_tasks", env.reset),
        ("too few tasks", lambda: env.set_tasks(tasks[:-1])),
    ):
        try:
            command()
        except UserError:
            continue
        raise AssertionError(f"{refused} must raise UserError")


def _random_actions(distribution: TaskDistribution, num_envs: int) -> npt.NDArray[Any]:
    """Draws actions `(step, env, ...)` for one episode and the beginning of another."""
    space = deepcopy(distribution.action_space)
    space.seed(0)
    return np.array([[space.sample() for _ in range(num_envs)] for _ in range(distribution.horizon + 2)])


def _play(env: TaskVectorEnv, tasks: list[Task], seed: int | list[int], actions: npt.NDArray[Any]) -> list[_Step]:
    env.set_tasks(tasks)
    _require(env.tasks == tuple(tasks), "tasks is not what set_tasks was given")
    observations, _ = env.reset(seed=seed)
    nothing = np.zeros(env.num_envs)
    steps = [_Step(observations, nothing, nothing, nothing, {})]
    frozen = [deepcopy(steps[0])]
    for action in actions:
        observations, rewards, terminated, truncated, infos = env.step(action)
        infos = {key: infos[key] for key in _KEYS if key in infos}
        steps.append(_Step(observations, rewards, terminated, truncated, infos))
        frozen.append(deepcopy(steps[-1]))
    _check_equal(frozen, steps, "looked at again after later steps")
    return steps


def _check_steps(env: TaskVectorEnv, steps: list[_Step]) -> None:
    shape = (env.num_envs, *env.single_observation_space.shape)
    elapsed = np.zeros(env.num_envs, dtype=int)
    for number, step in enumerate(steps):
        where = f"step {number}"
        _require(step.observations.shape == shape, f"{where}: the shape of observations is not {shape}")
        _require(step.observations.dtype == np.float64, f"{where}: observations are not float64")
        _require(bool(np.isfinite(step.observations).all()), f"{where}: an observation is not finite")
        if number == 0:
            continue
        for name, dtype in (("rewards", np.float64), ("terminated", np.bool_), ("truncated", np.bool_)):
            _check_vector(getattr(step, name), env.num_envs, dtype, f"{where}: {name}")
        _check_vector(step.infos.get("success"), env.num_envs, np.bool_, f"{where}: infos['success']")
        ended = step.terminated | step.truncated
        elapsed += 1
        _require(bool(ended[elapsed == env.horizon].all()), f"{where}: an episode went on beyond the horizon")
        elapsed[ended] = 0
        _check_ends(step, ended, shape, where)


def _check_ends(step: _Step, ended: npt.NDArray[np.bool_], shape: tuple[int, ...], where: str) -> None:
    keys = {"final_obs", "_final_obs"} & step.infos.keys()
    if not ended.any():
        _require(not keys, f"{where}: {keys} although no episode ended")
        return
    _require(len(keys) == 2, f"{where}: final_obs or _final_obs is missing although an episode ended")
    _check_vector(step.infos["_final_obs"], len(ended), np.bool_, f"{where}: _final_obs")
    _require(bool((step.infos["_final_obs"] == ended).all()), f"{where}: _final_obs is not terminated | truncated")
    final = step.infos["final_obs"]
    _require(final.shape == shape and final.dtype == np.float64, f"{where}: final_obs is not float64 of shape {shape}")


def _check_vector(array: Any, length: int, dtype: Any, what: str) -> None:
    fits = isinstance(array, np.ndarray) and array.shape == (length,) and array.dtype == dtype
    _require(fits, f"{what} is not an array of shape ({length},) and type {np.dtype(dtype)}")


def _first_env(step: _Step) -> _Step:
    """Part of a step that belongs to environment 0."""
    infos = {key: value[:1] for key, value in step.infos.items()}
    if "_final_obs" in infos and not infos["_final_obs"][0]:
        infos = {"success": infos["success"]}
    return _Step(step.observations[:1], step.rewards[:1], step.terminated[:1], step.truncated[:1], infos)


def _check_equal(expected: list[_Step], found: list[_Step], when: str) -> None:
    for number, (one, other) in enumerate(zip(expected, found, strict=True)):
        for name in ("observations", "rewards", "terminated", "truncated"):
            _require(
                np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True),
                f"step {number}: {name} differ when {when}",
            )
        _require(one.infos.keys() == other.infos.keys(), f"step {number}: the keys of infos differ when {when}")
        rows = one.infos.get("_final_obs", slice(None))
        for key in one.infos:
            a, b = one.infos[key], other.infos[key]
            same = np.array_equal(a[rows], b[rows], equal_nan=True) if key == "final_obs" else np.array_equal(a, b)
            _require(same, f"step {number}: infos['{key}'] differs when {when}")


def _check_picture(distribution: TaskDistribution) -> None:
    env = distribution.make_env(1, render_mode="rgb_array")
    try:
        env.set_tasks(distribution.train_tasks[:1])
        env.reset(seed=0)
        (frame,) = env.render()
        shaped = frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[-1] == 3
        _require(shaped, "a frame is not uint8 of shape (height, width, 3)")
        _require(len(np.unique(frame)) > 1, "a frame shows nothing")
    finally:
        env.close()
