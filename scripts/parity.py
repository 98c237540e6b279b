"""Compares the engine with Meta-World's own environments: every class, 5 tasks, full episodes, three ways of acting.

Then every class with a visible goal, and MT10 over three episodes, each of another goal.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from rich.console import Console
from rich.table import Table

from metarl_envs.cores import available_cores
from metarl_envs.metaworld import TASK_NAMES, MetaWorld
from metarl_envs.metaworld.parity import DRIVES, TOLERANCES, compare, multi_task_differences, violations

TASKS, STEPS = 5, 500


def check(name: str) -> tuple[str, dict[str, float], int]:
    """The largest differences of one class, and how many steps were compared."""
    tasks = MetaWorld("ML1", task=name, seed=3).train_tasks[:TASKS]
    largest, steps = compare(tasks, STEPS)
    visible, further = compare(tasks[:1], STEPS, drives=("random",), goal_visible=True)
    return name, {what: max(value, visible[what]) for what, value in largest.items()}, steps + further


def check_multi_task() -> bool:
    """Prints how MT10 differs from Meta-World's own, with and without the class appended; returns true if it does."""
    wrong = []
    for use_one_hot in (False, True):
        largest, _ = multi_task_differences("MT10", 3 * STEPS, STEPS, seed=3, use_one_hot=use_one_hot)
        wrong += violations(largest)
    print(f"MT10, 3 episodes, with and without one-hot: {'; '.join(wrong) or 'equal'}", flush=True)
    return bool(wrong)


def main(names: Sequence[str]) -> int:
    """Prints a row per class; returns 1 if any difference is larger than allowed."""
    columns = ("physics", "observation", "reward", "success", "obj_to_target")
    table = Table("class", *columns, "other info", f"expert solves, of {TASKS}", "verdict")
    steps, failures = 0, 0
    with ProcessPoolExecutor(available_cores(), mp_context=get_context("spawn")) as pool:
        for name, largest, compared in pool.map(check, names):
            wrong = violations(largest)
            others = max(largest[what] for what in TOLERANCES.keys() - set(columns))
            cells = [f"{largest[what]:.0e}" for what in columns]
            table.add_row(
                name, *cells, f"{others:.0e}", f"{largest['expert success']:.0f}", "; ".join(wrong) or "equal"
            )
            print(f"{name}: {'; '.join(wrong) or 'equal'}", flush=True)
            steps, failures = steps + compared, failures + bool(wrong)
    failures += check_multi_task()
    Console(width=140).print(table)
    print(f"{len(names)} classes, {TASKS} tasks each, {', '.join(DRIVES)}: {steps:,} steps, {failures} differ")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or TASK_NAMES))
