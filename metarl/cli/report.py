"""`metarl report`: writes all that is known of runs to one page."""

import argparse

from metarl.cli.arguments import Commands, path


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("report", help="write one page of HTML about runs", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=path,
        nargs="+",
        help="run directories, folders of several seeds, or names of pretrained policies",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=path,
        help="file to write or replace (report.html, in the run or beside several)",
    )
    parser.add_argument("--no-films", action="store_true", help="make no films, the part that takes longest")
    parser.add_argument(
        "--no-projection",
        action="store_true",
        help="leave out what adaptation leaves in the policy, which is played anew",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the report of one or several runs."""
    from metarl.reporting.command import report_runs

    report_runs(
        arguments.runs,
        output=arguments.output,
        films=not arguments.no_films,
        projection=not arguments.no_projection,
    )
