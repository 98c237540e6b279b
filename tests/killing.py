"""Kills trainings at random moments and compares the resumed ones with uninterrupted ones.

`python tests/killing.py FOLDER KILLS SEED CASE...`, in a process of its own, ends each case KILLS times in all, by any
of `WAYS`, and prints a line of JSON for each case. Trainings are forks of this process, which has trained a little, so
that a start takes a fraction of a second. It has no other threads, since a fork has none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard

import metarl.algorithms.maml.algorithm
import metarl.algorithms.rl2.algorithm  # noqa: F401  (imported now rather than in each fork)
from metarl import checkpoints
from metarl.cli.train import train_in_terminal
from metarl.config import RunConfig
from metarl.runs import RunDirectory
from metarl.training import Training

ITERATIONS, EVERY, KEEP_LAST = 9, 2, 2  # the last iteration is off the schedule, and so is many a stop
NAVIGATION = {"kind": "navigation", "horizon": 5, "num_train_tasks": 8, "num_test_tasks": 3}
BANDIT = {"kind": "bandit", "arms": 3, "num_train_tasks": 8, "num_test_tasks": 3}
MAML = {"kind": "maml", "meta_batch": 2, "episodes": 2, "hidden_sizes": [4]}
RL2 = {"kind": "rl2", "meta_batch": 4, "episodes": 2, "core": {"kind": "gru", "hidden_size": 4}}
TRANSFORMER = {"kind": "transformer", "memory": 4, "model_size": 4, "heads": 1}
PRIVILEGED: dict[str, Any] = {"kind": "privileged", "hidden_sizes": [4], "minibatches": 1}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "maml-trpo": (MAML, NAVIGATION),
    "maml-ppo": (MAML | {"outer": {"kind": "ppo"}}, NAVIGATION),
    "maml-promp": (MAML | {"outer": {"kind": "promp"}, "inner": {"estimator": "likelihood_ratio"}}, NAVIGATION),
    "maml-vpg": (MAML | {"outer": {"kind": "vpg"}}, NAVIGATION),
    "maml-reptile": (MAML | {"outer": {"kind": "reptile"}}, NAVIGATION),
    "maml-anil-two-steps": (MAML | {"inner": {"adapted": "head", "steps": 2}}, NAVIGATION),
    "maml-meta-sgd-value": (MAML | {"inner": {"learned_lr": True}, "baseline": {"kind": "value"}}, NAVIGATION),
    "rl2-ppo-gru": (RL2, NAVIGATION),
    "rl2-ppo-lstm-value": (RL2 | {"core": {"kind": "lstm", "hidden_size": 4}, "baseline": {"kind": "value"}}, BANDIT),
    "skills": (
        {"kind": "skills", "meta_batch": 2, "core": {"kind": "gru", "hidden_size": 4}, "baseline": PRIVILEGED},
        NAVIGATION,
    ),
    "rl2-trpo-transformer": (RL2 | {"core": TRANSFORMER, "outer": {"kind": "trpo"}}, BANDIT),
}

WAYS = {
    "SIGKILL": [signal.SIGKILL],
    "SIGINT": [signal.SIGINT],
    "SIGINT twice": [signal.SIGINT, signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
}
"""Ways to end a training before its time."""


def make_config(case: str) -> RunConfig:
    algorithm, tasks = CASES[case]
    return RunConfig.model_validate(
        {
            "iterations": ITERATIONS,
            "device": "cpu",
            "threads": 1,
            "tasks": tasks,
            "algorithm": algorithm,
            "evaluation": {"every": 3, "adaptation_episodes": [0, 1], "tasks_per_name": 2},
            "checkpoint": {"every": EVERY, "keep_last": KEEP_LAST},
        }
    )


def outcome(path: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on interruptions."""
    run = RunDirectory.open(path)
    kept = {}
    for checkpoint in sorted(run.checkpoints.iterdir()):
        tensors, manifest = checkpoints.load(checkpoint)
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        kept[checkpoint.name] = (digest.hexdigest(), manifest.iteration, manifest.score)
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {
        "last": run.checkpoint("last").name,
        "best": run.checkpoint("best").name,
        "checkpoints": kept,
        "metrics": [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines],
        "files": sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("events.")),
    }


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Returns the first thing in which a resumed run differs; None if there is none.

    A stop leaves a checkpoint off the schedule, which may still be there beside those of the uninterrupted run.
    """
    names = expected["checkpoints"].keys()
    extra = {name: kept for name, kept in found["checkpoints"].items() if name not in names}
    if any(iteration % EVERY == 0 or iteration == ITERATIONS for _, iteration, _ in extra.values()):
        return f"checkpoints: {sorted(extra)} beside {sorted(names)}"
    found = found | {"checkpoints": {name: kept for name, kept in found["checkpoints"].items() if name in names}}
    return next(
        (f"{key}: {found[key]} instead of {expected[key]}" for key in expected if found[key] != expected[key]), None
    )


def fork(work: Callable[[], object], log: Path) -> int:
    """Starts a fork that does some work, with its output in a file, and returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def go_on(path: Path, config: RunConfig) -> None:
    """What the user does after every kill: resumes, or starts if there is no run yet."""
    if path.exists():
        train_in_terminal(lambda: Training.resume(path))
    else:
        train_in_terminal(lambda: Training.start(config, path))


def finish(path: Path, config: RunConfig, log: Path) -> None:
    child = fork(lambda: go_on(path, config), log)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise SystemExit(f"{path} ended with {code}: {log.read_text()[-2000:]}")


def kill_once(path: Path, config: RunConfig, log: Path, numbers: list[signal.Signals], delay: float) -> bool:
    """Starts or resumes a run and ends it after a delay; returns false if it was done before."""
    child = fork(lambda: go_on(path, config), log)
    time.sleep(delay)
    for number in numbers:
        os.kill(child, number)
        time.sleep(0.001)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 130:
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{path} failed: {log.read_text()[-2000:]}")
    return not finished(path)


def kill_case(case: str, folder: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kills runs of one case until `kills` of them hit, lets each run finish, and compares."""
    config, log = make_config(case), folder / f"{case}.log"
    with Training.start(config, folder / f"{case}-warm") as training:
        list(training)
    began = time.perf_counter()
    finish(folder / f"{case}-whole", config, log)
    whole_run = time.perf_counter() - began
    expected = outcome(folder / f"{case}-whole")
    counts = dict.fromkeys(WAYS, 0)
    differences: list[str] = []
    runs = 0
    while sum(counts.values()) < kills:
        path = folder / f"{case}-{runs}"
        runs += 1
        for _ in range(min(8, kills - sum(counts.values()))):
            way = rng.choice(list(WAYS))
            if not kill_once(path, config, log, WAYS[way], rng.uniform(0, 0.6 * whole_run)):
                break
            counts[way] += 1
        finish(path, config, log)
        found = difference(expected, outcome(path))
        if found is not None:
            differences.append(f"{path.name}: {found}")
    return {"case": case, "kills": counts, "runs": runs, "seconds": round(whole_run, 2), "differences": differences}


def finished(path: Path) -> bool:
    run = RunDirectory.open(path)
    return checkpoints.exists(run.checkpoints) and checkpoints.load(run.checkpoint("last"))[1].iteration == ITERATIONS


def main(folder: str, kills: str, seed: str, *cases: str) -> None:
    torch.set_num_threads(1)
    rng = random.Random(int(seed))
    for case in cases or CASES:
        print(json.dumps(kill_case(case, Path(folder), int(kills), rng)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
