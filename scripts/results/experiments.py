"""Experiments of results/: runs that differ in their seeds, and what is to be said of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import ValidationError

from metarl.strict import StrictModel
from metarl_envs.errors import UserError
from results.summary import FACTS, RunSummary, read_summary

ABOUT = "experiment.yaml"


class About(StrictModel):
    """What is to be said of an experiment by hand."""

    title: str
    """Heading of its section; the name of the method where experiments share a table."""
    text: str = ""
    """Markdown; what training was told, which settings were chosen how, what limits the result."""


class ExperimentSummary(NamedTuple):
    """An experiment of results/, as read back."""

    name: str
    about: About
    runs: list[RunSummary]


def read_experiments(folder: Path) -> list[ExperimentSummary]:
    """Reads all experiments, by name.

    Args:
        folder: The folder results/.

    Raises:
        UserError: If a summary is damaged, or an experiment has no title or no run.
    """
    return [_read_experiment(path.parent) for path in sorted(folder.glob(f"*/{ABOUT}"))]


def _read_experiment(folder: Path) -> ExperimentSummary:
    try:
        about = About.model_validate(yaml.safe_load((folder / ABOUT).read_bytes()))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(f"{folder / ABOUT} is damaged: {error}") from None
    runs = [read_summary(path.parent) for path in sorted(folder.glob(f"*/{FACTS}"))]
    if not runs:
        raise UserError(f"experiment {folder} has no run")
    return ExperimentSummary(folder.name, about, sorted(runs, key=lambda run: run.config.seed))
