"""`metarl tasks`: lists task families, or describes one."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from inspect import getdoc, signature
from textwrap import fill
from typing import TYPE_CHECKING

from metarl.cli.arguments import Commands
from metarl.shell import command
from metarl_envs.errors import unknown

if TYPE_CHECKING:
    from metarl_envs.core import TaskDistribution


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser("tasks", help="list task families", allow_abbrev=False)
    parser.set_defaults(run_command=run)
    parser.add_argument("id", metavar="ID", nargs="?", help="show this family's tasks")


def run(arguments: argparse.Namespace) -> None:
    """Lists all families, or describes the family or Meta-World task of an id."""
    from metarl_envs import registry
    from metarl_envs.metaworld import TASK_NAMES

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        families = registry.registered()
    for warning in told:
        print(f"metarl: warning: {warning.message}", file=sys.stderr)
    if arguments.id is None:
        print("Task families:")
        width = max(map(len, families)) + 2
        for name, factory in families.items():
            print(f"  {name:<{width}}{_summary(factory)}".rstrip())
        print(_listing("Meta-World's tasks, for ML1, MT1 and custom", TASK_NAMES))
        print(f"More about one: {command('tasks', 'ID')}")
    elif arguments.id in families:
        _describe_family(arguments.id, families[arguments.id])
    elif arguments.id in TASK_NAMES:
        use = f"tasks: {{kind: metaworld, benchmark: ML1, task: {arguments.id}}}"
        print(f"{arguments.id}: a task of Meta-World; in a configuration: {use}")
    else:
        raise unknown("task family", arguments.id, [*families, *TASK_NAMES])


def _describe_family(name: str, factory: Callable[..., TaskDistribution]) -> None:
    """Prints the options of a family and, if all have defaults, its tasks."""
    from metarl_envs import registry

    options = signature(factory, eval_str=True).parameters.values()
    print(f"{name}: {_summary(factory)}".removesuffix(": "))
    for option in options:
        print(f"  {option.name:<18}{'required' if option.default is option.empty else f'default {option.default}'}")
    if "goal_visible" not in (option.name for option in options):
        print(f"  {'goal_visible':<18}default False")
    if any(option.default is option.empty for option in options):
        return
    distribution = registry.make(name)
    test = "held-out" if distribution.held_out else "test"
    for split, tasks in (("training", distribution.train_tasks), (test, distribution.test_tasks)):
        counts = Counter(task.name for task in tasks)
        print(_listing(f"{split} tasks", [f"{task} ({count})" for task, count in counts.items()]))


def _listing(title: str, items: Iterable[str]) -> str:
    return fill(f"{title}: {', '.join(items)}", width=100, subsequent_indent="  ", break_on_hyphens=False)


def _summary(factory: Callable[..., TaskDistribution]) -> str:
    return (getdoc(factory) or "").partition("\n")[0]
