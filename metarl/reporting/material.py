"""What a report is made of: policies, each of one run or of several seeds, with their evaluations and controls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from metarl.evaluation.experiment import Experiment
from metarl.evaluation.metaworld_protocol import MetaWorldProtocol, read_protocols
from metarl.evaluation.result import Evaluation
from metarl.evaluation.scratch import LearningCurve, read_curves
from metarl.evaluation.stored import StoredEvaluation, read_evaluations
from metarl.evaluation.stress import StressCurve, read_stress
from metarl.loading import comparable_settings
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

_INDEPENDENT = ("random", "gail", "expert", "oracle")


@dataclass(frozen=True, eq=False)
class Policy:
    """Runs that differ in nothing but their seed, with their evaluations."""

    label: str
    """Name in the report."""
    runs: tuple[RunDirectory, ...]
    """The runs."""
    stored: tuple[StoredEvaluation, ...]
    """Evaluation of each run, all by one protocol on the same tasks."""
    controls: Mapping[str, tuple[StoredEvaluation, ...]] = field(default_factory=dict)
    """Evaluations of each control by the same protocol on the same tasks, by name."""

    @cached_property
    def result(self) -> Evaluation | Experiment:
        """Summaries with intervals: over tasks, and over seeds too where there are several runs."""
        return combine(self.stored)

    @property
    def evaluation(self) -> Evaluation:
        """Evaluation of the first run, for what all of them share: tasks and protocol."""
        return self.stored[0].evaluation

    @property
    def told_in_training(self) -> str:
        """What training was told and the policy is not, such as the actions of experts; empty if nothing."""
        return self.runs[0].config.algorithm.told_in_training()

    @property
    def checkpoint(self) -> Path:
        """Directory of the first run's checkpoint that was evaluated.

        Raises:
            UserError: If it is not there any more.
        """
        return self.runs[0].checkpoint(str(self.stored[0].origin.env_steps))

    @cached_property
    def success(self) -> Float[np.ndarray, "k task"]:
        """Share of episodes in which each task was solved at any step, over all runs."""
        return _mean([each.evaluation.success for each in self.stored])

    @cached_property
    def returns(self) -> Float[np.ndarray, "k task"]:
        """Mean return of each task's episodes, over all runs."""
        return _mean([each.evaluation.returns for each in self.stored])

    @property
    def meta_world(self) -> list[MetaWorldProtocol]:
        """Results of Meta-World's own evaluator on the first run, after as many adaptation episodes as ours."""
        found = read_protocols(self.runs[0])
        return [each for each in found if each.k == self.evaluation.adaptation_episodes[-1]]

    @cached_property
    def stress(self) -> list[StressCurve]:
        """Stress curves of the first run."""
        return read_stress(self.runs[0])


def combine(stored: Sequence[StoredEvaluation]) -> Evaluation | Experiment:
    """Returns the summaries of one evaluation, or those of several runs together."""
    return stored[0].evaluation if len(stored) == 1 else Experiment.of(stored)


def independent_of(control: StoredEvaluation) -> bool:
    """Returns true if a control does not depend on the policy, so that all policies share it."""
    return control.origin.control in _INDEPENDENT


def curves_of(policies: Sequence[Policy]) -> list[LearningCurve]:
    """Returns the learning curves from scratch that the policies' runs hold, each once."""
    curves: dict[str, LearningCurve] = {}
    for run in (run for policy in policies for run in policy.runs):
        for curve in read_curves(run):
            curves.setdefault(json.dumps([curve.learner, curve.settings, curve.task_ids], sort_keys=True), curve)
    return list(curves.values())


def _mean(outcomes: Sequence[np.ndarray]) -> Float[np.ndarray, "k task"]:
    mean: Float[np.ndarray, "k task"] = np.mean([each.mean(axis=-1) for each in outcomes], axis=0)
    return mean


