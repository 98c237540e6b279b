"""Parts of a command line that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

from metarl_envs.errors import UserError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Collection that each command adds its parser to."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises a `UserError` for wrong arguments."""

    def error(self, message: str) -> NoReturn:
        """Raises the message, with the command that shows help."""
        raise UserError(f"{message}; see '{self.prog} --help'")


def options(parser: argparse.ArgumentParser) -> list[str]:
    """Returns the option strings that a parser knows, such as `--run` and `-h`."""
    return [option for action in parser._actions for option in action.option_strings]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a run and one of its checkpoints."""
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--checkpoint", metavar="WHICH", default="last", help="'last', 'best' or a path (last)")


def at_least(minimum: int) -> Callable[[str], int]:
    """Makes an argument type: a whole number, not below the minimum."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got '{text}'")
        return value

    return parse
