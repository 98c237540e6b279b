"""Paths that users give for runs: recognised, or answered with the run that was probably meant."""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from metarl.preset_files import preset_names
from metarl.shell import command
from metarl.zoo_files import policy_names
from metarl_envs.errors import UserError

CONFIG = "config.yaml"
"""File that makes a directory a run."""

_NEEDED = (CONFIG, "metrics.jsonl", "versions.json", ".lock", "checkpoints")
"""Entries of a run that hold what cannot be made again, beside TensorBoard's."""


def is_run(path: Path) -> bool:
    """Returns true if there is a run's directory at a path."""
    try:
        return (path / CONFIG).is_file()
    except (OSError, ValueError):  # a path that cannot be: too long, or with a null character
        return False


def seed_runs(folder: Path) -> list[Path]:
    """Returns the runs `seed-N` of one experiment in a folder, in the order of their seeds; none if it holds none."""
    try:
        found = [path for path in folder.glob("seed-*") if path.name[5:].isdecimal() and is_run(path)]
    except (OSError, ValueError):
        return []
    return sorted(found, key=lambda path: int(path.name[5:]))


def expand_seeds(paths: Iterable[Path]) -> list[Path]:
    """Returns paths with the runs of its seeds in place of each folder that holds such; others stay as they are."""
    return [run for path in paths for run in (not is_run(path) and seed_runs(path)) or [path]]


def owning_run(path: Path) -> Path | None:
    """Returns the run that would be damaged by writing to a path: its configuration, metrics or checkpoints are there.

    Returns None for any other path, such as one among a run's evaluations or films.
    """
    resolved = path.resolve()
    for folder in resolved.parents:
        first = resolved.relative_to(folder).parts[0]
        if is_run(folder) and (first in _NEEDED or first.startswith("events.out.")):
            return folder
    return None


def no_run(path: Path) -> UserError:
    """Makes the error for a path without a run, with the run or command that was probably meant.

    Args:
        path: Path that the user gave.
    """
    what = f"{path} is not a run: it has no {CONFIG}" if is_directory(path) else f"no run at {path}"
    if path.parent.name == "checkpoints" and is_run(path.parent.parent):
        return UserError(f"{path} is a checkpoint: give the run, {path.parent.parent}, and --checkpoint {path.name}")
    if seeds := seed_runs(path):
        return UserError(f"{path} holds the runs of {len(seeds)} seeds: name one of them, such as {seeds[0]}")
    return UserError(what + _hint(path))


def _hint(path: Path) -> str:
    """Returns what was probably meant by a path without a run: a run, a preset or a pretrained policy."""
    meant = _nearest(path)
    if meant is not None:
        return f"; did you mean {meant}?"
    if str(path) in preset_names():
        return f"; '{path}' is a preset: train it first with: {command('train', path)}"
    if path.name in policy_names():
        where = " from another folder, as this one has its name" if is_directory(path) and len(path.parts) == 1 else ""
        return f"; '{path.name}' is a pretrained policy: give that name{where}"
    near = get_close_matches(path.name, [*policy_names(), *preset_names()], n=1)
    if not near:
        return ""
    return f"; did you mean the {'pretrained policy' if near[0] in policy_names() else 'preset'} '{near[0]}'?"


def _nearest(path: Path) -> Path | None:
    """Returns the run of that name, the latest whose name begins so, or the one of the most similar name."""
    runs: list[Path] = []
    for folder in (path.parent, Path("runs")):
        with suppress(OSError, ValueError):
            runs += [run for run in sorted(folder.iterdir()) if is_run(run) or seed_runs(run)]
    if not path.name or not runs:
        return None
    same = [run for run in runs if run.name == path.name] or [
        run for run in runs if run.name.startswith(f"{path.name}-")
    ]
    near = get_close_matches(path.name, [run.name for run in runs], n=1)
    return same[-1] if same else next((run for run in runs if run.name in near), None)


def is_directory(path: Path) -> bool:
    """Returns true if there is a directory at a path, and false too where no path can be."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
