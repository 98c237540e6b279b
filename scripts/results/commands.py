"""Commands that trained and evaluated a run, found again from its configuration and from its evaluations."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarl.config import RunConfig, load_config
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.protocol import ADAPTATION_EPISODES
from metarl.preset_files import preset_names
from metarl_envs.errors import UserError

_OF_THE_MACHINE = ("device", "threads", "workers")
"""Fields that change where and how fast a run trains, but not what."""
_MOST_OVERRIDES = 6
"""Largest number of fields that a command may change of a preset; beyond, the run's configuration file is clearer."""
_EPISODES, _SEED = 3, 1
"""What `metarl evaluate` takes unless told otherwise."""


def training_command(config: RunConfig, config_file: Path) -> str:
    """Finds the command that trains with a configuration: the preset that needs the fewest changes, with these.

    Args:
        config: Configuration of the run.
        config_file: File with that configuration, which is named if no preset is near.
    """
    found = {name: _overrides(config, name) for name in preset_names()}
    near = {name: changes for name, changes in found.items() if changes is not None and len(changes) <= _MOST_OVERRIDES}
    if not near:
        return shlex.join(["metarl", "train", str(config_file)])
    name = min(near, key=lambda each: len(near[each]))
    words = ["metarl", "train", name, *(word for field, value in near[name].items() for word in (f"--{field}", value))]
    again = load_config(name, words[3:]).model_dump(mode="json")
    if _fields(again) != _fields(config.model_dump(mode="json")):  # one change can make others, as a `kind` does
        return shlex.join(["metarl", "train", str(config_file)])
    return shlex.join(words)


def _overrides(config: RunConfig, preset: str) -> dict[str, str] | None:
    """Returns the fields that must change to come from a preset to a configuration; None if no change does.

    Kinds of parts, such as an encoder's, are changed first, since they bring fields of their own.
    """
    given, wanted = load_config(preset), _fields(config.model_dump(mode="json"))
    if (given.tasks.kind, given.algorithm.kind) != (config.tasks.kind, config.algorithm.kind):
        return None
    kinds: dict[str, str] = {}
    while further := {name: word for name, word in _changes(wanted, given).items() if name.endswith(".kind")}:
        kinds |= further
        try:
            given = load_config(preset, [each for name, word in kinds.items() for each in (f"--{name}", word)])
        except UserError:  # the preset's other settings exclude this kind
            return None
    if wanted.keys() != _fields(given.model_dump(mode="json")).keys():
        return None
    return kinds | _changes(wanted, given)


def _changes(wanted: Mapping[str, Any], given: RunConfig) -> dict[str, str]:
    """Returns the fields of a configuration, as words of a command, that others are wanted for."""
    fields = _fields(given.model_dump(mode="json"))
    differ = {name: value for name, value in wanted.items() if name in fields and value != fields[name]}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in differ.items()}


def _fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns values by dotted names, without those of the machine."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _fields(value, f"{prefix}{name}.")
        elif prefix or name not in _OF_THE_MACHINE:
            found[f"{prefix}{name}"] = value
    return found


def evaluation_command(experiment: Experiment, env_steps: int, run: str = "RUN") -> str:
    """Returns the command that made the evaluations of an experiment.

    Args:
        experiment: The evaluations.
        env_steps: Environment steps of the run's last checkpoint, which is evaluated unless told otherwise.
        run: What to call the run.
    """
    evaluation, origin = experiment.evaluations[0], experiment.origins[0]
    words = ["metarl", "evaluate", run]
    if origin.env_steps != env_steps:
        words += ["--checkpoint", str(origin.env_steps)]
    if evaluation.adaptation_episodes != tuple(ADAPTATION_EPISODES):
        words += ["--adaptation-episodes", *map(str, evaluation.adaptation_episodes)]
    options = {
        "episodes": None if evaluation.episodes == _EPISODES else evaluation.episodes,
        "tasks-per-name": origin.tasks_per_name,
        "split": None if origin.split == "test" else origin.split,
        "actions": None if evaluation.actions == "likeliest" else evaluation.actions,
        "seed": None if evaluation.seed == _SEED else evaluation.seed,
        "control": origin.control,
    }
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)
