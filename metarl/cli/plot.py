"""`metarl plot`: writes the figures of a report to files."""

import argparse

from metarl.cli.arguments import Commands, path


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("plot", help="write the figures of a report to files", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=path,
        nargs="+",
        help="run directories, folders of several seeds, or names of pretrained policies",
    )
    parser.add_argument("--format", metavar="FORMAT", default="png", help="png or svg (png)")
    parser.add_argument(
        "--output", metavar="DIR", type=path, help="folder of the files (figures, in the run or beside several)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the figures of one or several runs."""
    from metarl.reporting.command import plot_runs

    plot_runs(arguments.runs, form=arguments.format, output=arguments.output)
