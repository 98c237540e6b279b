"""The `metarl` command. Exit codes: 0 done, 1 failed, 2 the user's input was wrong, 130 interrupted."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from inspect import getdoc, signature
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, NoReturn

from metarl.errors import RunFailure
from metarl.versions import package_version
from metarl_envs.errors import UserError, unknown

if TYPE_CHECKING:  # the commands import what they need themselves, so that `metarl --help` does not wait for PyTorch
    from metarl.config import RunConfig
    from metarl.runs import RunDirectory
    from metarl_envs.core import TaskDistribution


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The command's name and arguments; those of the process when not given.

    Returns:
        The exit code. Where it is 1, 2 or 130, one line on stderr says why.
    """
    try:
        _run(sys.argv[1:] if argv is None else list(argv))
    except UserError as error:
        return _complain(f"error: {error}", code=2)
    except RunFailure as error:
        return _complain(f"failed: {error}", code=1)
    except KeyboardInterrupt:
        return _complain("interrupted", code=130)
    return 0


def _complain(message: str, code: int) -> int:
    print(f"metarl: {' '.join(message.split())}", file=sys.stderr)
    return code


def _run(argv: list[str]) -> None:
    parser, commands = _make_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise unknown("command", argv[0], commands)
    overrides: list[str] = []
    if argv[:1] == ["train"]:
        argv, overrides = _split_overrides(argv, _options(commands["train"]))
    arguments, rest = parser.parse_known_args(argv, argparse.Namespace(overrides=overrides))
    if rest:
        raise unknown("argument", rest[0], _options(commands[arguments.command]))
    arguments.run_command(arguments)


