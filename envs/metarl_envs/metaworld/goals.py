"""Tasks of Meta-World's benchmarks, drawn by its own classes and cached on disk, since drawing takes up to 30 s."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import metaworld
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl_envs.core import Task
from metarl_envs.metaworld.versions import installed_versions

Splits = tuple[list[Task], list[Task]]
"""Training tasks and test tasks, in Meta-World's order."""

_BUILT_IN = frozenset((*ALL_V3_ENVIRONMENTS, "ML10", "ML25", "ML45", "MT10", "MT25", "MT50", "custom"))

_log = logging.getLogger(__name__)


def benchmark_tasks(make: Callable[[], metaworld.Benchmark], key: dict[str, Any]) -> Splits:
    """Returns the tasks of a benchmark, from the cache if they were drawn before.

    If the cached file is damaged or another user's, or there is no folder to write to, the tasks are drawn anew.

    Args:
        make: Makes Meta-World's benchmark, which takes about half a second per class.
        key: Arguments that determine the tasks: `benchmark`, `task`, `train`, `test`, `seed`. The installed versions
            are added.
    """
    if not _BUILT_IN.issuperset([key["task"] or key["benchmark"], *key["train"], *key["test"]]):
        benchmark = make()  # not cached: users may change their classes and keep the names
        return _ours(benchmark.train_tasks), _ours(benchmark.test_tasks)
    everything = {**key, "goals_per_class": metaworld._N_GOALS, "versions": installed_versions()}
    digest = hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()
    folder = _cache_folder()
    path = None if folder is None else folder / f"{digest[:16]}.json"
    splits = None if path is None else _load(path)
    if splits is None:
        _log.info("drawing the goals of Meta-World's %s; they will be kept in %s", key["benchmark"], path or "no file")
        benchmark = make()
        splits = _ours(benchmark.train_tasks), _ours(benchmark.test_tasks)
        if path is not None:
            _save(path, splits)
    return splits


def _ours(tasks: list[metaworld.types.Task]) -> list[Task]:
    """Converts Meta-World's tasks; the parameters are the `rand_vec`."""
    converted = []
    for task in tasks:
        env = object.__new__(ALL_V3_ENVIRONMENTS[task.env_name])  # decoding a task needs no simulator
        vars(env)["sawyer_observation_space"] = None  # which `set_task` deletes if the goal is visible
        env._partially_observable = True
        env.set_task(task)
        assert env._last_rand_vec is not None
        converted.append(Task(task.env_name, env._last_rand_vec))
    return converted


def _cache_folder() -> Path | None:
    """Returns the folder of the cache; None if the user has no home, as in a container with a user id of its own."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "metarl" / "metaworld"


def _load(path: Path) -> Splits | None:
    with suppress(OSError):
        digest, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() == digest:
            train, test = ([Task(name, rand_vec) for name, rand_vec in split] for split in json.loads(body))
            return train, test
    return None


def _save(path: Path, splits: Splits) -> None:
    content = [[(task.name, task.parameters.tolist()) for task in split] for split in splits]
    body = json.dumps(content).encode()  # Python's floats survive JSON bit for bit
    unfinished = path.with_suffix(f".{uuid4().hex}")  # machines that share a cache may have processes of one number
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
