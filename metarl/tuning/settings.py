"""Settings of a study: everything that its trials have in common, kept beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError

from metarl.config import DemonstrationTasks, RunConfig, ValidationTasks, explained
from metarl.config.tasks import TasksConfig
from metarl.runs import write_json
from metarl.strict import Count, CountOrZero, Seed, StrictModel
from metarl.tuning.dimensions import validate_dimensions
from metarl.tuning.space import Space
from metarl_envs.errors import UserError

FILE = "study.json"
"""File of the settings, in a study's folder."""
CHECKS = 5
"""Evaluations of a trial after its start, at even distances; all but the last may end it."""
_SHARE, _MOST_ASIDE, _LEAST_CLASSES = 0.2, 40, 5

Sampler = Literal["random", "grid", "tpe"]
"""How settings are chosen: independently at random, all of a grid, or by a model of what was good before."""
Pruner = Literal["median", "asha", "off"]
"""How hopeless trials end: below the median, outside of the better half of each rung, or never."""
Metric = Literal["return", "success"]
"""What is maximised."""


class StudySettings(StrictModel):
    """Settings of a study."""

    preset: dict[str, JsonValue]
    """Configuration that the search changes."""
    space: dict[str, JsonValue]
    """What is searched, as in the file."""
    sampler: Sampler
    """How settings are chosen."""
    pruner: Pruner
    """How hopeless trials end."""
    metric: Metric
    """What is maximised: the mean over the tasks put aside, each class with the same weight."""
    adaptation_episodes: CountOrZero
    """Number of adaptation episodes before the episodes that are scored."""
    hold_out: Literal["tasks", "classes"]
    """What is put aside of the training tasks."""
    count: Count
    """How much is put aside: tasks of each class, or classes."""
    seed: Seed
    """Seed that those of all trials are derived from."""
    keep: Annotated[int, Field(ge=1, le=1000)]
    """Number of best trials whose checkpoints are kept."""

    def config(self, folder: Path) -> RunConfig:
        """Returns the preset's configuration.

        Args:
            folder: Folder of the study, which may come from a stranger: no code in it is run.

        Raises:
            UserError: If it is not valid.
        """
        try:
            return RunConfig.model_validate(self.preset, context={"run": folder})
        except ValidationError as error:
            raise explained(error, self.preset, f"{folder / FILE}: preset") from None

    def tasks(self, config: RunConfig) -> ValidationTasks:
        """Returns the tasks of all trials: those of the preset's training split, some of them put aside."""
        of = config.tasks
        assert not isinstance(of, ValidationTasks | DemonstrationTasks)
        return ValidationTasks(of=of, by=self.hold_out, count=self.count)

    def search_space(self, folder: Path) -> Space:
        """Makes the search space, and checks all of it.

        Raises:
            UserError: If anything in it does not fit the preset, or not that many tasks can be put aside.
        """
        config, where = self.config(folder), "search space"
        dimensions = validate_dimensions(self.space, where)
        return Space(config, dimensions, where, self.tasks(config).build())

    def trial_config(self, chosen: RunConfig, seed: int, cores: int) -> RunConfig:
        """Returns the configuration of a trial's run, which evaluates on training tasks put aside.

        Args:
            chosen: Configuration with what the trial chose.
            seed: Seed of the run.
            cores: Number of cores that the run may use, where the preset does not say.
        """
        k = self.adaptation_episodes
        evaluation = chosen.evaluation.model_copy(
            update={"every": math.ceil(chosen.iterations / CHECKS), "adaptation_episodes": (0, k) if k else (0,)}
        )
        # A single checkpoint is enough: trials are not resumed.
        checkpoint = chosen.checkpoint.model_copy(update={"every": chosen.iterations, "keep_last": 1})
        changes = {
            "seed": seed,
            "threads": chosen.threads or cores,
            "workers": chosen.workers or cores,
            "tasks": self.tasks(chosen),
            "evaluation": evaluation,
            "checkpoint": checkpoint,
        }
        return RunConfig.model_validate(chosen.model_copy(update=changes).model_dump())

    def write(self, folder: Path) -> None:
        """Writes the settings into a study's folder.

        Raises:
            RunFailure: If the file cannot be written.
        """
        write_json(folder / FILE, self.model_dump(mode="json"))

    @staticmethod
    def read(folder: Path) -> StudySettings:
        """Reads the settings of a study's folder.

        Raises:
            UserError: If there is no study, or its file is damaged.
        """
        try:
            text = (folder / FILE).read_bytes()
        except OSError:
            raise UserError(f"{folder} is not a study: it has no {FILE}") from None
        try:
            fields = json.loads(text)
            return StudySettings.model_validate(fields)
        except ValidationError as error:
            raise explained(error, fields, str(folder / FILE)) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{folder / FILE} is damaged: {error}") from None

    def check_same(self, other: StudySettings, folder: Path) -> None:
        """Checks that a command asks for the study that a folder holds.

        Raises:
            UserError: If a setting is another; the line names it.
        """
        asked, held = (_flat(settings.model_dump(mode="json")) for settings in (self, other))
        for name in [*held, *asked]:
            if asked.get(name) != held.get(name):
                raise UserError(
                    f"{folder} holds another study: {name} is {held.get(name)!r} there, not {asked.get(name)!r};"
                    " name another folder by --folder"
                )


def default_hold_out(tasks: TasksConfig, asked: str | None) -> tuple[Literal["tasks", "classes"], int]:
    """Returns what is put aside of the training tasks, and how much.

    Unless asked otherwise, whole classes are put aside where the test split has other classes than the training split,
    and tasks of each class elsewhere; a fifth, but at most 40 tasks.

    Args:
        tasks: Tasks of the preset.
        asked: "tasks", "classes", or one of them with a number, as in "classes=3"; None leaves it open.

    Raises:
        UserError: If that is not understood, or the preset puts tasks aside itself or learns from demonstrations.
    """
    if isinstance(tasks, ValidationTasks):
        raise UserError("tasks.kind: validation is what a search sets itself: give the tasks that its field `of` has")
    if isinstance(tasks, DemonstrationTasks):
        raise UserError(
            "tasks.kind: demonstrations are not searched over; choose settings by hand, with tasks.hold_out validation"
        )
    kind, equals, number = (asked or "").partition("=")
    if kind not in ("", "tasks", "classes") or (equals and not (number.isdecimal() and 0 < int(number) < 10**6)):
        raise UserError(f"--hold-out: expected tasks, classes, tasks=N or classes=N, got '{(asked or '')[:60]}'")
    distribution = tasks.build()
    names = [task.name for task in distribution.train_tasks]
    classes = set(names)
    by: Literal["tasks", "classes"] = "tasks"
    others = classes.isdisjoint(task.name for task in distribution.test_tasks)
    if kind == "classes" or (not kind and others and len(classes) >= _LEAST_CLASSES):
        by = "classes"
    available = len(classes) if by == "classes" else min(names.count(name) for name in classes)
    return by, int(number) if equals else max(1, min(round(_SHARE * available), _MOST_ASIDE))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested fields by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