def _split_overrides(argv: list[str], options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separates the command's own options, with their values, from those that name a field of the configuration."""
    own: list[str] = []
    overrides: list[str] = []
    current = own
    for argument in argv:
        if argument.split("=")[0] in options:
            current = own
        elif argument.startswith("--"):
            current = overrides
        current.append(argument)
    return own, overrides


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


def _train(arguments: argparse.Namespace) -> None:
    if arguments.help and arguments.config is None:
        arguments.parser.print_help()
        return
    if (arguments.config is None) == (arguments.resume is None):
        raise UserError("train needs either a configuration file or --resume RUN; see 'metarl train --help'")
    if arguments.resume is not None:
        _resume(arguments)
        return
    from metarl.config import load_config
    from metarl.devices import resolve_device
    from metarl.runs import RunDirectory

    config = load_config(arguments.config, arguments.overrides)
    if arguments.help:
        _print_fields(config, arguments.config)
        return
    resolve_device(config.device)  # before there is a directory
    path = arguments.run or Path("runs", f"{arguments.config.stem}-{datetime.now():%Y%m%d-%H%M%S}")
    run = RunDirectory.create(path, config)
    try:
        _train_in(run, resume=False)
    except UserError:
        run.discard_unless_used()
        raise


def _resume(arguments: argparse.Namespace) -> None:
    from metarl.config import override_config, parse_overrides
    from metarl.runs import RunDirectory

    others = [name for name in parse_overrides(arguments.overrides) if name != "iterations"]
    if arguments.run is not None or others:
        name = others[0] if others else "run"
        raise UserError(f"--{name} cannot go with --resume, which continues a run as it is; only --iterations can")
    run = RunDirectory.open(arguments.resume)
    if arguments.overrides:
        run.set_config(override_config(run.config, arguments.overrides))
    _train_in(run, resume=True)


def _train_in(run: RunDirectory, resume: bool) -> None:
    from metarl.training import train

    print(f"run directory: {run.path}", flush=True)
    train(run.config, run, resume=resume)


def _print_fields(config: RunConfig, path: Path) -> None:
    """Prints the fields of a configuration, with what they mean and their values."""
    import tyro

    tyro.cli(
        type(config),
        prog=f"metarl train {path}",
        description="Every field can be set: --field value. The defaults shown are this file's.",
        default=config,
        args=["--help"],
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from metarl.evaluation.command import evaluate_run
    from metarl.runs import RunDirectory

    run = RunDirectory.open(arguments.run)
    evaluate_run(
        run,
        run.checkpoint(arguments.checkpoint),
        adaptation_episodes=arguments.adaptation_episodes,
        episodes=arguments.episodes,
        tasks_per_name=arguments.tasks_per_name,
        split=arguments.split,
        seed=arguments.seed,
        hold_state=arguments.hold_state,
    )


def _watch(arguments: argparse.Namespace) -> None:
    from metarl.runs import RunDirectory
    from metarl.viewing.command import watch_run

    run = RunDirectory.open(arguments.run)
    paths = watch_run(
        run,
        run.checkpoint(arguments.checkpoint),
        num_tasks=arguments.tasks,
        adaptation_episodes=arguments.adaptation_episodes,
        live=arguments.live,
    )
    for path in paths:
        print(f"video: {path}")


def _export(arguments: argparse.Namespace) -> None:
    from metarl.loading import load_agent
    from metarl.runs import RunDirectory

    run = RunDirectory.open(arguments.run)
    agent, manifest = load_agent(run.checkpoint(arguments.checkpoint), run.config, run.config.tasks.build())
    path = arguments.to or run.path / f"policy-{manifest.env_steps:012d}.onnx"
    agent.export(path)
    print(f"policy: {path}")


def _baselines(arguments: argparse.Namespace) -> None:
    from metarl.strategies.command import run_baselines

    run_baselines(
        arguments.family,
        arms=arguments.arms,
        episodes=arguments.episodes,
        tasks=arguments.tasks,
        seed=arguments.seed,
        runs=arguments.run,
        output=arguments.output,
    )


def _tasks(arguments: argparse.Namespace) -> None:
    from metarl_envs import registry
    from metarl_envs.metaworld import TASK_NAMES

    families = registry.registered()
    if arguments.id is None:
        print("Task families:")
        width = max(map(len, families)) + 2
        for name, factory in families.items():
            print(f"  {name:<{width}}{_summary(factory)}")
        print(_listing("Meta-World's tasks, for ML1 and custom", TASK_NAMES))
        print("More about one: metarl tasks ID")
    elif arguments.id in families:
        _describe_family(arguments.id, families[arguments.id])
    elif arguments.id in TASK_NAMES:
        use = f"tasks: {{kind: metaworld, benchmark: ML1, task: {arguments.id}}}"
        print(f"{arguments.id}: a task of Meta-World; in a configuration: {use}")
    else:
        raise unknown("task family", arguments.id, [*families, *TASK_NAMES])


def _describe_family(name: str, factory: Callable[..., TaskDistribution]) -> None:
    """Prints a family's options and, if all of them have a default, its tasks."""
    options = signature(factory, eval_str=True).parameters.values()
    print(f"{name}: {_summary(factory)}")
    for option in options:
        print(f"  {option.name:<18}{'required' if option.default is option.empty else f'default {option.default}'}")
    if any(option.default is option.empty for option in options):
        return
    distribution = factory()
    test = "held-out" if distribution.held_out else "test"
    for split, tasks in (("training", distribution.train_tasks), (test, distribution.test_tasks)):
        counts = Counter(task.name for task in tasks)
        print(_listing(f"{split} tasks", [f"{task} ({count})" for task, count in counts.items()]))


def _listing(title: str, items: Iterable[str]) -> str:
    return fill(f"{title}: {', '.join(items)}", width=100, subsequent_indent="  ", break_on_hyphens=False)


def _summary(factory: Callable[..., TaskDistribution]) -> str:
    return (getdoc(factory) or "").partition("\n")[0]


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong as a `UserError`."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see '{self.prog} --help'")


def _make_parser() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(prog="metarl", description="Meta-reinforcement learning: train, measure adaptation, watch.")
    parser.add_argument(
        "--version", action="version", version=f"metarl {package_version('metarl-suite') or '(not installed)'}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="meta-train a policy",
        usage="metarl train CONFIG [--run DIR] [--FIELD VALUE ...]\n       metarl train --resume RUN [--iterations N]",
        epilog="'metarl train CONFIG --help' lists the fields of that configuration.",
        add_help=False,  # it depends on the configuration
        allow_abbrev=False,
    )
    train.set_defaults(run_command=_train, parser=train)
    train.add_argument("config", metavar="CONFIG", type=Path, nargs="?", help="a YAML file, such as those in configs/")
    train.add_argument("--run", metavar="DIR", type=Path, help="directory to make for the run (runs/CONFIG-TIME)")
    train.add_argument("--resume", metavar="RUN", type=Path, help="run to continue after its last checkpoint")
    train.add_argument("-h", "--help", action="store_true", help="show this, or the fields of CONFIG, and exit")

    evaluate = commands.add_parser("evaluate", help="measure adaptation to held-out tasks", allow_abbrev=False)
    evaluate.set_defaults(run_command=_evaluate)
    _add_run_arguments(evaluate)
    evaluate.add_argument(
        "--adaptation-episodes",
        metavar="K",
        type=_at_least(0),
        nargs="+",
        default=(0, 1, 3, 10),
        help="numbers of adaptation episodes to try (0 1 3 10)",
    )
    evaluate.add_argument(
        "--episodes", metavar="N", type=_at_least(1), default=3, help="evaluation episodes per task (3)"
    )
    evaluate.add_argument(
        "--tasks-per-name", metavar="N", type=_at_least(1), help="how many tasks of each name to play (all)"
    )
    evaluate.add_argument("--split", choices=("test", "train"), default="test", help="which tasks (test)")
    evaluate.add_argument("--seed", metavar="N", type=_at_least(0), default=1, help="seed of the episodes (1)")
    evaluate.add_argument(
        "--hold-state", action="store_true", help="a control: keep RL²'s recurrent state at its initial value"
    )

    watch = commands.add_parser("watch", help="film held-out tasks before and after adaptation", allow_abbrev=False)
    watch.set_defaults(run_command=_watch)
    _add_run_arguments(watch)
    watch.add_argument("--tasks", metavar="N", type=_at_least(1), default=3, help="how many tasks to film (3)")
    watch.add_argument(
        "--adaptation-episodes", metavar="K", type=_at_least(1), default=10, help="episodes to adapt on (10)"
    )
    watch.add_argument("--live", action="store_true", help="show the simulation in a window")

    export = commands.add_parser("export", help="write the policy as an ONNX file", allow_abbrev=False)
    export.set_defaults(run_command=_export)
    _add_run_arguments(export)
    export.add_argument(
        "--to", metavar="FILE", type=Path, help="the file to write or replace (RUN/policy-ENVSTEPS.onnx)"
    )

    baselines = commands.add_parser(
        "baselines", help="play classic strategies for bandits and tabular MDPs", allow_abbrev=False
    )
    baselines.set_defaults(run_command=_baselines)
    baselines.add_argument("family", choices=("bandit", "tabular"), help="what to play")
    baselines.add_argument("--arms", metavar="K", type=_at_least(1), nargs="+", help="arms of the bandits (5 10 50)")
    baselines.add_argument(
        "--episodes",
        metavar="N",
        type=_at_least(1),
        nargs="+",
        help="episodes per trial, for bandits pulls (bandit: 10 100 500, tabular: 10 25 50 75 100)",
    )
    baselines.add_argument("--tasks", metavar="N", type=_at_least(1), default=1000, help="held-out tasks (1000)")
    baselines.add_argument("--seed", metavar="N", type=_at_least(0), default=1, help="seed of tasks and chance (1)")
    baselines.add_argument(
        "--run", metavar="RUN", type=Path, nargs="+", default=(), help="RL² runs to play the same trials"
    )
    baselines.add_argument(
        "--output", metavar="FILE", type=Path, help="where to write the results (runs/baselines-FAMILY-TIME.json)"
    )

    tasks = commands.add_parser("tasks", help="list task families", allow_abbrev=False)
    tasks.set_defaults(run_command=_tasks)
    tasks.add_argument("id", metavar="ID", nargs="?", help="show this family's tasks")
    return parser, dict(commands.choices)


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--checkpoint", metavar="WHICH", default="last", help="'last', 'best' or a path (last)")


def _at_least(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got '{text}'")
        return value

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got '{text}'")
    return value
