"""`metarl zoo`: lists the pretrained policies, or shows the card of one."""

import argparse

from metarl.cli.arguments import Commands
from metarl.shell import command
from metarl.zoo_files import policy_card, policy_names, policy_summary
from metarl_envs.errors import unknown


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("zoo", help="list pretrained policies", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument("name", metavar="NAME", nargs="?", help="policy whose card to show")


def run(arguments: argparse.Namespace) -> None:
    """Prints each policy's name and what it reaches, or the card of one."""
    names = policy_names()
    if arguments.name is None:
        print("Pretrained policies:")
        for name in names:
            print(f"  {name}\n    {policy_summary(name)}")
        print(
            f"Try one: {command('evaluate', 'NAME')}, or {command('watch', 'NAME')}. Its card: {command('zoo', 'NAME')}"
        )
    elif arguments.name in names:
        print(policy_card(arguments.name), end="")
    else:
        raise unknown("pretrained policy", arguments.name, names)
