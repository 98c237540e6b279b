"""`metarl evaluate` with controls and learning from scratch, from a checkpoint to its files."""

from pathlib import Path
from typing import Any

import pytest
import torch

from metarl import checkpoints
from metarl.algorithms.maml.config import MAMLConfig
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.config import NavigationTasks, RunConfig
from metarl.evaluation.scratch import read_curves
from metarl.evaluation.stored import read_evaluations
from metarl.runs import RunDirectory


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run with the checkpoint of an untrained policy."""
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    tasks = NavigationTasks(num_train_tasks=3, num_test_tasks=4, horizon=5)
    run = RunDirectory.create(Path("run"), RunConfig(iterations=1, tasks=tasks, algorithm=MAMLConfig()))
    distribution = tasks.build()
    state = run.config.algorithm.build(distribution, torch.device("cpu")).state_dict()
    manifest = Manifest(iteration=3, env_steps=60, config={}, task_fingerprint=distribution.fingerprint, versions={})
    checkpoints.save(run.checkpoints, state, manifest)
    return run


OPTIONS = "evaluate run --adaptation-episodes 0 2 --episodes 1 --workers 1"
WANTED = f"{OPTIONS} --controls random shuffled --from-scratch ppo --scratch-tasks 2 --scratch-episodes 3"


def test_what_is_wanted_is_played_written_and_not_paid_again(run: RunDirectory, capsys: Any) -> None:
    assert main(WANTED.split()) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Adaptation in 2 episodes is worth" in printed
    assert "random: uniform random actions. shuffled: adapted on another task's episodes." in printed
    assert "Taken from the cache" not in printed
    stored = {each.origin.control: each for each in read_evaluations(run)}
    assert stored.keys() == {None, "random", "shuffled"}
    assert stored["random"].evaluation.adaptation_episodes == (0,)
    assert stored["shuffled"].evaluation.adaptation_episodes == (0, 2)
    assert {each.origin.env_steps for each in stored.values()} == {60}
    (curve,) = read_curves(run)
    assert (curve.learner, curve.budget, curve.task_ids) == ("ppo", 3, stored[None].evaluation.task_ids[:2])
    files = {path.name: path.read_bytes() for path in run.evaluations.iterdir()}

    assert main(WANTED.split()) == 0
    again = " ".join(capsys.readouterr().out.split())
    assert "Taken from the cache: random." in again
    assert "Taken from the cache: 2 of 2 tasks." in again
    assert {path.name: path.read_bytes() for path in run.evaluations.iterdir()} == files


@pytest.mark.parametrize(
    "wrong", ["--controls random expert", "--from-scratch ppo --scratch-tasks 5", "--protocol meta-world"]
)
def test_what_cannot_be_played_is_told_before_anything_is(run: RunDirectory, wrong: str, capsys: Any) -> None:
    assert main(f"{OPTIONS} {wrong}".split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert list(run.evaluations.iterdir()) == []
