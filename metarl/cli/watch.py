"""`metarl watch`: films held-out tasks before and after adaptation."""

import argparse
import os
from pathlib import Path

from metarl.cli.arguments import Commands, add_run_arguments, at_least
from metarl.run_paths import expand_seeds
from metarl_envs.errors import UserError

_PORT = 8080


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("watch", help="film held-out tasks before and after adaptation", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    add_run_arguments(parser)
    parser.add_argument(
        "--tasks",
        metavar="N",
        type=at_least(1),
        help="number of tasks, chosen near the 10th, 50th and 90th percentile of gain (3; 9 in a grid)",
    )
    parser.add_argument(
        "--task", metavar="WHICH", nargs="+", default=[], help="tasks by index, id or name, in place of such a choice"
    )
    parser.add_argument(
        "--adaptation-episodes",
        metavar="K",
        type=at_least(1),
        help="episodes, or demonstrations, to adapt on (as many as the last evaluation, or 10; imitation: as trained)",
    )
    parser.add_argument(
        "--episodes", metavar="N", type=at_least(1), default=1, help="episodes to show before and after adaptation (1)"
    )
    parser.add_argument(
        "--trial", action="store_true", help="show the adaptation episodes or demonstrations too, one after the other"
    )
    parser.add_argument("--grid", action="store_true", help="show all tasks in one film")
    parser.add_argument("--gif", action="store_true", help="write GIFs instead of mp4 files")
    parser.add_argument("--camera", metavar="NAME", help="camera of MuJoCo's model (a view that shows the task)")
    parser.add_argument(
        "--size", metavar="PIXELS", type=at_least(64, 2048), help="width and height of a picture (480; 240 in a grid)"
    )
    parser.add_argument("--fps", metavar="N", type=at_least(1, 100), help="pictures per second (25; 10 in a GIF)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for the videos (RUN/videos)")
    viewers = parser.add_mutually_exclusive_group()
    viewers.add_argument("--live", action="store_true", help="show the simulation in a window instead")
    viewers.add_argument("--serve", action="store_true", help="show it in the browser instead, to choose tasks there")
    parser.add_argument(
        "--port", metavar="P", type=at_least(1, 65535), help=f"port of this machine for the browser ({_PORT})"
    )


def run(arguments: argparse.Namespace) -> None:
    """Films a checkpoint of a run, or shows it in a viewer."""
    from metarl.gl import choose_backend
    from metarl.runs import RunDirectory
    from metarl.viewing.command import watch_run
    from metarl_envs.cores import available_cores

    _check(arguments)
    if os.environ.get("MUJOCO_GL"):  # first, as MuJoCo cannot even be imported with a backend that is not there
        choose_backend()
    first, *others = expand_seeds([arguments.run])
    if others:
        print(f"{arguments.run} holds the runs of {1 + len(others)} seeds: this is {first}")
    directory = RunDirectory.open(first)
    paths = watch_run(
        directory,
        directory.checkpoint(arguments.checkpoint),
        num_tasks=arguments.tasks,
        tasks=arguments.task,
        adaptation_episodes=arguments.adaptation_episodes,
        episodes=arguments.episodes,
        trial=arguments.trial,
        camera=arguments.camera,
        size=arguments.size,
        fps=arguments.fps,
        gif=arguments.gif,
        grid=arguments.grid,
        live=arguments.live,
        serve=(arguments.port or _PORT) if arguments.serve else None,
        output=arguments.output,
        processes=available_cores(),
    )
    for path in paths:
        print(f"video: {path}")


def _check(arguments: argparse.Namespace) -> None:
    """Checks that no option is given that would have no effect."""
    if arguments.port is not None and not arguments.serve:
        raise UserError("--port is of the viewer in the browser: add --serve")
    viewer = "--live" if arguments.live else "--serve" if arguments.serve else None
    if viewer is not None:
        of_films = ["grid", "gif", "size", "fps", "output"] + (["camera"] if arguments.serve else [])
        for name in of_films:
            if getattr(arguments, name):
                raise UserError(f"--{name} is of films: leave it out, or leave out {viewer}")
