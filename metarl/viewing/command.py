"""Command `metarl watch`: films held-out tasks before and after adaptation, or shows one in MuJoCo's viewer."""

import re
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from metarl.files import make_room_for
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.viewing.choice import spread_tasks
from metarl.viewing.film import film
from metarl.viewing.live import play_live
from metarl_envs.core import Task
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
    tasks = spread_tasks(distribution.test_tasks, num_tasks)
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


def _file_name(env_steps: int, task: Task) -> str:
    return f"{env_steps:012d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', task.name)}-{task.id[:6]}.mp4"
