"""`metarl train`: meta-trains a policy, or continues a run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from metarl.cli.arguments import Commands, at_least, path
from metarl.launched import is_launched, may_restart, restarts
from metarl.run_paths import is_run, seed_runs
from metarl.shell import argument, command
from metarl_envs.cores import available_cores
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from metarl.config import RunConfig
    from metarl.training import Training

Started = TypeVar("Started")


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="meta-train a policy",
        usage="metarl train CONFIG [--run DIR] [--processes N | --seeds N ...] [--FIELD VALUE ...]\n"
        "       metarl train --resume RUN [--processes N] [--iterations N] [--device D] [--threads N] [--workers N]",
        epilog="'metarl train CONFIG --help' lists the fields of that configuration.",
        add_help=False,  # it depends on the configuration
        allow_abbrev=False,
    )
    parser.set_defaults(run_command=run, parser=parser)
    parser.add_argument(
        "config", metavar="CONFIG", type=path, nargs="?", help="a preset (see 'metarl presets') or path to a YAML file"
    )
    parser.add_argument("--run", metavar="DIR", type=path, help="directory to make for the run (runs/CONFIG-TIME)")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        type=path,
        help="run to continue after its last checkpoint, or folder of --seeds to continue those that are not done",
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=at_least(1),
        default=1,
        help="processes of this machine that train together, each on its share of the tasks (1)",
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=at_least(0, 2**64 - 1),
        nargs="+",
        help="train once with each of these seeds, side by side as cores allow, into DIR/seed-N",
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this, or the fields of CONFIG, and exit")


def split_overrides(argv: list[str], options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the command's own arguments and overrides of configuration fields.

    Args:
        argv: The command line. Values follow the option that they belong to.
        options: The command's own options; any other one names a field.

    Returns:
        The command's own arguments and the overrides, both in their order.
    """
    command_arguments: list[str] = []
    overrides: list[str] = []
    current = command_arguments
    for word in argv:
        if word.split("=")[0] in options:
            current = command_arguments
        elif word.startswith("--"):
            current = overrides
        current.append(word)
    return command_arguments, overrides


def run(arguments: argparse.Namespace) -> int:
    """Trains from a configuration, continues a run, or shows help; returns the exit code."""
    if arguments.help and arguments.config is None:
        arguments.parser.print_help()
    elif (arguments.config is None) == (arguments.resume is None):
        raise UserError(f"train needs either a configuration file or --resume RUN; see '{command('train', '--help')}'")
    elif arguments.resume is not None and arguments.run is not None:
        raise UserError("--run cannot go with --resume, which continues a run where it is")
    elif arguments.resume is not None and arguments.seeds is not None:
        raise UserError("--seeds cannot go with --resume, which continues the seeds that a folder has")
    elif (arguments.processes > 1 or is_launched()) and (arguments.seeds is not None or _are_seeds(arguments.resume)):
        raise UserError("several seeds are a process each: train them without --processes and torchrun, or one by one")
    elif arguments.processes > 1 and not arguments.help:
        return _launch(arguments)
    elif arguments.resume is not None:
        _resume(arguments)
    else:
        _train(arguments)
    return 0


def _launch(arguments: argparse.Namespace) -> int:
    """Starts the processes that train together, each of which runs the command without `--processes`."""
    from metarl.data_parallel import check_meta_batch
    from metarl.launching import launch

    processes, cores = arguments.processes, available_cores()
    if is_launched():
        raise UserError("--processes cannot go with torchrun, which starts the processes itself")
    if processes > cores:
        raise UserError(f"--processes: {processes} is more than the {cores} cores at hand")
    what: list[str | Path] = []
    if arguments.resume is not None:
        from metarl.resuming import changed_config
        from metarl.runs import RunDirectory

        config = changed_config(RunDirectory.open(arguments.resume).config, None, arguments.overrides)
        what += ["--resume", arguments.resume]
    else:
        from metarl.config import load_config

        config = load_config(arguments.config, arguments.overrides)
        what += [arguments.config, *([] if arguments.run is None else ["--run", arguments.run])]
    check_meta_batch(config.algorithm.meta_batch, processes)
    return launch(processes, ["train", *map(argument, what), *arguments.overrides])


def _train(arguments: argparse.Namespace) -> None:
    from metarl.config import load_config
    from metarl.training import Training

    config = load_config(arguments.config, arguments.overrides)
    if arguments.help:
        _print_fields(config, arguments.config)
    elif arguments.seeds is not None:
        _train_seeds(config, arguments)
    elif may_restart() and arguments.run is None:
        raise UserError("torchrun --max-restarts needs --run DIR, by which processes started again find their run")
    elif restarts() > 0 and is_run(arguments.run):
        train_in_terminal(lambda: Training.resume(arguments.run))
    elif arguments.run is not None:
        train_in_terminal(lambda: Training.start(config, arguments.run))
    else:
        train_in_terminal(lambda: _anywhere(arguments.config.stem, lambda path: Training.start(config, path)))


