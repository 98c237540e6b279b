"""`metarl demos`: collects demonstrations of scripted experts, lists datasets, and shows what is in one."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from metarl.cli.arguments import Commands, at_least, path
from metarl.shell import command
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from metarl.demonstrations import Demonstrations

_FILMS = "films"
_DEFAULT_CAMERAS = ["view"]
_MOST_SHOWN = 200


def add_parser(commands: Commands) -> None:
    """Adds the command and its own commands to the parser."""
    parser = commands.add_parser("demos", help="collect, list and inspect demonstrations", allow_abbrev=False)
    own = parser.add_subparsers(dest="demos", required=True, metavar="COMMAND")
    _add_collect(own)
    listing = own.add_parser("list", help="list datasets", allow_abbrev=False)
    listing.set_defaults(run_command=_list)
    listing.add_argument(
        "folder", metavar="DIR", nargs="?", type=path, help="folder of datasets (demonstrations/, and Minari's own)"
    )
    inspect = own.add_parser("inspect", help="check a dataset and show what is in it", allow_abbrev=False)
    inspect.set_defaults(run_command=_inspect)
    inspect.add_argument("dataset", metavar="DATASET", type=path, help="folder of a dataset, or its name")
    inspect.add_argument("--film", metavar="N", type=at_least(0), help="film demonstration number N, from 0")
    inspect.add_argument("--output", metavar="FILE", type=path, help="file of the film (in the dataset's films/)")


def _add_collect(own: Commands) -> None:
    collect = own.add_parser("collect", help="record scripted experts", allow_abbrev=False)
    collect.set_defaults(run_command=_collect)
    collect.add_argument(
        "--tasks",
        metavar="NAME",
        nargs="+",
        required=True,
        help="classes of Meta-World such as reach-v3, all of ML10, ML25 or ML45 (all 50 classes), or navigation",
    )
    collect.add_argument("--split", choices=("train", "test", "both"), default="both", help="split to show (both)")
    collect.add_argument(
        "--goals", metavar="N", type=at_least(1), default=20, help="goals of each class and split, 50 at most (20)"
    )
    collect.add_argument("--episodes", metavar="N", type=at_least(1), default=2, help="episodes of each goal (2)")
    collect.add_argument(
        "--again", metavar="N", type=at_least(0), default=0, help="times that what failed is played anew (0)"
    )
    collect.add_argument(
        "--noise",
        metavar="SHARE",
        type=_share,
        default=0.1,
        help="standard deviation of noise on the actions, as a share of half their range (0.1)",
    )
    collect.add_argument("--horizon", metavar="N", type=at_least(1), help="steps of an episode (500; navigation 100)")
    collect.add_argument("--seed", metavar="N", type=at_least(0), default=1, help="seed of the noise (1)")
    collect.add_argument("--goal-seed", metavar="N", type=at_least(0), default=1, help="seed of the goals (1)")
    collect.add_argument("--frames", action="store_true", help="record a picture of 64 x 64 of each observation too")
    collect.add_argument(
        "--cameras", metavar="NAME", nargs="+", help="cameras of the frames: view, or those of MuJoCo's model (view)"
    )
    collect.add_argument(
        "--frame-every", metavar="N", type=at_least(1), help="steps from one picture to the next, the last one held (1)"
    )
    collect.add_argument(
        "--output", metavar="DIR", type=path, help="folder of the dataset (demonstrations/, and a name by the tasks)"
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got '{text[:60]}'")
    return value


def _collect(arguments: argparse.Namespace) -> None:
    """Collects, with a bar on a terminal, and prints the share of each class that succeeded."""
    from rich.console import Console
    from rich.progress import Progress

    from metarl.demonstrations import collect
    from metarl.evaluation.table import new_table

    if arguments.cameras and not arguments.frames:
        raise UserError("--cameras are of frames: add --frames")
    if arguments.frame_every and not arguments.frames:
        raise UserError("--frame-every is of frames: add --frames")
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        bar = progress.add_task("episodes", total=None)
        collected = collect(
            arguments.tasks,
            arguments.output,
            goals=arguments.goals,
            episodes=arguments.episodes,
            again=arguments.again,
            noise=arguments.noise,
            split=arguments.split,
            horizon=arguments.horizon,
            seed=arguments.seed,
            goal_seed=arguments.goal_seed,
            cameras=(arguments.cameras or _DEFAULT_CAMERAS) if arguments.frames else (),
            frame_every=arguments.frame_every or 1,
            tell=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    table = new_table("task", "played", "succeeded and kept")
    for name, played in collected.played.items():
        kept = collected.kept[name]
        table.add_row(name, str(played), f"{kept} ({kept / played:.0%})")
    _print(table)
    print(f"{sum(collected.kept.values())} demonstrations, {collected.steps:,} steps: {collected.path}")
    print(f"next: {command('demos', 'inspect', collected.path)}")


def _list(arguments: argparse.Namespace) -> None:
    """Prints the datasets of a folder, or of `demonstrations/` and Minari's own."""
    from metarl.demonstrations.folders import FOLDER, list_datasets, minari_root
    from metarl.demonstrations.reading import read_facts

    roots = [FOLDER, minari_root()] if arguments.folder is None else [arguments.folder]
    found = [dataset for root in roots for dataset in list_datasets(root)]
    if not found:
        where = " or ".join(map(str, roots))
        print(f"no demonstrations in {where}; how to record some: {command('demos', 'collect', '--help')}")
    for dataset in found:
        try:
            facts = read_facts(dataset)
            print(f"{dataset}: {facts['total_episodes']} episodes. {facts.get('description', '')}".rstrip())
        except UserError as error:
            print(f"{dataset}: cannot be read: {error}")


