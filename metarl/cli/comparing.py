"""Options of `metarl evaluate` for what an evaluation is held against."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from metarl.cli.arguments import at_least
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.evaluation.comparison import Wanted


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options to the parser."""
    group = parser.add_argument_group("held against (docs/controls.md)")
    group.add_argument(
        "--controls",
        metavar="NAME",
        nargs="+",
        default=(),
        help="random, shuffled, state-held, cloning, gail, expert, oracle, or all that apply but gail",
    )
    group.add_argument("--oracle-steps", metavar="N", type=at_least(1), help="steps the oracle trains for (1,000,000)")
    group.add_argument("--gail-steps", metavar="N", type=at_least(1), help="steps GAIL plays on each task (100,000)")
    group.add_argument(
        "--from-scratch",
        metavar="LEARNER",
        nargs="+",
        default=(),
        help="learn single tasks from scratch by ppo or sac of stable-baselines3: what is adaptation worth?",
    )
    group.add_argument(
        "--scratch-tasks", metavar="N", type=at_least(1), help="number of tasks of each name to learn (10)"
    )
    group.add_argument("--scratch-names", metavar="NAME", nargs="+", help="names of the tasks to learn (all)")
    group.add_argument(
        "--scratch-episodes", metavar="N", type=at_least(1), help="training episodes on each of them (1,000)"
    )
    group.add_argument(
        "--protocol",
        choices=("metarl", "meta-world"),
        default="metarl",
        help="meta-world runs Meta-World's own evaluator beside ours",
    )


def read_wanted(arguments: argparse.Namespace) -> Wanted | None:
    """Returns what the options ask for; None if nothing.

    Raises:
        UserError: If a number is given for what is not asked for.
    """
    from metarl.evaluation.comparison import Wanted
    from metarl.evaluation.from_scratch import FromScratch

    names = None if arguments.scratch_names is None else tuple(arguments.scratch_names)
    options = {"tasks": arguments.scratch_tasks, "names": names, "budget": arguments.scratch_episodes}
    given = {name: value for name, value in options.items() if value is not None}
    if given and not arguments.from_scratch:
        option = {"tasks": "--scratch-tasks", "names": "--scratch-names"}.get(next(iter(given)), "--scratch-episodes")
        raise UserError(f"{option} is for --from-scratch: say which learner, such as --from-scratch ppo")
    if arguments.oracle_steps is not None and not {"oracle", "all"} & set(arguments.controls):
        raise UserError("--oracle-steps is for --controls oracle")
    if arguments.gail_steps is not None and "gail" not in arguments.controls:
        raise UserError("--gail-steps is for --controls gail")
    if not arguments.controls and not arguments.from_scratch and arguments.protocol == "metarl":
        return None
    learners = tuple(dict.fromkeys(arguments.from_scratch))
    plan = FromScratch(learners, episodes=arguments.episodes, **given) if learners else None
    budgets = {name: getattr(arguments, name) for name in ("oracle_steps", "gail_steps")}
    steps = {name: value for name, value in budgets.items() if value is not None}
    return Wanted(tuple(arguments.controls), plan, arguments.protocol, **steps)
