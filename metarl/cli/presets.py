"""`metarl presets`: lists the presets."""

import argparse

from metarl.cli.arguments import Commands
from metarl.preset_files import FOLDER, preset_names, preset_summary
from metarl.shell import command


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    commands.add_parser("presets", help="list presets to train", allow_abbrev=False).set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints each preset's name and what it trains, and the folder that holds their files."""
    names = preset_names()
    width = max(map(len, names)) + 2
    print("Presets:")
    for name in names:
        print(f"  {name:<{width}}{preset_summary(name)}")
    print(f"Train one: {command('train', 'NAME')}. Their files, to copy and change: {FOLDER}")