def _inspect(arguments: argparse.Namespace) -> None:
    """Reads a whole dataset, which checks it, prints what is in it, and films a demonstration."""
    from metarl.demonstrations import load
    from metarl.demonstrations.folders import find_dataset

    if arguments.output is not None and arguments.film is None:
        raise UserError("--output is of a film: add --film N")
    dataset = find_dataset(arguments.dataset)
    demonstrations = load(dataset)
    print(f"{demonstrations.name}, in {dataset}: {len(demonstrations)} demonstrations, all of them sound")
    _print(_contents(demonstrations))
    print(f"observations: {_brief(demonstrations.observation_space)}")
    print(f"actions: {_brief(demonstrations.action_space)}")
    print(f"frames: {', '.join(demonstrations.cameras) or 'none'}")
    print(f"family: {demonstrations.family or 'none that can be simulated'}")
    if arguments.film is not None:
        from metarl.files import make_room_for
        from metarl.viewing.demonstrations import film_demonstration

        film = arguments.output or dataset / _FILMS / f"demonstration-{arguments.film}.mp4"
        make_room_for(film)
        if demonstrations.cameras and not demonstrations.family:
            demonstrations = load(dataset, frames=True)
        verdict = film_demonstration(film, demonstrations, arguments.film)
        print(f"video: {film} ({verdict})")


def _contents(demonstrations: Demonstrations) -> Table:
    """Makes a table of the classes of a dataset."""
    from rich.text import Text

    from metarl.evaluation.table import new_table

    table = new_table("task", "goals", "episodes", "steps", "return", "success")
    for name in demonstrations.classes:
        shown = demonstrations.of_class(name)
        lengths = [len(each) for each in shown]
        returns = [each.total_reward for each in shown if each.total_reward is not None]
        known = [each.success for each in shown if each.success is not None]
        steps = str(min(lengths)) if min(lengths) == max(lengths) else f"{min(lengths)} to {max(lengths)}"
        table.add_row(
            Text(name),
            str(len(shown.tasks)),
            str(len(shown)),
            steps,
            f"{sum(returns) / len(returns):.1f}" if returns else "unknown",
            f"{sum(known) / len(known):.0%}" if known else "unknown",
        )
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def _brief(space: object) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
