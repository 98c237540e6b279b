"""Step-by-step comparison of the engine with Meta-World's own environments, for tests of these and further classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal, get_args

import gymnasium as gym
import metaworld
import mujoco
import numpy as np
import numpy.typing as npt
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from metarl_envs.core import FloatArray, Task
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.reference import encode

Drive = Literal["expert", "random", "mix"]
"""Source of the actions: Meta-World's scripted expert, uniform noise, or both in turns of 20 steps."""
DRIVES: tuple[Drive, ...] = get_args(Drive)

INFO = ("near_object", "grasp_reward", "grasp_success", "in_place_reward", "obj_to_target", "unscaled_reward")
TOLERANCES = {"physics": 0.0, "observation": 1e-12, "reward": 1e-9, "success": 0.0} | dict.fromkeys(INFO, 1e-9)
"""Largest allowed absolute differences; relative ones for rewards and entries of `info` beyond 1."""


def differences(task: Task, drive: Drive, steps: int, seed: int, goal_visible: bool = False) -> dict[str, float]:
    """Plays one episode in the engine and in a fresh environment of Meta-World's, under the same actions.

    Args:
        task: Task to play.
        drive: Source of the actions.
        steps: Number of steps, at most 500.
        seed: Seed of the noise.
        goal_visible: Compare observations that show the goal.

    Returns:
        The largest difference of each entry of `TOLERANCES`, and "expert success": 1 if the expert solved the task in
        Meta-World's environment, else 0.
    """
    reference = ALL_V3_ENVIRONMENTS[task.name](reward_function_version="v2")
    reference.set_task(encode(task, goal_visible))
    act = _driver(task.name, drive, np.random.default_rng(seed))
    largest = dict.fromkeys(TOLERANCES, 0.0)
    solved = False
    engine = MetaWorldEngine(1, steps, threads=1, grasp_success=True, goal_visible=goal_visible)
    with closing(engine):
        engine.set_tasks([task])
        expected, _ = reference.reset()
        observed, _ = engine.reset()
        for number in range(steps):
            _note(largest, "observation", observed[0], expected)
            action = act(number, expected, reference._target_pos)
            expected, reward, _, _, info = reference.step(action)
            observed, rewards, _, _, infos = engine.step(action[None])
            observed = infos.get("final_obs", observed)
            _note(largest, "reward", rewards[0], float(reward))
            _note(largest, "success", float(infos["success"][0]), float(info["success"]))
            for name in INFO:
                _note(largest, name, infos[name][0], float(info[name]))
            if number < steps - 1:  # after the last step the engine has begun the next episode
                for mine, theirs in zip(_physics(engine), (reference.data.qpos, reference.data.qvel), strict=True):
                    _note(largest, "physics", mine, theirs)
            solved |= bool(info["success"])
    return largest | {"expert success": float(solved and drive == "expert")}


