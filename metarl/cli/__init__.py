"""The `metarl` command. Exit codes: 0 done, 1 failed, 2 wrong user input, 130 interrupted, 141 nobody reads its output.

Each command is a module with `add_parser(commands)` and `run(arguments)`. PyTorch, and all that needs it, is imported
by `run` only, so that `metarl --help` answers at once.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from metarl.cli import demos, evaluate, export, plot, presets, report, strategies, tasks, train, tune, watch, zoo
from metarl.cli.arguments import Parser, innermost, options, refuse_repeated
from metarl.errors import RankLostError, RunFailure
from metarl.launched import is_first, is_launched
from metarl.versions import package_version
from metarl_envs.errors import UserError, WorkerFailure, one_line, unknown

_INTERRUPTED = 130
_COMMANDS = (train, tune, evaluate, report, plot, watch, export, demos, zoo, strategies, tasks, presets)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Name and arguments of the command; by default those of the process.

    Returns:
        The exit code. For 1, 2 and 130, one line on stderr gives the reason.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal lacks, such as the ² in ASCII, ends nothing
    try:
        try:
            return _try(sys.argv[1:] if argv is None else list(argv))
        finally:
            if sys.stdout is not None:  # it is None if the caller closed it
                sys.stdout.flush()
    except BrokenPipeError:  # as behind `metarl tasks | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains as it ends
        return 141


def _try(argv: list[str]) -> int:
    try:
        return _run(argv)
    except RankLostError:
        return 1  # the process that ended first, or the launcher, tells why
    except UserError as error:
        return _complain(f"error: {error}", code=2)
    except (RunFailure, WorkerFailure) as error:
        return _complain(f"failed: {error}", code=1)
    except MemoryError as error:
        return _complain(f"failed: not enough memory: {one_line(error)}", code=1)
    except KeyboardInterrupt:
        return _complain("interrupted", code=_INTERRUPTED)


def _complain(message: str, code: int) -> int:
    if _speaks(code):
        print(f"metarl: {' '.join(message.split())}", file=sys.stderr)
    return code


def _speaks(code: int) -> bool:
    """Returns true if this process is the one of several that tells why they end."""
    if code == _INTERRUPTED:  # perhaps while PyTorch loads, which then cannot be asked
        return is_first()
    if not is_launched():
        return True
    from metarl.torchrun import speaks

    return speaks()


def _run(argv: list[str]) -> int:
    parser, commands = _make_parser()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise unknown("command", argv[0], commands)
    overrides: list[str] = []
    if argv[:1] in (["train"], ["tune"]):
        argv, overrides = train.split_overrides(argv, options(commands[argv[0]]))
    if argv[:1] and argv[0] in commands:
        refuse_repeated(argv, innermost(argv[1:], commands[argv[0]]))
    arguments, rest = parser.parse_known_args(argv, argparse.Namespace(overrides=overrides))
    if rest:
        raise unknown("argument", rest[0], options(innermost(argv[1:], commands[arguments.command])))
    return arguments.run_command(arguments) or 0


def _make_parser() -> tuple[Parser, dict[str, argparse.ArgumentParser]]:
    parser = Parser(prog="metarl", description="Meta-reinforcement learning: train, measure adaptation, watch.")
    version = package_version("metarl-suite") or "(not installed)"
    parser.add_argument("--version", action="version", version=f"metarl {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser, dict(commands.choices)
