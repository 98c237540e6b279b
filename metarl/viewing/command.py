"""Command `metarl watch`: films held-out tasks before and after adaptation, or shows them in a viewer."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from metarl.acting.agents import Agent, Shown, adapts_on
from metarl.evaluation.protocol import usual_adaptation_episodes
from metarl.files import make_room_for
from metarl.gl import choose_backend
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.viewing.choice import Choice, choose_tasks
from metarl.viewing.film import Shot, film
from metarl.viewing.live import play_live
from metarl.viewing.video import FRAMES_PER_SECOND, write_grid
from metarl.viewing.worker import Film, film_in_processes
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError

TASKS, GRID_TASKS = 3, 9
"""Default number of tasks, and that of a grid."""
SIZE, GRID_SIZE = 480, 240
"""Default width and height of a picture in pixels, and that of a picture in a grid."""
ADAPTATION_EPISODES = 10
"""Default number of adaptation episodes where no evaluation gives one, for a policy that plays to adapt."""
_GIF_FRAMES_PER_SECOND = 10
_SEED = 1


def watch_run(
    run: RunDirectory,
    checkpoint: Path,
    *,
    num_tasks: int | None = None,
    tasks: Sequence[str] = (),
    adaptation_episodes: int | None = None,
    episodes: int = 1,
    trial: bool = False,
    camera: str | None = None,
    size: int | None = None,
    fps: int | None = None,
    gif: bool = False,
    grid: bool = False,
    live: bool = False,
    serve: int | None = None,
    output: Path | None = None,
    processes: int = 1,
) -> list[Path]:
    """Films held-out tasks before and after adaptation, or shows them in MuJoCo's viewer or in the browser.

    Where a policy is shown demonstrations, its films show the first of them too, on the left.

    Without `tasks`, some are chosen near the 10th, 50th and 90th percentiles of gain in the run's last evaluation, and
    the films show that evaluation's first episodes; before any evaluation, they are spread over the task space.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        num_tasks: Number of tasks to choose; None is 3, or 9 in a grid.
        tasks: Index, id or name of tasks to show; of those of a name, `num_tasks` are chosen.
        adaptation_episodes: Number of adaptation episodes or demonstrations, at least 1; None is the evaluation's
            largest, or 10, or as in training for a policy that imitates.
        episodes: Number of evaluation episodes to show, one after the other.
        trial: True to show the adaptation episodes or demonstrations too, one after the other.
        camera: Name of a camera of MuJoCo's model; None is the view that shows the task.
        size: Width and height of a picture, in pixels; None is 480, or 240 in a grid.
        fps: Pictures per second; None is 25, or 10 for a GIF.
        gif: True to write GIFs instead of mp4 files.
        grid: True to show all tasks in one film.
        live: True to open MuJoCo's viewer on the first of the tasks instead.
        serve: Port at which to serve a viewer for the browser instead; None serves none.
        output: Folder of the videos; None is the run's `videos/`.
        processes: Number of processes that film.

    Returns:
        Paths of the videos, named after the checkpoint's environment steps, the task and why it was chosen; empty for
        the viewers.

    Raises:
        UserError: If a number is out of range, there is no such task or camera, the family cannot be drawn, the
            checkpoint is damaged or of another family, a policy that imitates lacks demonstrations, MuJoCo finds
            neither an OpenGL backend nor, if `live`, a display, a package is missing, or nothing can be written to the
            folder.
        RunFailure: If a video cannot be written after all.
    """
    if adaptation_episodes is not None and adaptation_episodes < 1:
        raise UserError(f"adaptation_episodes must be at least 1 to show a difference: got {adaptation_episodes}")
    distribution = run.config.tasks.build()
    if not distribution.renderable:
        raise UserError(f"{distribution.name} has nothing to render")
    _, manifest = load_agent(checkpoint, run.config, distribution)
    count = num_tasks if num_tasks is not None else GRID_TASKS if grid else TASKS
    choice = choose_tasks(run, distribution, manifest.env_steps, count, tasks)
    evaluated = choice.evaluation.evaluation if choice.evaluation else None
    usual = usual_adaptation_episodes(run.config, (ADAPTATION_EPISODES,))
    ks = evaluated.adaptation_episodes if evaluated else usual
    shot = Shot(
        adaptation_episodes=adaptation_episodes or max(1, *ks),
        episodes=episodes,
        trial=trial,
        camera=camera,
        size=size or (GRID_SIZE if grid else SIZE),
        fps=fps or (_GIF_FRAMES_PER_SECOND if gif else FRAMES_PER_SECOND),
        seed=evaluated.seed if evaluated else _SEED,
    )
    agent, _ = load_agent(checkpoint, run.config, distribution, shot.seed)
    crew = _Crew(run, checkpoint, agent, distribution, choice, shot, processes)
    if isinstance(agent, Shown):
        for task in crew.shown:
            agent.find(task, shot.adaptation_episodes)  # raises before anything is filmed
    _tell(choice.why)
    if live:
        play_live(agent, distribution, crew.shown[0], shot)
        return []
    if serve is not None:
        from metarl.viewing.serve import serve_run  # here, as it loads the web server

        serve_run(agent, distribution, choice.tasks, shot, serve)
        return []
    kind = ("-trial" if trial else "") + (".gif" if gif else ".mp4")
    paths = crew.paths(output or run.videos, f"{manifest.env_steps:012d}", kind, grid)
    make_room_for(paths[0])
    if grid:
        crew.film_grid(paths[0])
    else:
        crew.film(paths)
    return paths


@dataclass(frozen=True)
class _Crew:
    """Everything that films are made with."""

    run: RunDirectory
    checkpoint: Path
    agent: Agent
    distribution: TaskDistribution
    choice: Choice
    shot: Shot
    processes: int

    @property
    def shown(self) -> list[Task]:
        """Tasks to show."""
        return [self.distribution.test_tasks[index] for _, index in self.choice.tasks]

    def paths(self, folder: Path, prefix: str, kind: str, grid: bool) -> list[Path]:
        """Returns the path of the grid's film, or that of each task."""
        if grid:
            return [folder / f"{prefix}-grid{kind}"]
        labels = [label for label, _ in self.choice.tasks]
        return [folder / f"{prefix}-{_slug(task, label)}{kind}" for task, label in zip(self.shown, labels, strict=True)]

    def film(self, paths: Sequence[Path]) -> None:
        """Films each task, in several processes if there are several."""
        films = [Film(str(path), index, label) for path, (label, index) in zip(paths, self.choice.tasks, strict=True)]
        with _progress(len(films) * self.shot.moments(self.distribution.horizon, adapts_on(self.agent))) as advance:
            if min(self.processes, len(films)) > 1:
                if "mujoco" in sys.modules:
                    choose_backend()  # here, so that the processes need not try
                film_in_processes(self.run, self.checkpoint, films, self.shot, self.processes, advance)
                return
            for path, task, (_, _, label) in zip(paths, self.shown, films, strict=True):
                film(path, self.agent, self.distribution, task, self.shot, label, partial(advance, 1))

    def film_grid(self, path: Path) -> None:
        """Films all tasks and shows the films in one."""
        with tempfile.TemporaryDirectory() as folder:
            tiles = [Path(folder) / f"{number}.mp4" for number in range(len(self.shown))]
            self.film(tiles)
            write_grid(path, tiles)


def _slug(task: Task, label: str) -> str:
    """Returns the part of a file's name that tells the task, and why it is shown."""
    parts = (label, task.name, task.id[:6])
    return "-".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part) for part in parts if part)


def _tell(message: str) -> None:
    Console(stderr=True, highlight=False).print(message, soft_wrap=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar on a terminal; yields the function that advances it."""
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        bar = progress.add_task("filming", total=total)
        yield lambda moments: progress.advance(bar, moments)