def gather(paths: Sequence[Path], evaluate: Callable[[RunDirectory], object]) -> list[Policy]:
    """Reads runs and their evaluations, and puts the seeds of one experiment together.

    Args:
        paths: Directories of the runs, in the order of the report.
        evaluate: Called for a run without an evaluation of held-out tasks; must leave one.

    Raises:
        UserError: If there is no run at a path, one is given twice, a file of an evaluation is damaged, or the runs
            cannot be compared.
    """
    repeated = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if repeated:
        raise UserError(f"run {repeated[0]} is given more than once")
    runs = [RunDirectory.open(path) for path in paths]
    found = []
    for run in runs:
        if not _of_policy(read_evaluations(run)):
            evaluate(run)
        found.append(read_evaluations(run))
    chosen = [max(_of_policy(each), key=_weight) for each in found]
    for run, each in zip(runs[1:], chosen[1:], strict=True):
        _check_comparable(runs[0], chosen[0], run, each)
    groups: dict[tuple[str, int], list[int]] = {}
    for index, each in enumerate(chosen):
        settings, seed = _settings(runs[index], each), each.origin.training_seed
        # Two runs of one seed are no two samples: the second one begins a group of its own.
        before = [index for group in groups.values() for index in group if chosen[index].origin.training_seed == seed]
        repetition = sum(_settings(runs[index], chosen[index]) == settings for index in before)
        groups.setdefault((settings, repetition), []).append(index)
    return [
        Policy(
            _label([runs[index] for index in group], runs),
            tuple(runs[index] for index in group),
            tuple(chosen[index] for index in group),
            _controls([(chosen[index], found[index]) for index in group]),
        )
        for group in groups.values()
    ]


def _of_policy(stored: Sequence[StoredEvaluation]) -> list[StoredEvaluation]:
    return [each for each in stored if each.origin.control is None and each.origin.split == "test"]


def _weight(stored: StoredEvaluation) -> tuple[int, ...]:
    """Orders evaluations: the latest checkpoint's counts, then what played most, then that of the likeliest actions."""
    tasks, ks = len(stored.evaluation.task_ids), len(stored.evaluation.adaptation_episodes)
    return stored.origin.env_steps, tasks, ks, stored.evaluation.episodes, stored.evaluation.actions == "likeliest"


def _check_comparable(
    first: RunDirectory, one: StoredEvaluation, second: RunDirectory, other: StoredEvaluation
) -> None:
    mine, theirs = one.evaluation, other.evaluation
    if mine.task_ids != theirs.task_ids:
        counts = f"{len(mine.task_ids)} of {mine.distribution} and {len(theirs.task_ids)} of {theirs.distribution}"
        raise UserError(
            f"{first.path} and {second.path} cannot be compared: they were evaluated on other tasks, {counts}"
        )
    for name in ("horizon", "adaptation_episodes", "episodes", "actions"):
        ours, others = getattr(mine, name), getattr(theirs, name)
        if ours != others:
            raise UserError(
                f"{first.path} and {second.path} cannot be compared: their evaluations have the {name} {ours} and"
                f" {others}; evaluate both alike"
            )


def _settings(run: RunDirectory, stored: StoredEvaluation) -> str:
    """Returns what seeds of one experiment share: everything that was configured but the seed, and their steps."""
    settings = comparable_settings(run.config.model_dump(mode="json")) | {"seed": None}
    return json.dumps([settings, stored.origin.env_steps], sort_keys=True)


def _label(group: Sequence[RunDirectory], runs: Sequence[RunDirectory]) -> str:
    """Names a policy after its run's directory, with the directory above where two have the same name."""
    names = [run.path.resolve().name for run in group]
    if len(names) > 1:
        same_so_far = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
        shared = "".join(letters[0] for letters in same_so_far).rstrip("-_. ") or names[0]
        return f"{shared} ({len(names)} seeds)"
    same = [run for run in runs if run.path.resolve().name == names[0]]
    return names[0] if len(same) == 1 else f"{group[0].path.resolve().parent.name}/{names[0]}"


def _controls(
    found: Sequence[tuple[StoredEvaluation, Sequence[StoredEvaluation]]],
) -> dict[str, tuple[StoredEvaluation, ...]]:
    """Returns the controls of a policy's runs: the same tasks, after the same training, with actions chosen alike."""
    controls: dict[str, list[StoredEvaluation]] = {}
    for policy, stored in found:
        fitting: dict[str, StoredEvaluation] = {}
        for each in sorted(stored, key=_weight):
            name, mine, other = each.origin.control, policy.evaluation, each.evaluation
            same_tasks = (mine.task_ids, mine.horizon) == (other.task_ids, other.horizon)
            same_policy = each.origin.env_steps == policy.origin.env_steps and mine.actions == other.actions
            if name is not None and same_tasks and (independent_of(each) or same_policy):
                fitting[name] = each
        for name, each in fitting.items():
            if not independent_of(each) or name not in controls:
                controls.setdefault(name, []).append(each)
    return {name: tuple(each) for name, each in controls.items()}
