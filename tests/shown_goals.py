"""Demonstrations of goals: of navigation by its expert, and made-up ones of any family."""

from pathlib import Path

import gymnasium as gym
import numpy as np

from metarl.config import RunConfig
from metarl.demonstrations import Demonstration, Demonstrations, collect, save
from metarl_envs.core import TaskDistribution

HORIZON = 25


def collect_walks(folder: Path, goals: int = 24, episodes: int = 2) -> Path:
    """Collects walks to training goals and as many held-out ones, and returns the dataset's path."""
    return collect(["navigation"], folder / "walks-v0", goals=goals, episodes=episodes, noise=0.1, horizon=HORIZON).path


def walks_config(dataset: Path | str, iterations: int = 2, **algorithm: object) -> RunConfig:
    """Returns the configuration of an imitation of walks."""
    fields = {
        "iterations": iterations,
        "threads": 1,
        "device": "cpu",
        "tasks": {"kind": "navigation", "horizon": HORIZON, "num_test_tasks": 40},
        "algorithm": {"kind": "imitation", "dataset": str(dataset), "meta_batch": 8, "looks": 10} | algorithm,
        "evaluation": {"every": 0},
        "checkpoint": {"every": 1, "keep_last": 10},
    }
    return RunConfig.model_validate(fields)


def save_noise(folder: Path, distribution: TaskDistribution) -> Path:
    """Writes six episodes of noise of two training tasks of each class and of the first held-out ones."""
    rng = np.random.default_rng(1)
    space = distribution.action_space
    assert isinstance(space, gym.spaces.Box)
    low = np.maximum(distribution.observation_space.low, -1)
    high = np.minimum(distribution.observation_space.high, 1)
    names = dict.fromkeys(task.name for task in (*distribution.train_tasks, *distribution.test_tasks))
    tasks = [
        task
        for split in (distribution.train_tasks, distribution.test_tasks)
        for name in names
        for task in [each for each in split if each.name == name][:2]
    ]
    shown = [
        Demonstration(
            task,
            rng.uniform(low, high, (6, *low.shape)).astype(np.float32),
            rng.uniform(space.low, space.high, (5, *space.shape)).astype(np.float32),
        )
        for task in tasks
        for _ in range(6)
    ]
    path = folder / "noise-v0"
    save(path, Demonstrations(shown, distribution.observation_space, space, name="noise-v0"))
    return path
