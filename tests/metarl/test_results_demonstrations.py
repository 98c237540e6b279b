"""Results of imitation and recognition: from runs to the page, with controls beside them."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page import ROOT
from reported_runs import HALF
from shown_goals import collect_walks, walks_config
from shown_skills import save_skills
from training_runs import train

from metarl.cli import main
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.stored import Origin, StoredEvaluation
from metarl.runs import RunDirectory
from results import __main__ as results
from results.datasets import _Settings, collecting_command
from results.imitation import gains_over
from results.tables import experiments


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository in place of this one."""
    for name, path in {"ROOT": tmp_path, "RESULTS": tmp_path / "results", "DOCS": tmp_path / "docs"}.items():
        monkeypatch.setattr(results, name, path)
    monkeypatch.setattr("metarl.zoo_files.FOLDER", tmp_path / "zoo")
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "published.yaml", tmp_path / "results")
    return tmp_path


def page_of(run: Path, root: Path) -> str:
    """Adds a run to the results and returns the page."""
    options = ["--experiment", "shown", "--title", "A method", "--machine", "1 core"]
    assert results.main(["add", str(run), *options]) == 0
    assert results.main(["write"]) == 0
    assert results.main(["check"]) == 0
    return (root / "docs" / "RESULTS.md").read_text()


def test_an_imitation_becomes_a_section_with_its_controls(tmp_path: Path, root: Path) -> None:
    walks = collect_walks(tmp_path)
    run = RunDirectory.create(tmp_path / "run", walks_config(walks, 2))
    train(run)
    command = ["evaluate", str(run.path), "--adaptation-episodes", "0", "1", "--episodes", "1", "--tasks-per-name", "6"]
    assert main([*command, "--controls", "cloning"]) == 0
    page = page_of(run.path, root)
    section = page[page.index("## Imitation of demonstrations") :]
    assert "### navigation" in section
    assert f"Demonstrations walks-v0: {2 * 48} of {2 * 48} episodes succeeded and were kept of" in section
    assert (
        "`metarl demos collect --tasks navigation --goals 24 --episodes 2 --noise 0.1 --horizon 25 --output" in section
    )
    assert re.search(r"^\| A method \| 0 \| \d+ \[.*\n\|  \| 1 \| \d+ \[", section, re.MULTILINE)
    assert re.search(r"^\| A method \| cloning \| 1 \| 6 \| \d+ \[", section, re.MULTILINE)
    assert "--controls cloning`" in section
    assert str(tmp_path) not in page


def test_a_recognition_becomes_a_section(tmp_path: Path, root: Path) -> None:
    options = ["--tasks.dataset", str(save_skills(tmp_path)), "--tasks.split", "null", "--iterations", "1"]
    options += ["--tasks.test", "turn-6", "turn-7", "--algorithm.ways", "2", "--algorithm.shots", "1"]
    options += ["--algorithm.queries", "2", "--threads", "1"]
    assert main(["train", "skills-prototypical", "--run", str(tmp_path / "run"), *options]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--problems", "5", "--controls", "chance", "nearest"]) == 0
    page = page_of(tmp_path / "run", root)
    section = page[page.index("## Recognition of skills") :]
    assert "### 2 held-out classes, " in section
    assert "Demonstrations turns-v0: 96 episodes, which metarl did not record." in section
    assert re.search(r"^\| A method, 1 seed \| 1 \| [\d.]+ \[.* \| [+-][\d.]+ \[", section, re.MULTILINE)
    assert re.search(r"^\| control: nearest neighbour \| 1 \| ", section, re.MULTILINE)


def test_the_command_of_a_dataset_names_what_is_not_usual() -> None:
    plain = {"tasks": ["ML10"], "goals": 20, "episodes": 2, "noise": 0.1, "split": "both", "horizon": 500}
    settings = _Settings.model_validate(plain | {"seed": 1, "goal_seed": 1})
    usual = "metarl demos collect --tasks ML10 --goals 20 --episodes 2 --noise 0.1 --horizon 500"
    assert collecting_command(settings, "ml10-v0", frames=False) == usual
    changed = settings.model_copy(update={"again": 9, "goal_seed": 3, "frame_every": 10})
    assert collecting_command(changed, "few-v0", frames=True) == (
        "metarl demos collect --tasks ML10 --goals 20 --episodes 2 --again 9 --noise 0.1 --horizon 500 --goal-seed 3"
        " --frame-every 10 --frames --output demonstrations/few-v0"
    )


def stored(seed: int, success: list[float], tasks: int | None = None, control: str | None = None) -> StoredEvaluation:
    """An evaluation of the first tasks, of which each is solved in the given shares with k = 0 and 1."""
    of = slice(tasks)
    solved = np.array([[[share]] * len(HALF.task_ids) for share in success], dtype=np.bool_)[:, of]
    evaluation = replace(
        HALF,
        adaptation_episodes=(0, 1),
        task_names=HALF.task_names[of],
        task_ids=HALF.task_ids[of],
        success=solved,
        success_last=solved,
        returns=10.0 * solved,
        acted_as=None,
    )
    origin = Origin(
        "run", "last", split="test", training_seed=seed, task_fingerprint="f", versions={}, tasks_per_name=tasks,
        control=control, env_steps=100 + seed, iteration=7,
    )  # fmt: skip
    return StoredEvaluation(evaluation, origin)


def test_seeds_that_drew_other_numbers_of_steps_are_one_experiment() -> None:
    (found,) = experiments([stored(1, [0, 1]), stored(2, [0, 0])])
    assert [row.success.mean for row in found.overall if row.success] == [0, 0.5]


def test_gains_over_a_control_are_on_the_tasks_that_both_played() -> None:
    way = Experiment.of([stored(1, [0, 1]), stored(2, [0, 0])])
    control = Experiment.of([stored(1, [0, 0], tasks=2, control="gail")])
    (compared,) = gains_over(way, control)
    assert (compared.tasks, compared.control.k) == (2, 1)
    assert compared.control.success.mean == 0
    assert compared.way.success_gain is not None
    assert compared.way.success_gain.mean == 0.5  # one of two seeds solves them
    assert compared.way.return_gain is not None
    assert compared.way.return_gain.mean == 5
