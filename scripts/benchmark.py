"""Measures how fast environments step under random actions; prints a table and writes it as JSON under runs/."""

import json
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from envs.core import TaskDistribution
from envs.metaworld import MetaWorld
from envs.navigation import Navigation
from envs.parallel import available_cores
from metarl.versions import versions

NUM_ENVS = 20
SECONDS = 5.0
"""How long each measurement lasts, at least."""


def steps_per_second(distribution: TaskDistribution) -> float:
    """Environment steps per second of wall-clock time, autoresets included, after the first reset."""
    env = distribution.make_env(NUM_ENVS)
    try:
        env.set_tasks(distribution.train_tasks[:NUM_ENVS])
        env.reset(seed=0)
        env.action_space.seed(0)
        steps = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS or steps < distribution.horizon:
            env.step(env.action_space.sample())
            steps += 1
        return steps * NUM_ENVS / elapsed
    finally:
        env.close()


def main() -> None:
    """Runs every measurement, one after the other."""
    cores = available_cores()
    print(f"{NUM_ENVS} environments, random actions, {cores} cores:")
    table = Table("task distribution", "env steps/s")
    speeds: dict[str, float] = {}
    for distribution in (Navigation(), MetaWorld("ML1", task="reach-v3")):
        speeds[distribution.name] = steps_per_second(distribution)
        table.add_row(distribution.name, f"{speeds[distribution.name]:,.0f}")
    Console().print(table)
    path = Path("runs", f"benchmark-{datetime.now():%Y%m%d-%H%M%S}.json")
    path.parent.mkdir(exist_ok=True)
    result = {"num_envs": NUM_ENVS, "cores": cores, "steps_per_second": speeds, "versions": versions()}
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
