"""Films of one task: before and after adaptation side by side."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from metarl.acting.agents import Agent
from metarl.viewing.gl import choose_backend
from metarl.viewing.playing import adapt_and_play, phase
from metarl.viewing.video import Frame, caption, frame_stride, side_by_side, write_video
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv


def film_pair(
    agent: Agent, distribution: TaskDistribution, task: Task, episodes: int, seed: int, size: int = 480
) -> bytes:
    """Films a task before adaptation on the left and after it on the right, in step.

    Args:
        agent: Agent to film; forgets everything before each side.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        episodes: Number of adaptation episodes.
        seed: Seed that the environment's seeds are derived from.
        size: Width and height of each side's picture, in pixels.

    Returns:
        The mp4 file.

    Raises:
        UserError: If MuJoCo finds no OpenGL backend, or the family cannot be drawn.
        RunFailure: If the film cannot be encoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        film(path, agent, distribution, task, episodes, seed)
        return path.read_bytes()


def film(path: Path, agent: Agent, distribution: TaskDistribution, task: Task, episodes: int, seed: int) -> None:
    """Writes a video of one task, before adaptation on the left and after it on the right.

    Args:
        path: Path of the mp4 file to write; its folder is made if missing.
        agent: Agent to film; forgets everything before each side.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        episodes: Number of adaptation episodes.
        seed: Seed that the environment's seeds are derived from.

    Raises:
        UserError: If MuJoCo finds no OpenGL backend, or the family cannot be drawn.
    """
    # One environment, hence one OpenGL context, at a time: MuJoCo mixes up the frames of several open contexts.
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:
        # Only MuJoCo needs a backend, and reads the choice at the first frame.
        if "mujoco" in sys.modules:
            choose_backend()
        before = list(_captioned_frames(agent, env, task, 0, seed))
        write_video(path, side_by_side(before, _captioned_frames(agent, env, task, episodes, seed)))


def _captioned_frames(agent: Agent, env: TaskVectorEnv, task: Task, episodes: int, seed: int) -> Iterator[Frame]:
    """Yields frames of one evaluation episode after `episodes` adaptation episodes."""
    stride = frame_stride(env.horizon)
    for moment in adapt_and_play(agent, env, task, episodes, seed):
        if not moment.over:
            if moment.step % stride:
                continue
            (picture,) = np.asarray(env.render(), dtype=np.uint8)
        yield caption(picture, task.name, phase(episodes), moment, env.horizon)
