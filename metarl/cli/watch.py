"""`metarl watch`: films held-out tasks before and after adaptation."""

import argparse
from pathlib import Path

from metarl.cli.arguments import Commands, add_run_arguments, at_least


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("watch", help="film held-out tasks before and after adaptation", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    add_run_arguments(parser)
    parser.add_argument("--tasks", metavar="N", type=at_least(1), default=3, help="number of tasks to film (3)")
    parser.add_argument(
        "--adaptation-episodes", metavar="K", type=at_least(1), default=10, help="episodes to adapt on (10)"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for the videos (RUN/videos)")
    parser.add_argument("--live", action="store_true", help="show the simulation in a window")


def run(arguments: argparse.Namespace) -> None:
    """Films a checkpoint of a run, or shows it in a window."""
    from metarl.runs import RunDirectory
    from metarl.viewing.command import watch_run

    directory = RunDirectory.open(arguments.run)
    paths = watch_run(
        directory,
        directory.checkpoint(arguments.checkpoint),
        num_tasks=arguments.tasks,
        adaptation_episodes=arguments.adaptation_episodes,
        live=arguments.live,
        output=arguments.output,
    )
    for path in paths:
        print(f"video: {path}")
