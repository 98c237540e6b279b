"""Summary of a run: the small part of its directory that pages and cards are generated from, kept in the repository.

results/<experiment>/experiment.yaml    title, and what is to be said of it
results/<experiment>/<run>/             a run each, which differ in their seeds
summary.json                        a `Facts`
curve.csv                           learning curve of at most 100 points; none of what learned from demonstrations
config.yaml  versions.json  evaluations/*.json    as in the run
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from metarl.config import RunConfig, load_run_config
from metarl.config.tasks import DemonstrationTasks
from metarl.evaluation import stored_recognition
from metarl.evaluation.stored import KIND, StoredEvaluation, read_evaluation, result_files, write_evaluation
from metarl.evaluation.stored_recognition import StoredRecognition, read_recognition, write_recognition
from metarl.files import staging_path
from metarl.runs import RunDirectory
from metarl.strict import StrictModel
from metarl_envs.errors import UserError
from results.commands import training_command
from results.curve import Curve, read_metrics
from results.datasets import Dataset, dataset_of

FACTS, CURVE, CONFIG, VERSIONS, EVALUATIONS = "summary.json", "curve.csv", "config.yaml", "versions.json", "evaluations"


class Facts(StrictModel):
    """What a run's metrics and machine come to."""

    command: str
    """Command that trains the same anew."""
    iterations: int
    """Meta-iterations of training."""
    env_steps: int
    """Environment steps of training."""
    training_seconds: float
    """Wall-clock time of all iterations, without evaluations and starts."""
    machine: str
    """Processor, and number of cores at hand."""
    dataset: Dataset | None = None
    """Demonstrations that it learned from; None if from none."""

    def to_json(self) -> str:
        """Returns the facts as they are kept in a file."""
        return json.dumps(self.model_dump(exclude_none=True), indent=2) + "\n"


class RunSummary(NamedTuple):
    """Summary of a run, as read back."""

    name: str
    config: RunConfig
    versions: dict[str, str]
    facts: Facts
    curve: Curve | None
    """Success and return in training; None of a run that learned from demonstrations."""
    evaluations: list[StoredEvaluation]
    """Evaluations by playing."""
    recognitions: list[StoredRecognition]
    """Evaluations by recognising, of a run that recognises."""

    @property
    def commit(self) -> str:
        """Commit that the run was trained at, shortened."""
        commit, _, dirty = self.versions.get("commit", "unknown").partition("-")
        return commit[:7] + (" with changes" if dirty else "")


def write_summary(run: RunDirectory, folder: Path, machine: str | None = None) -> None:
    """Writes the summary of a run, or replaces it.

    Args:
        run: The run.
        folder: Folder of the summary.
        machine: Processor and cores that it was trained on, for runs that do not tell.

    Raises:
        UserError: If the run has no metrics or no evaluation, an evaluation is damaged, or its machine is unknown.
    """
    form = evaluation_form(run.config)
    evaluations = result_files(run, form.kind)
    if not evaluations:
        raise UserError(f"run {run.path} has no evaluation: metarl evaluate {run.path}")
    metrics = read_metrics(run.path)
    facts = make_facts(run, metrics, folder, machine)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = staging_path(folder)
    try:
        (staging / EVALUATIONS).mkdir(parents=True)
        for path in evaluations:
            form.copy(path, staging / EVALUATIONS / path.name, folder.name)
        for name in (CONFIG, VERSIONS):
            shutil.copyfile(run.path / name, staging / name)
        if facts.dataset is None:
            Curve.of(metrics).write(staging / CURVE)
        (staging / FACTS).write_text(facts.to_json(), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def make_facts(run: RunDirectory, metrics: Sequence[Mapping[str, Any]], folder: Path, machine: str | None) -> Facts:
    """Makes out what a run's metrics and machine come to.

    Args:
        run: The run.
        metrics: Its metrics, from the first iteration to the one that is summarised.
        folder: Folder of the summary or policy, results/EXPERIMENT/RUN or metarl/zoo/NAME.
        machine: Processor and cores that it was trained on; None is what the run tells.

    Raises:
        UserError: If its machine is unknown, or the demonstrations that it learned from are not there.
    """
    machine = machine or json.loads((run.path / VERSIONS).read_bytes()).get("machine")
    if machine is None:
        raise UserError(f"run {run.path} does not tell its machine: name it, as in --machine '2 cores of AMD EPYC'")
    return Facts(
        command=training_command(run.config, Path(*folder.parts[-3:], CONFIG)),
        iterations=len(metrics),
        env_steps=metrics[-1]["env_steps"],
        training_seconds=round(sum(line["time/iteration_seconds"] for line in metrics), 1),
        machine=machine,
        dataset=dataset_of(run.config),
    )


class EvaluationForm(NamedTuple):
    """Form of the files of one kind of evaluation."""

    kind: str
    read: Callable[[Path], Any]
    """Reads a file; what it returns has an `origin`."""
    write: Callable[[Path, Any], None]
    """Writes it."""

    def copy(self, source: Path, target: Path, name: str) -> None:
        """Copies a file, with the name of its run in place of paths that only its machine knew.

        Raises:
            UserError: If the file is damaged.
        """
        stored = self.read(source)
        origin = replace(stored.origin, run=name, checkpoint=Path(stored.origin.checkpoint).name)
        self.write(target, stored._replace(origin=origin))


PLAYED = EvaluationForm(KIND, read_evaluation, write_evaluation)
RECOGNISED = EvaluationForm(stored_recognition.KIND, read_recognition, write_recognition)


def evaluation_form(config: RunConfig) -> EvaluationForm:
    """Returns the form of the evaluations of a configuration's runs: by playing, or by recognising demonstrations."""
    return RECOGNISED if isinstance(config.tasks, DemonstrationTasks) else PLAYED


def read_summary(folder: Path) -> RunSummary:
    """Reads the summary of a run.

    Raises:
        UserError: If a file is missing or damaged.
    """
    try:
        facts = Facts.model_validate_json((folder / FACTS).read_bytes())
        versions = {name: str(value) for name, value in json.loads((folder / VERSIONS).read_bytes()).items()}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    except (ValidationError, ValueError) as error:
        raise UserError(f"the summary in {folder} is damaged: {error}") from None
    config = load_run_config(folder / CONFIG)
    form = evaluation_form(config)
    stored = [form.read(path) for path in sorted((folder / EVALUATIONS).glob("*.json"))]
    return RunSummary(
        name=folder.name,
        config=config,
        versions=versions,
        facts=facts,
        curve=Curve.read(folder / CURVE) if facts.dataset is None else None,
        evaluations=stored if form is PLAYED else [],
        recognitions=stored if form is RECOGNISED else [],
    )