def _train_seeds(config: RunConfig, arguments: argparse.Namespace) -> None:
    from metarl.cli.seeds import train_seeds
    from metarl.seeds import create_seeds

    def start(path: Path) -> Path:
        create_seeds(config, arguments.seeds, path)
        return path

    _check_seeds(arguments.seeds, arguments.overrides)
    folder = _anywhere(arguments.config.stem, start) if arguments.run is None else start(arguments.run)
    train_seeds(folder, new=True)


def _check_seeds(seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Checks the seeds of a command line.

    Raises:
        UserError: If one is given twice, or a single seed is given as well.
    """
    repeated = next((seed for index, seed in enumerate(seeds) if seed in seeds[:index]), None)
    if repeated is not None:
        raise UserError(f"--seeds: {repeated} is given twice: give each seed once")
    if any(override.split("=")[0] == "--seed" for override in overrides):
        raise UserError("--seed and --seeds cannot go together: leave one of them out")


def _anywhere(name: str, start: Callable[[Path], Started]) -> Started:
    """Starts in a directory named after the configuration and the time, and a number if another has just taken that."""
    from metarl.runs import RunExistsError

    now = f"{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        with suppress(RunExistsError):
            return start(Path("runs", f"{name}-{now}" + (f"-{number}" if number > 1 else "")))
    raise AssertionError  # never comes here


def _are_seeds(folder: Path | None) -> bool:
    return folder is not None and not is_run(folder) and bool(seed_runs(folder))


def _resume(arguments: argparse.Namespace) -> None:
    from metarl.cli.seeds import train_seeds
    from metarl.training import Training

    if _are_seeds(arguments.resume):
        train_seeds(arguments.resume, arguments.overrides)
        return

    def start() -> Training:
        training = Training.resume(arguments.resume, overrides=arguments.overrides)
        if training.iteration == 0 and training.ranks.leads:
            print("no checkpoint yet: starting from the beginning", flush=True)
        return training

    train_in_terminal(start)


def train_in_terminal(start: Callable[[], Training]) -> None:
    """Trains with progress on the terminal until all iterations are done, or a signal asks to stop.

    Args:
        start: Starts the training, or resumes it.

    Raises:
        UserError: If settings contradict each other, or the checkpoint does not belong to these tasks.
        RunFailure: If the run cannot go on; what was checkpointed stays.
    """
    from metarl.progress import Reporter, StopSignal
    from metarl.torchrun import join

    with StopSignal(quiet=not join().leads) as stop, start() as training:
        stop.calls(training.stop)
        if not training.ranks.leads:
            logging.disable(logging.WARNING)  # the leading process warns of what concerns all of them
            training.evaluate_untrained()
            for _ in training:
                pass
            return
        with Reporter(training.run.path, training.config.iterations, training.iteration) as reporter:
            if (untrained := training.evaluate_untrained()) is not None:
                reporter.show_evaluation(untrained)
            for iteration in training:
                reporter.show(iteration.iteration, iteration.env_steps, iteration.metrics)
                if iteration.evaluation is not None:
                    reporter.show_evaluation(iteration.evaluation)
            reporter.finish(interrupted=training.iteration < training.config.iterations)


def _print_fields(config: RunConfig, name: Path) -> None:
    """Prints the fields of a configuration with their meaning, values and choices."""
    import tyro

    model = _model_of(config)
    tyro.cli(
        model,
        prog=command("train", name),
        description="Every field can be set: --field value. The defaults shown are this file's. Another kind has fields"
        f" of its own, which are shown with it: {command('train', name, '--algorithm.kind', 'KIND', '--help')}",
        default=model.model_validate(config.model_dump()),
        args=["--help"],
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
    )


def _model_of(config: BaseModel, kinds: Sequence[str] = ()) -> type[BaseModel]:
    """Makes a model of exactly the sections that a configuration has; the `kind` of each may be any of its choices."""
    from pydantic import BaseModel, Field, create_model

    from metarl.algorithms import registry

    fields: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value: Any = getattr(config, name)
        annotation: Any = field.annotation
        if isinstance(value, BaseModel):
            kinds_of = [model.model_fields["kind"].default for model in _of_kinds(annotation)]
            choices = registry.names() if name == "algorithm" else kinds_of
            annotation = _model_of(value, choices)
        elif name == "kind" and kinds:
            annotation = Literal[tuple(kinds)]
        fields[name] = (annotation, Field(description=field.description))
    return create_model(type(config).__name__, __doc__=type(config).__doc__, **fields)


def _of_kinds(annotation: Any) -> list[type[BaseModel]]:
    """Returns the models of a union that a `kind` tells apart; none of a single model that may be left out."""
    from pydantic import BaseModel

    models = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
    return [model for model in models if "kind" in model.model_fields]
