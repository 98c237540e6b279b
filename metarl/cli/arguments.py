"""Parts of a command line that several commands share."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from metarl.shell import command
from metarl_envs.counts import MOST
from metarl_envs.errors import UserError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Collection that each command adds its parser to."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises a `UserError` for wrong arguments."""

    def error(self, message: str) -> NoReturn:
        """Raises the message, with the command that shows help."""
        raise UserError(f"{message}; see '{command(*self.prog.split()[1:], '--help')}'")


def options(parser: argparse.ArgumentParser) -> list[str]:
    """Returns the option strings that a parser knows, such as `--run` and `-h`."""
    return [option for action in parser._actions for option in action.option_strings]


def innermost(argv: Sequence[str], parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Returns the parser of the command within a command that a command line names, such as `collect` of `demos`.

    Args:
        argv: The command line, after the command's name.
        parser: Parser of the command, which is returned where there are none within.
    """
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) and argv and argv[0] in action.choices:
            within: argparse.ArgumentParser = action.choices[argv[0]]
            return within
    return parser


def refuse_repeated(argv: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Checks that no option with a value is given twice, of which argparse would take the last without a word.

    Args:
        argv: The command line.
        parser: Parser of its command.

    Raises:
        UserError: If one is.
    """
    with_value = {option for action in parser._actions if action.nargs != 0 for option in action.option_strings}
    given = [option for option in (argument.split("=")[0] for argument in argv) if option in with_value]
    for option, count in Counter(given).items():
        if count > 1:
            raise UserError(f"{option} is given {count} times: give it once")


def path(text: str) -> Path:
    """Argument type: a path, which need not exist but must be possible."""
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise argparse.ArgumentTypeError(f"'{text[:60]}' cannot be a path: {reason}") from None
    if not text:
        raise argparse.ArgumentTypeError("a path cannot be empty")
    return Path(text)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a run and one of its checkpoints."""
    parser.add_argument("run", metavar="RUN", type=path, help="run directory, or name of a pretrained policy")
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="last", help="'last', 'best', or name or path of one (last)"
    )


def at_least(minimum: int, maximum: int = MOST) -> Callable[[str], int]:
    """Makes an argument type: a whole number, not below the minimum nor above the maximum."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got '{text[:60]}'")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at most {maximum}, got '{text[:60]}'")
        return value

    return parse
