"""`metarl strategies`: plays classic strategies for bandits and tabular MDPs."""

import argparse

from metarl.cli.arguments import Commands, at_least, path


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "strategies", help="play classic strategies for bandits and tabular MDPs", allow_abbrev=False
    )
    parser.set_defaults(run_command=run)
    parser.add_argument("family", choices=("bandit", "tabular"), help="task family to play")
    parser.add_argument("--arms", metavar="K", type=at_least(1), nargs="+", help="arms of the bandits (5 10 50)")
    parser.add_argument(
        "--episodes",
        metavar="N",
        type=at_least(1),
        nargs="+",
        help="episodes per trial, for bandits pulls (bandit: 10 100 500, tabular: 10 25 50 75 100)",
    )
    parser.add_argument("--tasks", metavar="N", type=at_least(1), default=1000, help="held-out tasks (1000)")
    parser.add_argument(
        "--seed", metavar="N", type=at_least(0, 2**64 - 1), default=1, help="seed of tasks and chance (1)"
    )
    parser.add_argument(
        "--run", metavar="RUN", type=path, nargs="+", default=(), help="RL² runs to play the same trials"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=path, help="where to write the results (runs/strategies-FAMILY-TIME.json)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Plays the strategies, and RL² runs beside them."""
    from metarl.strategies.command import run_strategies

    run_strategies(
        arguments.family,
        arms=arguments.arms,
        episodes=arguments.episodes,
        tasks=arguments.tasks,
        seed=arguments.seed,
        runs=arguments.run,
        output=arguments.output,
    )
