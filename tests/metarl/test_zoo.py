"""Pretrained policies: found by name, small, unable to train on, and as good as their cards say."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metarl
from metarl import checkpoints, zoo_files
from metarl.cli import main
from metarl.config import RunConfig
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import StoredEvaluation, read_evaluation
from metarl.evaluation.tasks import select_tasks
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.errors import UserError
from results.publish import publish

STEPS = 60_000
"""Environment steps that the fresh evaluation of a policy may take."""
ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {
        "kind": "maml",
        "meta_batch": 2,
        "episodes": 2,
        "hidden_sizes": [4],
        "outer": {"kind": "ppo"},
        "baseline": {"kind": "value"},
    },
    "rl2": {
        "kind": "rl2",
        "meta_batch": 2,
        "episodes": 2,
        "core": {"kind": "gru", "hidden_size": 4},
        "baseline": {"kind": "privileged"},
    },
}
"""Algorithms with state of all kinds that only training needs."""


def complaint(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated run of two iterations."""
    fields = {
        "iterations": 2,
        "device": "cpu",
        "evaluation": {"every": 0},
        "algorithm": ALGORITHMS[request.param],
        "tasks": {"kind": "navigation", "num_train_tasks": 20, "num_test_tasks": 12, "horizon": 4},
    }
    path: Path = tmp_path_factory.mktemp("runs") / "mine"
    with Training.start(RunConfig.model_validate(fields), path) as training:
        list(training)
    assert main(["evaluate", str(path), "--adaptation-episodes", "0", "2", "--episodes", "1"]) == 0
    return path


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of that of the package."""
    folder = tmp_path / "package" / "zoo"
    folder.mkdir(parents=True)
    monkeypatch.setattr(zoo_files, "FOLDER", folder)
    return folder


@pytest.fixture(scope="module")
def published(run: Path) -> Path:
    """The run as a pretrained policy, wherever."""
    folder = run.parent / "package" / "zoo" / "navigation-mine"
    publish(RunDirectory.open(run), "last", folder, "a machine")
    return folder


@pytest.fixture
def policy(published: Path, zoo: Path) -> Path:
    """The run as a pretrained policy of the package."""
    return Path(shutil.copytree(published, zoo / "navigation-mine"))


def test_a_policy_acts_and_adapts_as_its_run(run: Path, policy: Path) -> None:
    results = []
    for given in (run, Path("navigation-mine")):
        directory = RunDirectory.open(given)
        distribution = directory.config.tasks.build()
        agent, _ = load_agent(directory.checkpoint("last"), directory.config, distribution, seed=3)
        results.append(
            evaluate(agent, distribution, distribution.test_tasks[:3], adaptation_episodes=(0, 2), episodes=1, seed=1)
        )
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    whole, slim = (next(path.rglob("state.safetensors")).stat().st_size for path in (run, policy))
    assert slim < whole
    assert metarl.load("navigation-mine", seed=3).observation_size == 2


def test_a_policy_lacks_what_only_training_needs(run: Path, policy: Path) -> None:
    state, manifest = checkpoints.load(checkpoints.latest(policy / "checkpoints"))
    whole, _ = checkpoints.load(checkpoints.latest(run / "checkpoints"))
    assert manifest.policy_only
    assert not [name for name in state if "optimizer" in name or "privileged" in name or name.startswith("outer")]
    assert [name for name in whole if "optimizer" in name or "privileged" in name or name.startswith("outer")]
    shutil.copytree(policy, "copy")
    assert "lacks what training would go on from" in complaint(Training.resume, "copy", iterations=3)
    assert "is a pretrained policy, which lacks what" in complaint(Training.resume, "navigation-mine", iterations=3)
    assert not list(policy.glob(".*"))


def test_a_policy_without_what_acting_needs_is_refused(policy: Path) -> None:
    checkpoint = checkpoints.latest(policy / "checkpoints")
    state, manifest = checkpoints.load(checkpoint)
    lost = max((name for name in state if name.startswith(("policy", "head", "body"))), default=max(state))
    checkpoints.save(checkpoint.parent, {name: value for name, value in state.items() if name != lost}, manifest)
    assert f"it lacks tensor '{lost}'" in complaint(metarl.load, "navigation-mine")


def test_what_is_made_of_a_policy_goes_to_the_working_directory(policy: Path) -> None:
    before = sorted(policy.rglob("*"))
    options = ["--adaptation-episodes", "0", "--episodes", "1", "--tasks-per-name", "2"]
    assert main(["evaluate", "navigation-mine", *options]) == 0
    assert len(list(Path("runs/zoo/navigation-mine/evaluations").glob("*.json"))) == 1
    assert sorted(policy.rglob("*")) == before


def test_reports_and_figures_of_a_policy_go_there_too(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, here = sorted(policy.rglob("*")), set(Path().iterdir())
    options = ["--adaptation-episodes", "0", "1", "--episodes", "1", "--tasks-per-name", "2"]
    assert main(["evaluate", "navigation-mine", *options]) == 0
    assert main(["report", "navigation-mine", "--no-films", "--no-projection"]) == 0
    assert "report: runs/zoo/navigation-mine/report.html" in capsys.readouterr().out
    page = Path("runs/zoo/navigation-mine/report.html").read_text()
    assert "metarl evaluate navigation-mine --controls all" in page
    assert str(policy) not in page
    assert main(["plot", "navigation-mine", "--format", "svg"]) == 0
    assert list(Path("runs/zoo/navigation-mine/figures").glob("*.svg"))
    assert sorted(policy.rglob("*")) == before
    assert set(Path().iterdir()) - here <= {Path("runs")}


def test_a_folder_of_the_name_wins(run: Path, policy: Path) -> None:
    shutil.copytree(run, "navigation-mine")
    assert RunDirectory.open(Path("navigation-mine")).output == Path("navigation-mine")
    Path("navigation-mine/config.yaml").unlink()
    assert "give that name from another folder, as this one has its name" in complaint(metarl.load, "navigation-mine")


def test_names_that_are_near(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(metarl.load, "navigation-mien").endswith("did you mean the pretrained policy 'navigation-mine'?")
    assert complaint(metarl.load, "runs/navigation-mine").endswith(
        "'navigation-mine' is a pretrained policy: give that name"
    )
    assert complaint(metarl.load, "halfcheetah-vel-rl3").endswith("did you mean the preset 'halfcheetah-vel-rl2'?")
    assert main(["zoo", "navigation-nime"]) == 2
    assert "unknown pretrained policy 'navigation-nime'; did you mean 'navigation-mine'?" in capsys.readouterr().err


def test_the_zoo_lists_policies_and_shows_cards(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    listed = capsys.readouterr().out
    assert "  navigation-mine\n    " in listed
    assert " on navigation, 12 held-out tasks: " in listed
    assert main(["zoo", "navigation-mine"]) == 0
    assert capsys.readouterr().out == (policy / "README.md").read_text()


def test_only_what_has_been_evaluated_is_published(run: Path, zoo: Path) -> None:
    directory = RunDirectory.open(run)
    assert "two or more words" in complaint(publish, directory, "last", zoo / "Mine", "a machine")
    shutil.copytree(run, "other")
    next(Path("other/evaluations").glob("*.json")).unlink()
    other = RunDirectory.open(Path("other"))
    assert "no evaluation on held-out tasks" in complaint(publish, other, "last", zoo / "other-one", "a machine")
    assert not list(zoo.iterdir())


def card_of(name: str) -> StoredEvaluation:
    """The evaluation of a policy on held-out tasks that its card begins with."""
    stored = [read_evaluation(path) for path in (zoo_files.FOLDER / name / "evaluations").glob("*.json")]
    policy = [each for each in stored if each.evaluation.held_out and each.origin.control is None]
    return next(each for each in policy if each.evaluation.actions == "likeliest")


@pytest.mark.parametrize("name", zoo_files.policy_names())
def test_a_policy_does_what_its_card_says(name: str) -> None:
    told = card_of(name).evaluation
    run = RunDirectory.open(zoo_files.FOLDER / name)
    distribution = run.config.tasks.build()
    k, classes = told.adaptation_episodes[-1], Counter(told.task_names)
    budget = STEPS // ((k + told.episodes) * told.horizon * len(classes))
    tasks = select_tasks(distribution.test_tasks, min(max(budget, 2), 10, *classes.values()))
    agent, _ = load_agent(run.checkpoint("last"), run.config, distribution, seed=2)
    now = evaluate(agent, distribution, tasks, adaptation_episodes=(k,), episodes=told.episodes, seed=2)
    # The interval of n tasks is sqrt(N / n) times as wide as that of N.
    wider = (len(told.task_names) / len(tasks)) ** 0.5
    for said, found in (
        (told.overall[-1].success, now.overall[-1].success.mean),
        (told.overall[-1].returns, now.overall[-1].returns.mean),
    ):
        assert widened(said, wider).low <= found <= widened(said, wider).high


def widened(interval: Interval, factor: float) -> Interval:
    mean, low, high = interval
    return Interval(mean, mean - factor * (mean - low), mean + factor * (high - mean))


@pytest.mark.parametrize("name", zoo_files.policy_names())
def test_the_checksums_of_a_policy_fit(name: str) -> None:
    [checkpoint] = (zoo_files.FOLDER / name / "checkpoints").iterdir()
    lines = (checkpoint / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        digest, file = line.split("  ")
        assert hashlib.sha256((checkpoint / file).read_bytes()).hexdigest() == digest
    assert card_of(name).origin.env_steps == int(checkpoint.name)


def test_all_policies_together_are_small() -> None:
    assert zoo_files.policy_names()
    assert sum(path.stat().st_size for path in zoo_files.FOLDER.rglob("*") if path.is_file()) < 20e6
