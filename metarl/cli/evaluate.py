"""`metarl evaluate`: measures adaptation to held-out tasks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.cli.arguments import Commands, at_least, path
from metarl.cli.comparing import add_comparison_arguments, read_wanted
from metarl.run_paths import expand_seeds
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.config import RunConfig
    from metarl.runs import RunDirectory

_RUN = "run directory, or name of a pretrained policy; several runs that differ in seeds, or their folder"


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("evaluate", help="measure adaptation to held-out tasks", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument("runs", metavar="RUN", type=path, nargs="+", help=_RUN)
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="'last', 'best', or the name of one (last)"
    )
    parser.add_argument(
        "--adaptation-episodes",
        metavar="K",
        type=at_least(0),
        nargs="+",
        help="numbers of adaptation episodes, or of demonstrations, to try (0 1 3 10, with --stress 0 10; imitation: as"
        " trained)",
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
    parser.add_argument(
        "--actions",
        choices=("likeliest", "sampled"),
        help="actions in evaluation episodes: the likeliest (the mean of a Gaussian), or sampled as in training"
        " (likeliest)",
    )
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
        "--stress",
        metavar="NAME[=S,...]",
        nargs="*",
        help="evaluate under perturbations of growing strength, with strengths S or usual ones (all that apply)",
    )
    parser.add_argument("--ways", metavar="N", type=at_least(2), help="recognition: classes of a problem (as trained)")
    parser.add_argument(
        "--shots",
        metavar="K",
        type=at_least(1),
        nargs="+",
        help="recognition: numbers of demonstrations of each class (as trained)",
    )
    parser.add_argument(
        "--problems", metavar="N", type=at_least(1), help="recognition: problems for each number of shots (200)"
    )
    add_comparison_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates a checkpoint of each run, and holds it against what else is wanted."""
    from metarl.evaluation.command import evaluate_runs
    from metarl.evaluation.comparison import Comparison
    from metarl.evaluation.stress_command import stress_run
    from metarl.runs import RunDirectory

    runs = [RunDirectory.open(run) for run in expand_seeds(arguments.runs)]
    if runs[0].config.tasks.kind == "demonstrations":
        _recognise(arguments, runs)
        return
    _refuse(arguments, ("ways", "shots", "problems"), "is for runs that recognise demonstrations")
    _set_defaults(arguments, runs[0].config)
    names = ("adaptation_episodes", "episodes", "tasks_per_name", "split", "seed", "actions", "num_envs", "workers")
    settings = {name: getattr(arguments, name) for name in names}
    wanted, which = read_wanted(arguments), arguments.checkpoint
    if arguments.stress is not None:
        if wanted or len(runs) > 1:
            raise UserError("--stress is for one run, without --controls, --from-scratch and --protocol")
        stress_run(runs[0], runs[0].checkpoint(which), arguments.stress, output=arguments.output, **settings)
        return
    # Made first, as what is wrong is told before anything is played.
    comparisons = [Comparison(run, run.checkpoint(which), wanted, **settings) for run in runs] if wanted else []
    stored = evaluate_runs(runs, which, again=arguments.again, output=arguments.output, **settings)
    for index, comparison in enumerate(comparisons):
        if len(runs) > 1:
            print(f"{runs[index].called}, held against:")
        comparison.play(stored[index])


def _recognise(arguments: argparse.Namespace, runs: list[RunDirectory]) -> None:
    """Measures how well runs recognise demonstrations of held-out classes."""
    from metarl.evaluation.recognition_command import recognise_runs

    played = ("adaptation_episodes", "episodes", "tasks_per_name", "actions", "num_envs", "workers", "stress")
    _refuse(
        arguments, (*played, "from_scratch", "protocol"), "is for runs that act: this one recognises demonstrations"
    )
    if arguments.split != "test":
        raise UserError("--split train: recognition is measured on held-out classes only")
    names = ("ways", "shots", "problems", "seed", "output", "controls")
    recognise_runs(runs, arguments.checkpoint, **{name: getattr(arguments, name) for name in names})


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(arguments, name) not in (None, (), "metarl"):
            raise UserError(f"--{name.replace('_', '-')} {why}")


def _set_defaults(arguments: argparse.Namespace, config: RunConfig) -> None:
    """Sets what was not given; a stress test, which evaluates many times, plays less."""
    from metarl.evaluation.protocol import ADAPTATION_EPISODES, usual_adaptation_episodes
    from metarl.evaluation.stress_command import ADAPTATION_EPISODES as STRESSED

    ks, episodes = (ADAPTATION_EPISODES, 3) if arguments.stress is None else (STRESSED, 1)
    usual = {"adaptation_episodes": usual_adaptation_episodes(config, ks), "episodes": episodes, "actions": "likeliest"}
    for name, value in usual.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
