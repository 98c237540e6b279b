"""Markdown about the training of experiments: commands, budgets, machines, commits and versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from results.experiments import ExperimentSummary
from results.summary import RunSummary
from results.tables import table
from results.words import duration, packages


def runs_table(runs: Sequence[RunSummary]) -> str:
    """Returns the table of an experiment's runs, one in each row."""
    return table(
        ["seed", "trained by", "steps", "iterations", "training", "machine", "commit"],
        [
            [
                str(run.config.seed),
                f"`{run.facts.command}`",
                f"{run.facts.env_steps:,}",
                str(run.facts.iterations),
                duration(run.facts.training_seconds),
                run.facts.machine,
                run.commit,
            ]
            for run in runs
        ],
    )


def methods_table(experiments: Sequence[ExperimentSummary]) -> str:
    """Returns the table of the training of several methods, one in each row, with all of its seeds."""
    return table(
        ["method", "trained by", "iterations", "s an iteration", "machine", "commit"],
        [
            [
                each.about.title,
                f"`{_of_all_seeds(each.runs)}`",
                _joined(str(run.facts.iterations) for run in each.runs),
                f"{_seconds(each.runs):.2g}",
                _joined(run.facts.machine for run in each.runs),
                _joined(run.commit for run in each.runs),
            ]
            for each in experiments
        ],
    )


def versions_of_seeds(runs: Sequence[RunSummary]) -> str:
    """Returns the versions that an experiment's runs were trained with, by seed where they differ."""
    return _versions([(f"Seed {run.config.seed}", run) for run in runs])


def versions_of_methods(experiments: Sequence[ExperimentSummary]) -> str:
    """Returns the versions that several experiments were trained with, by method where they differ."""
    return _versions([(each.about.title, run) for each in experiments for run in each.runs])


def _versions(named: Sequence[tuple[str, RunSummary]]) -> str:
    by_versions: dict[str, list[str]] = {}
    for name, run in named:
        by_versions.setdefault(packages(run.versions), []).append(name)
    if len(by_versions) == 1:
        return f"{next(iter(by_versions))}."
    return " ".join(f"{_joined(names)}: {versions}." for versions, names in by_versions.items())


def _of_all_seeds(runs: Sequence[RunSummary]) -> str:
    """Returns the command that trains all runs of an experiment."""
    if len(runs) == 1:
        return runs[0].facts.command
    seeds = " ".join(str(run.config.seed) for run in runs)
    return f"{re.sub(r' --seed [0-9]+', '', runs[0].facts.command)} --seeds {seeds}"


def _seconds(runs: Sequence[RunSummary]) -> float:
    """Returns the mean wall-clock time of an iteration."""
    return sum(run.facts.training_seconds for run in runs) / sum(run.facts.iterations for run in runs)


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
