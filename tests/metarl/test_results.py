"""Summaries of runs, and pages generated from them: complete, repeatable, and those of the repository up to date."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page import ROOT

from metarl.config import RunConfig, load_config
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.result import Evaluation
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import Origin, StoredEvaluation, write_evaluation
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError
from results import __main__ as results
from results.card import summary
from results.commands import evaluation_command, training_command
from results.curve import Curve
from results.page import generate_page
from results.published import read_published
from results.summary import Facts, read_summary
from results.tables import experiments, interval, what_was_played
from results.words import duration


def stored(seed: int, split: str = "test", success: float = 0.5, **changes: Any) -> StoredEvaluation:
    """An evaluation of 4 tasks of ML10 in 2 classes, 3 episodes each, of which the given share is solved after 10."""
    solved = np.zeros((4, 4, 3), dtype=np.bool_)
    solved[3, : round(4 * success)] = True
    evaluation = Evaluation(
        distribution="ML10",
        held_out=split == "test",
        horizon=500,
        task_names=("a-v3", "a-v3", "b-v3", "b-v3"),
        task_ids=("1", "2", "3", "4"),
        adaptation_episodes=(0, 1, 3, 10),
        adaptation_steps=1,
        seed=1,
        success=solved,
        success_last=solved,
        returns=100.0 * solved + seed,
    )
    fields = {"tasks_per_name": None, "control": None, "env_steps": 400, "iteration": 2} | changes
    origin = Origin(
        "/a/machine's/path", "/checkpoints/000000000400", split=split, training_seed=seed, **IDENTITY, **fields
    )
    return StoredEvaluation(evaluation, origin)


def with_sampled_actions(seed: int) -> StoredEvaluation:
    evaluation, origin = stored(seed)
    return StoredEvaluation(replace(evaluation, actions="sampled"), origin)


IDENTITY: dict[str, Any] = {"task_fingerprint": "f", "versions": {"torch": "2"}}


def make_run(seed: int, *overrides: str, evaluations: Sequence[StoredEvaluation]) -> RunDirectory:
    """A run of two iterations that was never trained, with evaluations."""
    run = RunDirectory.create(Path(f"run-{seed}"), load_config("ml10-maml", ["--seed", str(seed), *overrides]))
    for iteration in range(2):
        metrics = {"rollout/success_rate": 0.25 * (iteration + 1), "time/iteration_seconds": 45.0}
        run.log(metrics, iteration, 200 * (iteration + 1))
    run.close()
    for number, each in enumerate(evaluations):
        write_evaluation(run.evaluations / f"{number}.json", each)
    return run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository in place of this one."""
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results, "DOCS", tmp_path / "docs")
    monkeypatch.setattr("metarl.zoo_files.FOLDER", tmp_path / "zoo")
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "published.yaml", tmp_path / "results")
    return tmp_path


def add(run: RunDirectory, *options: str) -> int:
    return results.main(
        ["add", str(run.path), "--experiment", "ml10-maml", "--machine", "2 cores of a machine", *options]
    )


def test_the_repositorys_page_and_cards_are_what_the_summaries_say() -> None:
    assert results.differences() == []


def test_a_run_becomes_a_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, success in ((2, 1.0), (1, 0.5)):
        run = make_run(seed, evaluations=[stored(seed, success=success), stored(seed, "train")])
        assert add(run, *(["--title", "ML10, MAML"] if seed == 2 else [])) == 0
    assert results.main(["write"]) == 0
    page = (root / "docs" / "RESULTS.md").read_text()
    assert "## ML10, MAML\n" in page
    assert "| 1 | `metarl train ml10-maml` | 400 | 2 | 1.5 min | 2 cores of a machine | " in page
    assert "| 2 | `metarl train ml10-maml --seed 2` | 400 | 2 | 1.5 min | 2 cores of a machine | " in page
    held_out = page.index("**4 held-out tasks of ML10, 3 episodes of 500 steps each, 2 seeds**: `metarl evaluate RUN`")
    assert held_out < page.index(
        "**4 training tasks of ML10, 3 episodes of 500 steps each, 2 seeds**: `metarl evaluate RUN --split train`"
    )
    # of 4 tasks one seed solves all and the other half: 75 %; a-v3 is solved by both, b-v3 by one
    assert re.search(r"^\| 10 \| 75 \[", page[held_out:], re.MULTILINE)
    assert re.search(r"^\| a-v3 \|.* 100 \[.*\n\| b-v3 \|.* 50 \[", page[held_out:], re.MULTILINE)
    assert "| MAML-TRPO | 44.4 | 31.6 |" in page
    assert "machine's/path" not in page + "".join(path.read_text() for path in root.glob("results/*/*/*/*.json"))
    capsys.readouterr()
    assert results.main(["check"]) == 0
    (root / "docs" / "RESULTS.md").write_text(page.replace("75 [", "76 ["))
    (root / "docs" / "figures" / "gone.svg").touch()
    assert results.main(["check"]) == 1
    assert "failed: docs/RESULTS.md, docs/figures/gone.svg: not what the summaries say" in capsys.readouterr().err


