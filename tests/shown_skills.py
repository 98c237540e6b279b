"""Demonstrations of made-up skills: each class moves through the plane in its own way, from a start that varies."""

from pathlib import Path

import gymnasium as gym
import numpy as np

from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl.demonstrations.writing import save
from metarl_envs.core import Task


def show_skills(
    classes: int = 8, goals: int = 6, episodes: int = 2, spread: float = 1.0, frames: bool = False
) -> Demonstrations:
    """Returns demonstrations of skills `turn-0`, `turn-1`, ...: skill i steps in the direction i of equally many.

    Args:
        classes: Number of skills.
        goals: Number of goals of each; a goal is where the way begins.
        episodes: Number of episodes of each goal.
        spread: Deviation of where ways begin; the ways themselves are about 1 long.
        frames: True for pictures, whose brightness is the skill's.
    """
    rng = np.random.default_rng(1)
    shown = []
    for index in range(classes):
        angle = 2 * np.pi * index / classes
        direction = np.array([np.cos(angle), np.sin(angle)])
        for start in spread * rng.standard_normal((goals, 2)):
            for _ in range(episodes):
                steps = int(rng.integers(8, 13))
                actions = direction + 0.1 * rng.standard_normal((steps, 2))
                ways = np.cumsum(np.vstack([start, actions / 10]), axis=0)
                pictures = np.full((steps + 1, 1, 64, 64, 3), 25 * index, np.uint8) if frames else None
                shown.append(
                    Demonstration(
                        Task(f"turn-{index}", start),
                        ways.astype(np.float32),
                        actions.astype(np.float32),
                        frames=pictures,
                    )
                )
    space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
    cameras = ("view",) if frames else ()
    return Demonstrations(shown, space, gym.spaces.Box(-2.0, 2.0, (2,), np.float32), name="turns-v0", cameras=cameras)


def save_skills(folder: Path, classes: int = 8, frames: bool = False) -> Path:
    """Writes such demonstrations to a dataset and returns its path."""
    path = folder / "turns-v0"
    save(path, show_skills(classes, frames=frames))
    return path
