"""`python scripts/results`: summaries of runs, pages of them, and pretrained policies. Exit codes as `metarl`'s."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml

if not __package__:  # run as a folder: Python put the folder itself on the path, not the one that it is in
    sys.path[0] = str(Path(__file__).parents[1])

from metarl.errors import RunFailure
from metarl.run_paths import expand_seeds
from metarl.runs import RunDirectory
from metarl.zoo_files import CARD, FOLDER, policy_names
from metarl_envs.errors import UserError
from results.card import generate_card
from results.experiments import ABOUT
from results.page import generate_page
from results.publish import publish
from results.summary import write_summary

ROOT = Path(__file__).parents[2]
RESULTS, DOCS = ROOT / "results", ROOT / "docs"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments; those of the process when not given.

    Returns:
        The exit code. Where it is 1 or 2, one line on stderr says why.
    """
    try:
        arguments = _make_parser().parse_args(argv)
        arguments.run_command(arguments)
    except UserError as error:
        return _complain(f"error: {error}", code=2)
    except RunFailure as error:
        return _complain(f"failed: {error}", code=1)
    return 0


def generated() -> dict[Path, bytes]:
    """Generates the page of results, its figures and the cards of all policies; returns their content by path.

    Raises:
        UserError: If a summary or a policy is damaged.
    """
    pages = {DOCS / name: content for name, content in generate_page(RESULTS).items()}
    return pages | {FOLDER / name / CARD: generate_card(FOLDER / name).encode() for name in policy_names()}


def differences() -> list[str]:
    """Returns the generated files that are not as they would be generated now, and figures that nothing generates."""
    files = generated()
    wrong = [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
    left = [path for path in (DOCS / "figures").glob("*") if path not in files]
    return [str(path.relative_to(ROOT)) for path in [*wrong, *left]]


def _add(arguments: argparse.Namespace) -> None:
    runs = [RunDirectory.open(path) for path in expand_seeds([arguments.run])]
    experiment = RESULTS / arguments.experiment
    if not (experiment / ABOUT).is_file() and arguments.title is None:
        raise UserError(f"{arguments.experiment} is a new experiment: give its --title")
    if arguments.name is not None and len(runs) > 1:
        raise UserError(f"--name is of a single run, but {arguments.run} holds {len(runs)}: leave it out")
    for run in runs:
        name = arguments.name or f"seed-{run.config.seed}"
        write_summary(run, experiment / name, arguments.machine)
        print(f"Summary: {experiment / name}")
    if arguments.title is not None:
        about = {"title": arguments.title}
        (experiment / ABOUT).write_text(yaml.safe_dump(about, allow_unicode=True), encoding="utf-8")
    print("Next: make results")


def _publish(arguments: argparse.Namespace) -> None:
    folder = FOLDER / arguments.name
    publish(RunDirectory.open(arguments.run), arguments.checkpoint, folder, arguments.machine)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"Policy: {folder}, {size / 1e6:.1f} MB")


def _write(arguments: argparse.Namespace) -> None:
    shutil.rmtree(DOCS / "figures", ignore_errors=True)
    for path, content in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    print(f"Results: {DOCS / 'RESULTS.md'}")


def _check(arguments: argparse.Namespace) -> None:
    wrong = differences()
    if wrong:
        raise RunFailure(f"{', '.join(wrong)}: not what the summaries say; generate anew with: make results")
    print("The page of results, its figures and the cards are what the summaries say.")


class _Parser(argparse.ArgumentParser):
    """Raises mistakes as `UserError`."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see '{self.prog} --help'")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python scripts/results", description="From runs to the page of results and to policies.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="summarise a run in results/")
    add.add_argument("--experiment", required=True, help="folder in results/, for runs that differ in their seeds")
    add.add_argument("--title", help="title of the experiment, if it is new")
    add.add_argument("--name", help="folder of the run (seed-N)")
    add.set_defaults(run_command=_add)
    policy = commands.add_parser("publish", help="make a pretrained policy of a run")
    policy.add_argument("--name", required=True, help="name of the policy")
    policy.add_argument("--checkpoint", default="last", help="'last', 'best', or name or path of one (last)")
    policy.set_defaults(run_command=_publish)
    for command in (add, policy):
        command.add_argument("run", metavar="RUN", type=Path, help="run directory, evaluated")
        command.add_argument("--machine", help="processor and cores that it was trained on, if the run does not tell")
    commands.add_parser("write", help="generate the page and the cards").set_defaults(run_command=_write)
    commands.add_parser("check", help="compare them with what would be generated").set_defaults(run_command=_check)
    return parser


def _complain(message: str, code: int) -> int:
    print(f"results: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
