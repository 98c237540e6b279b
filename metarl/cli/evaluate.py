"""`metarl evaluate`: measures adaptation to held-out tasks."""

import argparse
from pathlib import Path

from metarl.cli.arguments import Commands, add_run_arguments, at_least
from metarl_envs.errors import UserError


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
        "--control",
        choices=("state-held",),
        help="play with a control made of the policy instead: RL² with its state held at the initial value",
    )
    parser.add_argument(
        "--stress",
        metavar="NAME[=S,...]",
        nargs="*",
        help="evaluate under perturbations of growing strength, with strengths S or usual ones (all that apply)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Evaluates a checkpoint of a run."""
    from metarl.evaluation.command import evaluate_run
    from metarl.evaluation.stress_command import stress_run
    from metarl.runs import RunDirectory

    directory = RunDirectory.open(arguments.run)
    checkpoint = directory.checkpoint(arguments.checkpoint)
    names = ("tasks_per_name", "split", "seed", "num_envs", "workers", "output")
    settings = {name: getattr(arguments, name) for name in names}
    for name in ("adaptation_episodes", "episodes"):  # whose defaults differ
        if getattr(arguments, name) is not None:
            settings[name] = getattr(arguments, name)
    if arguments.stress is None:
        evaluate_run(directory, checkpoint, control=arguments.control, **settings)
    elif arguments.control is not None:
        raise UserError("--control cannot go with --stress, which perturbs the policy itself: leave out one of them")
    else:
        stress_run(directory, checkpoint, arguments.stress, **settings)