def _driver(name: str, drive: Drive, rng: np.random.Generator) -> Callable[[int, FloatArray, Any], FloatArray]:
    policy: Any = ENV_POLICY_MAP[name]() if name in ENV_POLICY_MAP else None  # type: ignore[abstract]

    def act(number: int, observation: FloatArray, target: Any) -> FloatArray:
        noise = rng.uniform(-1, 1, 4)
        if policy is None or drive == "random" or (drive == "mix" and number // 20 % 2):
            return noise
        seeing = np.concatenate([observation[:36], target])
        with warnings.catch_warnings(action="ignore"):  # experts exceed 1, rely on clipping, and warn
            return np.clip(np.asarray(policy.get_action(seeing), dtype=np.float64), -1, 1)

    return act


def _physics(engine: MetaWorldEngine) -> Iterator[FloatArray]:
    data: mujoco.MjData = engine.simulation(0)
    yield data.qpos
    yield data.qvel


def _note(largest: dict[str, float], what: str, mine: FloatArray | float, theirs: FloatArray | float) -> None:
    scale = 1.0 if what in ("physics", "observation", "success") else np.maximum(1.0, np.abs(theirs))
    largest[what] = max(largest[what], float(np.max(np.abs(np.asarray(mine) - theirs) / scale)))


def multi_task_differences(
    benchmark: str, steps: int, horizon: int, seed: int, use_one_hot: bool
) -> tuple[dict[str, float], list[str]]:
    """Plays a multi-task benchmark by `gymnasium.make_vec` here and in Meta-World, under the same random actions.

    Args:
        benchmark: "MT10", "MT25" or "MT50".
        steps: Number of steps.
        horizon: Steps per episode; another goal is drawn at each end.
        seed: Seed of the goals, of their drawing and of the actions.
        use_one_hot: Append the class to observations.

    Returns:
        The largest differences of observations, rewards and successes; and the classes in their order.
    """
    mine: Any = gym.make_vec(f"metarl/{benchmark}-v0", seed=seed, use_one_hot=use_one_hot, horizon=horizon)
    classes = [task.name for task in mine.unwrapped.tasks]
    with warnings.catch_warnings(action="ignore"):  # with the class, Meta-World's observations are in float32
        theirs: Any = metaworld.make_mt_envs(
            benchmark, seed=seed, use_one_hot=use_one_hot, num_tasks=len(classes), max_episode_steps=horizon
        )
    largest = dict.fromkeys(("observation", "reward", "success"), 0.0)
    rng = np.random.default_rng(seed)
    with closing(theirs), closing(mine):
        _note_rounded(largest, mine.reset()[0], theirs.reset()[0])
        for _ in range(steps):
            actions = rng.uniform(-1, 1, (mine.num_envs, 4))
            observations, rewards, _, _, infos = mine.step(actions)
            expected, expected_rewards, _, _, expected_infos = theirs.step(actions)
            _note_rounded(largest, observations, expected)
            _note(largest, "reward", rewards, expected_rewards)
            last = expected_infos.get("final_info", expected_infos)  # all episodes end together
            _note(largest, "success", infos["success"].astype(float), last["success"].astype(float))
            if "final_obs" in infos:
                _note_rounded(largest, infos["final_obs"], np.stack(list(expected_infos["final_obs"])))
    return largest, classes


def _note_rounded(largest: dict[str, float], mine: FloatArray, theirs: npt.NDArray[Any]) -> None:
    """Notes the difference of observations beyond the precision of Meta-World's, which may be float32."""
    precision = np.finfo(theirs.dtype).eps * np.abs(mine)
    beyond = np.maximum(np.abs(mine - theirs) - precision, 0.0)
    _note(largest, "observation", beyond, 0.0)


def violations(largest: dict[str, float]) -> list[str]:
    """Returns the differences that exceed `TOLERANCES`, in words."""
    return [f"{what} by {value:.1e}" for what, value in largest.items() if not value <= TOLERANCES.get(what, np.inf)]


def compare(
    tasks: Sequence[Task],
    steps: int,
    drives: Sequence[Drive] = DRIVES,
    seed: int = 0,
    goal_visible: bool = False,
) -> tuple[dict[str, float], int]:
    """Computes `differences` of several tasks and sources of actions.

    Args:
        tasks: Tasks to play.
        steps: Number of steps of each episode, at most 500.
        drives: Sources of the actions, each for every task.
        seed: Seed of the noise of the first task; it counts up.
        goal_visible: Compare observations that show the goal.

    Returns:
        The largest differences, with the number of tasks that the expert solved as "expert success"; and the number of
        compared steps.
    """
    rows = [
        differences(task, drive, steps, seed + index, goal_visible)
        for index, task in enumerate(tasks)
        for drive in drives
    ]
    largest = {name: max(row[name] for row in rows) for name in TOLERANCES}
    return largest | {"expert success": sum(row["expert success"] for row in rows)}, steps * len(rows)
