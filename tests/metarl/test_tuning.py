"""Searches: what is played, what is kept, going on after a kill, several processes, and what is told of a failure."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from counting_env import Counting, CountingEnv
from filelock import FileLock
from optuna.trial import TrialState

from metarl.cli import main
from metarl.config import NavigationTasks, ValidationTasks, load_config
from metarl.evaluation.statistics import Interval
from metarl.runs import RunDirectory
from metarl.tuning.study import TuningStudy, failed
from metarl_envs import registry
from metarl_envs.core import Task

PRESET = """iterations: 5
device: cpu
threads: 1
tasks: {kind: navigation, num_train_tasks: 20, num_test_tasks: 3, horizon: 4}
algorithm: {kind: maml, meta_batch: 2, episodes: 2, hidden_sizes: [4]}
evaluation: {adaptation_episodes: [0, 2]}
"""
SPACE = """algorithm.inner.lr: {low: 0.01, high: 1, log: true, steps: 2}
rule:
  options:
    trpo: {set: {algorithm.outer: {kind: trpo}}}
    vpg: {set: {algorithm.outer: {kind: vpg}}, search: {algorithm.outer.lr: {low: 0.001, high: 0.1, steps: 2}}}
"""
FOLDER = Path("runs/tune/preset-space")

pytestmark = pytest.mark.usefixtures("no_plug_ins")


@pytest.fixture(autouse=True)
def _files() -> None:
    Path("preset.yaml").write_text(PRESET)
    Path("space.yaml").write_text(SPACE)


def tune(*arguments: str | int, trials: int = 3) -> int:
    return main(["tune", "preset.yaml", "--search", "space.yaml", "--trials", str(trials), *map(str, arguments)])


def opened(folder: Path = FOLDER, storage: str | None = None) -> TuningStudy:
    return TuningStudy(folder, storage)


def told(study: TuningStudy) -> list[tuple[dict[str, Any], float | None, dict[int, float]]]:
    return [(trial.params, trial.value, trial.intermediate_values) for trial in study.trials]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line.removeprefix("metarl: ").strip()


def test_a_search_leaves_runs_a_preset_and_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune("--pruner", "off", "--keep", "1", trials=4) == 0
    study = opened()
    scores = [trial.value for trial in study.trials]
    assert study.best()[0].value == max(score for score in scores if score is not None)
    for trial in study.trials:
        run = RunDirectory.open(study.run_of(trial))
        logged = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        assert len(logged) == 6  # before training, and 5 iterations
        # the score is the evaluation after k = 2 episodes, at the end
        assert logged[-1]["eval/return/test/2_episodes"] == pytest.approx(trial.value)
        kept = (run.path / "checkpoints").is_dir() and any((run.path / "checkpoints").iterdir())
        assert kept == (trial.number == study.best()[0].number)
    assert len({RunDirectory.open(study.run_of(trial)).config.seed for trial in study.trials}) == 4
    # The best preset is the preset with what the best trial chose, on all of its own tasks.
    found, preset = load_config(FOLDER / "best.yaml"), load_config("preset.yaml")
    assert found == study.space.config_of(study.best()[0].params)
    assert (found.tasks, found.evaluation, found.seed) == (preset.tasks, preset.evaluation, preset.seed)
    played = RunDirectory.open(study.run_of(study.best()[0])).config
    assert played.algorithm == found.algorithm
    assert played.tasks == ValidationTasks(of=NavigationTasks.model_validate(preset.tasks.model_dump()), count=4)
    page = (FOLDER / "plots.html").read_text()
    assert page.count("<h2>") == 4
    assert page.count("Plotly.newPlot(") >= 3 + 1  # one in plotly.js itself
    assert page.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    out = capsys.readouterr().out
    assert "4 trials complete, 0 pruned, 0 failed" in out
    assert f"best: {FOLDER}/best.yaml" in out


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> set[Task]:
    """Registers the family "counting", and collects every task that is set in any of its environments."""
    tasks: set[Task] = set()

    class Watching(CountingEnv):
        def set_tasks(self, given: Sequence[Task]) -> None:
            tasks.update(given)
            super().set_tasks(given)

    class Watched(Counting):
        def make_env(self, num_envs: int, render_mode: str | None = None) -> CountingEnv:
            return Watching(num_envs, self.horizon)

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    registry.register("counting", Watched)
    return tasks


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_test_tasks_are_never_played(sampler: str, played: set[Task]) -> None:
    family = {"kind": "registered", "id": "counting"}
    Path("preset.yaml").write_text(yaml.safe_dump(yaml.safe_load(PRESET) | {"tasks": family}))
    assert tune("--sampler", sampler, "--algorithm.meta-batch", "1", "--hold-out", "tasks=1") == 0
    distribution = Counting()
    assert played
    assert played <= set(distribution.train_tasks)
    assert not played & set(distribution.test_tasks)


def test_one_worker_plays_the_same_trials_again_whole_or_in_parts() -> None:
    assert tune("--folder", "whole", trials=4) == 0
    assert tune("--folder", "parts", trials=2) == 0
    assert tune("--folder", "parts", trials=4) == 0
    assert tune("--folder", "other", "--seed", "2", trials=1) == 0
    whole, parts, other = (told(opened(Path(name))) for name in ("whole", "parts", "other"))
    assert len(whole) == 4
    assert whole == parts
    assert other[0] != whole[0]


def test_a_grid_plays_each_setting_once_and_ends() -> None:
    assert tune("--sampler", "grid", "--pruner", "off", "--iterations", "1", trials=3) == 0
    assert tune("--sampler", "grid", "--pruner", "off", "--iterations", "1", trials=99) == 0
    study = opened()
    points = [json.dumps(trial.params, sort_keys=True) for trial in study.trials]
    assert len(set(points)) == len(points) == 6  # 2 step sizes x (trpo + 2 of vpg)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


SCORES = {0: 5.0, 1: 5.0, 2: 5.0, 3: 5.0, 4: 1.0, 5: 9.0}
"""Score of each trial, at each check."""


@pytest.mark.parametrize(("pruner", "pruned"), [("median", [4]), ("off", [])])
def test_hopeless_trials_are_pruned(pruner: str, pruned: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeTraining:
        number = -1

        @classmethod
        def start(cls, config: Any, path: Path) -> "FakeTraining":
            cls.number += 1
            return cls()

        def __enter__(self) -> Iterator[Any]:
            score = Interval(SCORES[self.number], 0.0, 10.0)
            summary = SimpleNamespace(returns=score, success=score)
            return iter(
                SimpleNamespace(iteration=n, evaluation=SimpleNamespace(overall=[summary])) for n in range(1, 6)
            )

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("metarl.tuning.trial.Training", FakeTraining)
    assert tune("--pruner", pruner, trials=6) == 0
    study = opened()
    assert [trial.number for trial in study.trials if trial.state == TrialState.PRUNED] == pruned
    assert study.best()[0].number == 5
    reports = [len(trial.intermediate_values) for trial in study.trials]
    assert reports == [1 if number in pruned else 5 for number in range(6)]


def test_a_trial_that_fails_is_told_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text(
        "algorithm.episodes: {values: [2, 3]}\nalgorithm.parallel_episodes: {values: [1, 2]}\n"
    )
    assert tune("--sampler", "grid", trials=4) == 0
    (reason,) = [trial.user_attrs["reason"] for trial in failed(opened().trials)]
    assert "parallel_episodes: 2 does not divide algorithm.episodes = 3" in reason
    assert "3 trials complete, 0 pruned, 1 failed" in " ".join(capsys.readouterr().out.split())


def test_it_is_told_when_all_trials_fail(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise FloatingPointError("diverged")

    monkeypatch.setattr("metarl.tuning.trial.Training.start", explode)
    assert tune(trials=2) == 1
    assert complaint(capsys) == "failed: no trial was completed; the last failed: FloatingPointError: diverged"


def start_in_background(*arguments: str, until: Callable[[], bool]) -> subprocess.Popen[bytes]:
    """Starts a search as a process, and waits until something holds."""
    command = [sys.executable, "-m", "metarl", "tune", "preset.yaml", "--search", "space.yaml", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not until():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    return process


def test_a_killed_search_goes_on_without_losing_a_trial() -> None:
    Path("space.yaml").write_text("iterations: {values: [1, 100000]}")
    arguments = ["--sampler", "grid", "--trials", "2"]
    process = start_in_background(*arguments, until=lambda: _logged(FOLDER / "trials/0001") > 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    FOLDER.rename("moved")
    study = opened(Path("moved"))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    finished, killed = told(study)
    assert study.prepare() == 1
    assert study.prepare() == 0  # its setting is queued once
    assert [trial.state for trial in study.trials][1:] == [TrialState.FAIL, TrialState.WAITING]
    trial = study.claim(2)  # what was interrupted does not count
    assert trial is not None
    assert study.space.suggest(trial).iterations == 100000
    assert trial.user_attrs["retry_of"] == 1
    assert study.claim(2) is None
    assert told(study)[:2] == [finished, killed]
    assert not study.run_of(study.trials[1]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_command(number: signal.Signals) -> None:
    Path("space.yaml").write_text("iterations: {values: [100000, 100001]}")
    process = start_in_background(
        *("--sampler", "grid", "--trials", "2", "--workers", "2"),
        until=lambda: all(_logged(FOLDER / f"trials/000{trial}") > 2 for trial in (0, 1)),
    )
    process.send_signal(number)
    assert process.wait() in (-signal.SIGKILL, 130)
    locks = list((FOLDER / "workers").iterdir())
    assert len(locks) == 2
    for path in locks:
        with FileLock(path, timeout=60):  # its worker is gone
            pass
    assert opened().prepare() == 2


def _logged(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_a_trial_in_other_hands_is_left_alone() -> None:
    assert tune(trials=1) == 0
    mine, other = opened(), opened()
    assert mine.claim(2) is not None
    assert other.prepare() == 0
    assert other.claim(2) is None
    assert [trial.state for trial in other.trials] == [TrialState.COMPLETE, TrialState.RUNNING]


@pytest.mark.parametrize("storage", [None, "sqlite:///tune.db"])
def test_two_workers_share_a_search(storage: str | None) -> None:
    database = () if storage is None else ("--storage", storage)
    assert tune("--workers", "2", "--iterations", "1", "--pruner", "off", *database, trials=5) == 0
    study = opened(storage=storage)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    assert len({trial.user_attrs["worker"] for trial in study.trials}) == 2
    assert len({json.dumps(trial.params) for trial in study.trials}) == 5


def test_a_search_goes_on_by_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(trials=1) == 0
    assert main(["tune", "--resume", str(FOLDER), "--trials", "2"]) == 0
    assert len(opened().trials) == 2
    capsys.readouterr()
    assert main(["tune", "--resume", str(FOLDER), "--trials", "2", "--seed", "2"]) == 2
    assert complaint(capsys) == "error: --seed cannot go with --resume, which goes on with a search as it is"
    assert main(["tune", "--resume", str(FOLDER), "--trials", "2", "--iterations", "2"]) == 2
    assert "--iterations cannot go with --resume" in complaint(capsys)


def test_another_preset_or_space_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(trials=1) == 0
    capsys.readouterr()
    assert tune("--algorithm.meta-batch", 4) == 2
    line = complaint(capsys)
    assert "holds another study: preset.algorithm.meta_batch is 2 there, not 4; name another folder by --folder" in line
    Path("space.yaml").write_text(SPACE.replace("high: 1,", "high: 2,"))
    assert tune() == 2
    assert "space.algorithm.inner.lr.high is 1 there, not 2" in complaint(capsys)


def test_another_study_in_the_same_database_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """As from another machine, which has no folder of it yet."""
    assert tune("--storage", "sqlite:///tune.db", trials=1) == 0
    capsys.readouterr()
    shutil.rmtree(FOLDER)
    assert tune("--storage", "sqlite:///tune.db", "--metric", "success") == 2
    assert "metric is 'return' there, not 'success'" in complaint(capsys)


def test_a_lost_storage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(trials=1) == 0
    (FOLDER / "journal.log").unlink()
    capsys.readouterr()
    assert tune() == 2
    assert complaint(capsys).startswith(f"error: {FOLDER}/journal.log is lost, and the trials with it: restore it")
    assert tune("--storage", "sqlite:///other.db") == 2
    assert "it has no study 'preset-space', so the trials of" in complaint(capsys)


def test_a_journal_whose_last_line_is_torn_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """As a process leaves it that is killed while it writes."""
    assert tune(trials=2) == 0
    journal = FOLDER / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "worker_i')
    assert tune(trials=3) == 0
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())
    assert "3 trials complete" in capsys.readouterr().out


def test_a_damaged_journal_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(trials=1) == 0
    lines = (FOLDER / "journal.log").read_bytes().splitlines(keepends=True)
    (FOLDER / "journal.log").write_bytes(b"".join([lines[0], b"garbage\n", *lines[1:]]))
    capsys.readouterr()
    assert tune() == 1
    assert complaint(capsys).startswith(f"failed: the storage of {FOLDER} is locked, damaged or lost (")


def test_a_locked_database_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.tuning.storage._PATIENCE", 0.1)
    assert tune("--storage", "sqlite:///tune.db", trials=1) == 0
    capsys.readouterr()
    with sqlite3.connect("tune.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        assert tune("--storage", "sqlite:///tune.db", trials=2) == 1
    line = complaint(capsys)
    assert "database is locked" in line
    assert "the same command goes on from there" in line
    assert tune("--storage", "sqlite:///tune.db", trials=2) == 0  # nothing is lost
    assert len(opened(storage="sqlite:///tune.db").trials) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tune --trials 1", "tune needs CONFIG and --search FILE, or --resume"),
        ("tune preset.yaml --search space.yaml", "the following arguments are required: --trials"),
        ("tune preset.yaml --search none.yaml --trials 1", "no search space file 'none.yaml'"),
        ("tune preset.yaml --search preset.yaml --trials 1", "preset.yaml: iterations: expected {low: ..., high: ...}"),
        ("tune preset.yaml --search space.yaml --trials 0", "expected a whole number of at least 1, got '0'"),
        ("tune preset.yaml --search space.yaml --trials 1 --sampler cma", "invalid choice: 'cma'"),
        ("tune preset.yaml --search space.yaml --trials 1 --split test", "unknown field 'split'"),
        ("tune preset.yaml --search space.yaml --trials 1 --storage nowhere", "--storage: cannot open a database"),
        ("tune preset.yaml --search space.yaml --trials 1 --storage redis://x", "--storage: cannot open a database"),
        ("tune preset.yaml --search space.yaml --trials 1 --folder preset.yaml/x", "cannot make folder preset.yaml/x"),
        ("tune preset.yaml --search space.yaml --trials 1 --folder .", "is no search's folder: it has preset.yaml"),
        ("tune preset.yaml --search space.yaml --trials 1 --hold-out test", "--hold-out: expected tasks, classes"),
        ("tune --resume none --trials 1", "none is not a study: it has no study.json"),
        ("tune --resume none --trials 1 --search space.yaml", "--search cannot go with --resume"),
    ],
)
def test_a_bad_command_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    assert message in complaint(capsys)
    assert sorted(path.name for path in Path().iterdir() if path.name != "runs") == ["preset.yaml", "space.yaml"]
    assert not FOLDER.exists()


def test_a_missing_extra_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune() == 2
    assert complaint(capsys) == "error: tune needs optuna, which is not installed: pip install 'metarl-suite[tune]'"


def test_a_study_of_a_stranger_brings_no_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(trials=1) == 0
    settings = json.loads((FOLDER / "study.json").read_text())
    (FOLDER / "evil.py").write_text("raise SystemExit('ran')")
    settings["preset"]["tasks"] = {"kind": "registered", "id": f"{(FOLDER / 'evil.py').resolve()}:make"}
    (FOLDER / "study.json").write_text(json.dumps(settings))
    capsys.readouterr()
    assert main(["tune", "--resume", str(FOLDER), "--trials", "2"]) == 2
    assert "a run must not bring code along" in complaint(capsys)
