"""`metarl evaluate`: measures adaptation to held-out tasks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.arguments import Commands, add_run_arguments, at_least
from metarl.cli.comparing import add_comparison_arguments, read_wanted
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.evaluation.comparison import Wanted
    from metarl.runs import RunDirectory


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("evaluate", help="measure adaptation to held-out tasks", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    add_run_arguments(parser)
    parser.add_argument(
        "--adaptation-episodes",
        metavar="K",
        type=at_least(0),
        nargs="+",
        help="numbers of adaptation episodes to try (0 1 3 10; with --stress 0 10)",
    )
    parser.add_argument(
        "--episodes", metavar="N", type=at_least(1), help="evaluation episodes per task (3; with --stress 1)"
    )
    parser.add_argument(
        "--tasks-per-name",
        metavar="N",
        type=at_least(1),
        help="number of tasks to play of each name (all; with --stress about 20 in all)",
    )
    parser.add_argument("--split", choices=("test", "train"), default="test", help="which tasks (test)")
    parser.add_argument("--seed", metavar="N", type=at_least(0, 2**64 - 1), default=1, help="seed of the episodes (1)")
    parser.add_argument(
        "--num-envs", metavar="N", type=at_least(1), help="largest number of tasks played at a time (the meta-batch)"
    )
    parser.add_argument("--workers", metavar="N", type=at_least(1), help="processes or threads that simulate (cores)")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="file to write or replace (RUN/evaluations/SETTINGS.json)"
    )
    parser.add_argument(
        "--stress",
        metavar="NAME[=S,...]",
        nargs="*",
        help="evaluate under perturbations of growing strength, with strengths S or usual ones (all that apply)",
    )
    add_comparison_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates a checkpoint of a run, and holds it against what else is wanted, or evaluates it under stress."""
    from metarl.runs import RunDirectory

    directory = RunDirectory.open(arguments.run)
    checkpoint = directory.checkpoint(arguments.checkpoint)
    for name, plain, stressed in (("adaptation_episodes", (0, 1, 3, 10), (0, 10)), ("episodes", 3, 1)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, plain if arguments.stress is None else stressed)
    names = ("adaptation_episodes", "episodes", "tasks_per_name", "split", "seed", "num_envs", "workers")
    settings = {name: getattr(arguments, name) for name in names}
    wanted = read_wanted(arguments)
    if arguments.stress is not None:
        if wanted:
            raise UserError("--stress cannot go with --controls, --from-scratch or --protocol: evaluate twice")
        _stress(directory, checkpoint, arguments, settings)
    else:
        _evaluate(directory, checkpoint, arguments, settings, wanted)


def _stress(directory: RunDirectory, checkpoint: Path, arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    from metarl.evaluation.stress_command import stress_run

    stress_run(directory, checkpoint, arguments.stress, output=arguments.output, **settings)


def _evaluate(
    directory: RunDirectory,
    checkpoint: Path,
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    wanted: Wanted | None,
) -> None:
    from metarl.evaluation.command import evaluate_run
    from metarl.evaluation.comparison import Comparison
    from metarl.evaluation.stored import read_evaluation

    comparison = Comparison(directory, checkpoint, wanted, **settings) if wanted else None
    path = evaluate_run(directory, checkpoint, output=arguments.output, **settings)
    if comparison:
        comparison.play(read_evaluation(path))
