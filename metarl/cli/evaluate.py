"""`metarl evaluate`: measures adaptation to held-out tasks."""

import argparse
from pathlib import Path

from metarl.cli.arguments import Commands, at_least, path


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("evaluate", help="measure adaptation to held-out tasks", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument("runs", metavar="RUN", type=path, nargs="+", help="run directory; several that differ in seeds")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="'last', 'best', or the name of one (last)"
    )
    parser.add_argument(
        "--adaptation-episodes",
        metavar="K",
        type=at_least(0),
        nargs="+",
        default=(0, 1, 3, 10),
        help="numbers of adaptation episodes to try (0 1 3 10)",
    )
    parser.add_argument("--episodes", metavar="N", type=at_least(1), default=3, help="evaluation episodes per task (3)")
    parser.add_argument(
        "--tasks-per-name", metavar="N", type=at_least(1), help="number of tasks to play of each name (all)"
    )
    parser.add_argument("--split", choices=("test", "train"), default="test", help="which tasks (test)")
    parser.add_argument("--seed", metavar="N", type=at_least(0, 2**64 - 1), default=1, help="seed of the episodes (1)")
    parser.add_argument(
        "--num-envs", metavar="N", type=at_least(1), help="largest number of tasks played at a time (the meta-batch)"
    )
    parser.add_argument("--workers", metavar="N", type=at_least(1), help="processes or threads that simulate (cores)")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="file to write or replace (one in RUN/evaluations/)"
    )
    parser.add_argument("--again", action="store_true", help="play anew what was played before in the same settings")
    parser.add_argument(
        "--control",
        choices=("state-held",),
        help="play with a control made of the policy instead: RL² with its state held at the initial value",
    )


def run(arguments: argparse.Namespace) -> None:
    """Evaluates a checkpoint of each run."""
    from metarl.evaluation.command import evaluate_runs
    from metarl.runs import RunDirectory

    evaluate_runs(
        [RunDirectory.open(run) for run in arguments.runs],
        arguments.checkpoint,
        again=arguments.again,
        output=arguments.output,
        adaptation_episodes=arguments.adaptation_episodes,
        episodes=arguments.episodes,
        tasks_per_name=arguments.tasks_per_name,
        split=arguments.split,
        seed=arguments.seed,
        control=arguments.control,
        num_envs=arguments.num_envs,
        workers=arguments.workers,
    )
