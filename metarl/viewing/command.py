"""Command `metarl watch`: films held-out tasks before and after adaptation, or shows one in MuJoCo's viewer."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from metarl.acting.agents import Agent
from metarl.files import make_room_for
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.viewing.gl import choose_backend
from metarl.viewing.live import play_live
from metarl.viewing.playing import adapt_and_play, phase
from metarl.viewing.video import Frame, caption, frame_stride, side_by_side, write_video
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError

_SEED = 1


def watch_run(
    run: RunDirectory,
    checkpoint: Path,
    *,
    num_tasks: int = 3,
    adaptation_episodes: int = 10,
    live: bool = False,
    output: Path | None = None,
) -> list[Path]:
    """Films held-out tasks before and after adaptation, or shows one of them on the screen.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        num_tasks: Number of tasks to film, of as many names as possible; all tasks if there are fewer.
        adaptation_episodes: Number of adaptation episodes, at least 1.
        live: True to open MuJoCo's viewer on the first of these tasks instead.
        output: Folder of the videos; None is the run's `videos/`.

    Returns:
        Paths of the videos, named after the checkpoint's environment steps and the task; empty if `live`.

    Raises:
        UserError: If a number is out of range, the family cannot be drawn, the checkpoint is damaged or of another
            family, MuJoCo finds neither an OpenGL backend nor, if `live`, a display, or nothing can be written to the
            folder.
        RunFailure: If a video cannot be written after all.
    """
    if adaptation_episodes < 1:
        raise UserError(f"adaptation_episodes must be at least 1 to show a difference: got {adaptation_episodes}")
    distribution = run.config.tasks.build()
    if not distribution.renderable:
        raise UserError(f"{distribution.name} has nothing to render")
    tasks = pick_tasks(distribution.test_tasks, num_tasks)
    agent, manifest = load_agent(checkpoint, run.config, distribution)
    if live:
        play_live(agent, distribution, tasks[0], adaptation_episodes, _SEED)
        return []
    paths = [(output or run.videos) / _file_name(manifest.env_steps, task) for task in tasks]
    make_room_for(paths[0])
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        for path, task in progress.track(list(zip(paths, tasks, strict=True)), description="filming"):
            film(path, agent, distribution, task, adaptation_episodes, _SEED)
    return paths


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


def pick_tasks(tasks: Sequence[Task], count: int) -> list[Task]:
    """Picks `count` tasks, one of each name in turn, so that few tasks show as many names as possible.

    Args:
        tasks: Tasks to pick from; the first of each name come first.
        count: Number of tasks; all tasks if there are fewer.

    Raises:
        UserError: If `count` is below 1.
    """
    if count < 1:
        raise UserError(f"num_tasks must be at least 1: got {count}")
    by_name: dict[str, list[Task]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    rounds = chain.from_iterable(zip_longest(*by_name.values()))
    return [task for task in rounds if task is not None][:count]


def _file_name(env_steps: int, task: Task) -> str:
    return f"{env_steps:012d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', task.name)}-{task.id[:6]}.mp4"