def test_what_is_generated_is_always_the_same(root: Path) -> None:
    assert add(make_run(1, evaluations=[stored(1)]), "--title", "MAML") == 0
    first, again = (generate_page(root / "results") for _ in range(2))
    assert first == again
    assert first.keys() == {"RESULTS.md", "figures/ml10-maml.svg"}
    assert b"seed 1, after adaptation" in first["figures/ml10-maml.svg"]


def test_speeds_come_from_what_the_benchmark_wrote(root: Path) -> None:
    assert "RESULTS.md" in generate_page(root / "results")
    assert b"## Speed" not in generate_page(root / "results")["RESULTS.md"]
    folder = root / "results" / "speed"
    folder.mkdir()
    facts = {"machine": "3 cores of a machine", "commit": "0123456789", "python": "3.11.7", "torch": "2.13.0"}
    (folder / "scaling.json").write_text(json.dumps({"suite": "scaling", "rounds": 3, "versions": facts}))
    with pytest.raises(UserError, match=r"scaling\.json is damaged"):
        generate_page(root / "results")  # the tables are missing
    (folder / "scaling.md").write_text("| 2 x 1 | 15,000 |\n")
    page = generate_page(root / "results")["RESULTS.md"].decode()
    assert "`python scripts/benchmark --suite scaling --rounds 3` on 3 cores of a machine, with nothing" in page
    assert "commit\n01234567, Python 3.11.7, torch 2.13.0." in page
    assert page.endswith("| 2 x 1 | 15,000 |\n")


def test_a_summary_is_read_back_and_replaced(root: Path) -> None:
    run = make_run(1, evaluations=[stored(1)])
    assert add(run, "--title", "MAML") == 0
    write_evaluation(run.evaluations / "1.json", stored(1, "train"))
    assert add(run) == 0
    [folder] = (root / "results" / "ml10-maml").glob("seed-*")
    summary = read_summary(folder)
    assert summary.config == run.config
    assert summary.facts == Facts(
        command="metarl train ml10-maml",
        iterations=2,
        env_steps=400,
        training_seconds=90.0,
        machine="2 cores of a machine",
    )
    assert summary.curve is not None
    assert summary.curve.columns["success_after"] == [0.25, 0.5]
    assert [each.origin.split for each in summary.evaluations] == ["test", "train"]
    assert {each.origin.run for each in summary.evaluations} == {"seed-1"}
    assert len(list(folder.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("evaluations", "options", "said"),
    [
        ([], ["--title", "MAML"], "has no evaluation: metarl evaluate run-1"),
        ([stored(1)], [], "ml10-maml is a new experiment: give its --title"),
    ],
)
def test_a_run_that_cannot_be_added(
    evaluations: list[StoredEvaluation],
    options: list[str],
    said: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert add(make_run(1, evaluations=evaluations), *options) == 2
    assert said in capsys.readouterr().err
    assert not (root / "results" / "ml10-maml").exists()


def test_a_run_that_does_not_tell_its_machine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(1, evaluations=[stored(1)])
    arguments = ["add", str(run.path), "--experiment", "x", "--title", "X"]
    assert results.main(arguments) == 0
    assert "core" in read_summary(root / "results" / "x" / "seed-1").facts.machine
    versions = json.loads((run.path / "versions.json").read_text())
    del versions["machine"]
    (run.path / "versions.json").write_text(json.dumps(versions))
    assert results.main(arguments) == 2
    assert "does not tell its machine: name it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("demo", []),
        ("ml10-rl2", ["--algorithm.discount", "0.5", "--tasks.seed=3"]),
        ("bandit-rl2", ["--seed", "3", "--iterations=7", "--algorithm.encoder.hidden_sizes", "4", "5"]),
        ("ml1-push-imitation", ["--algorithm.way.kind", "gradient", "--algorithm.way.rule.kind", "metanet"]),
        ("skills-maml", ["--algorithm.encoder.kind", "recurrent", "--tasks.split", "30/10/10"]),
        ("ml1-push-rl2", ["--algorithm.outer.kind", "trpo"]),  # which that with experts excludes
    ],
)
def test_the_command_of_a_run_makes_its_configuration(preset: str, overrides: list[str]) -> None:
    config = load_config(preset, [*overrides, "--threads", "3"])
    words = shlex.split(training_command(config, Path("config.yaml")))
    assert words[:2] == ["metarl", "train"]
    again = load_config(words[2], words[3:])
    assert again.model_copy(update={"threads": 3}) == config


def test_a_run_far_from_all_presets_is_trained_from_its_configuration() -> None:
    fields = {"iterations": 3, "tasks": {"kind": "navigation", "horizon": 7, "num_train_tasks": 9, "num_test_tasks": 5}}
    algorithm = {"kind": "maml", "meta_batch": 3, "episodes": 4, "hidden_sizes": [5], "discount": 0.5, "init_std": 0.3}
    config = RunConfig.model_validate(fields | {"algorithm": algorithm})
    assert training_command(config, Path("results/x/seed-1/config.yaml")) == (
        "metarl train results/x/seed-1/config.yaml"
    )


def test_the_command_of_an_evaluation() -> None:
    other = stored(1, "train", tasks_per_name=2, control="random")
    sampled = Experiment.of([with_sampled_actions(1)])
    assert evaluation_command(Experiment.of([stored(1)]), 400) == "metarl evaluate RUN"
    assert evaluation_command(sampled, 400) == "metarl evaluate RUN --actions sampled"
    assert what_was_played(sampled) == "4 held-out tasks of ML10, 3 episodes of 500 steps each, actions sampled"
    assert evaluation_command(Experiment.of([other]), 900, "runs/x") == (
        "metarl evaluate runs/x --checkpoint 400 --tasks-per-name 2 --split train --control random"
    )


def test_evaluations_of_one_protocol_belong_together() -> None:
    held_out = [with_sampled_actions(1), stored(2), stored(1), stored(1, control="random")]
    all_of_them = [*held_out, stored(1, "train"), stored(2, "train")]
    found = [
        [(each.split, each.control, each.training_seed) for each in one.origins] for one in experiments(all_of_them)
    ]
    assert found == [
        [("test", None, 1), ("test", None, 2)],
        [("test", None, 1)],
        [("test", "random", 1)],
        [("train", None, 1), ("train", None, 2)],
    ]


@given(st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), min_size=1, max_size=350))
def test_a_thinned_curve_keeps_the_means(values: list[float | None]) -> None:
    lines = [{"env_steps": 10 * (i + 1), "rollout/success_rate": value} for i, value in enumerate(values)]
    curve = Curve.of(lines)
    assert len(curve.env_steps) <= 100
    assert curve.env_steps[-1] == 10 * len(values)
    assert curve.columns["return_before"] == [None] * len(curve.env_steps)
    start = 0
    for steps, mean in zip(curve.env_steps, curve.columns["success_after"], strict=True):
        block = [value for value in values[start : steps // 10] if value is not None]
        assert (mean is None) == (not block)
        assert mean is None or mean == pytest.approx(np.mean(block))
        start = steps // 10


def test_a_curve_is_read_back(tmp_path: Path) -> None:
    columns: dict[str, list[float | None]] = {"success_before": [None, 0.5], "success_after": [0.25, 1.0]}
    columns |= {"return_before": [1.0, -2.5], "return_after": [None, None]}
    curve = Curve([5, 10], columns)
    curve.write(tmp_path / "curve.csv")
    assert Curve.read(tmp_path / "curve.csv") == curve
    (tmp_path / "curve.csv").write_text("env_steps\n1\n")
    with pytest.raises(UserError, match="cannot read learning curve"):
        Curve.read(tmp_path / "curve.csv")


def test_numbers_in_words() -> None:
    assert interval(Interval(-0.04, -1.26, 3.0), 1, "+") == "+0.0 [-1.3, +3.0]"
    assert interval(Interval(12.0, math.nan, math.nan), 0) == "12"
    assert interval(None, 1) == ""
    assert [duration(seconds) for seconds in (12.34, 90, 5400)] == ["12.3 s", "1.5 min", "1.5 h"]


def test_what_training_was_told_is_said() -> None:
    assert load_config("ml10-maml").algorithm.told_in_training() == ""
    told = load_config("ml10-skills").algorithm.told_in_training()
    assert "told the class of each task" in told
    assert "Neither acting nor adapting sees that." in told
    assert "experts" not in told


def test_cards_and_their_first_line_say_that_experts_helped() -> None:
    config = load_config("ml10-skills-experts")
    assert config.algorithm.told_in_training().startswith("Trained with experts of the training classes")
    first = summary(config, Experiment.of([stored(1)]))
    assert first.startswith("Skill search with experts of the training classes on ML10, 4 held-out tasks")
    assert "experts" not in summary(load_config("ml10-skills"), Experiment.of([stored(1)]))


def test_published_numbers_have_their_source() -> None:
    published = read_published(ROOT / "results" / "published.yaml")
    assert {"ML10", "ML45"} <= published.keys()
    assert all(each.source and each.evaluator and each.budget for rows in published.values() for each in rows)


@pytest.mark.parametrize(
    ("text", "said"), [("ML10: [", "is not YAML"), ("ML10: [{method: x}]", "ML10.0.test: Field required")]
)
def test_damaged_published_numbers(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "published.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        read_published(tmp_path / "published.yaml")
    with pytest.raises(UserError, match="cannot read"):
        read_published(tmp_path / "none.yaml")
