import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standing_still import StandingStill

from metarl import checkpoints
from metarl.algorithms.maml.config import MAMLConfig
from metarl.checkpoints import Manifest
from metarl.config import NavigationTasks, RunConfig
from metarl.errors import RunFailure
from metarl.evaluation import command
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.stored import read_evaluation
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    tasks = NavigationTasks(num_train_tasks=3, num_test_tasks=4, horizon=5)
    run = RunDirectory.create(tmp_path / "run", RunConfig(iterations=1, tasks=tasks, algorithm=MAMLConfig()))
    fingerprint = tasks.build().fingerprint
    manifest = Manifest(iteration=7, env_steps=1200, config={}, task_fingerprint=fingerprint, versions={})
    monkeypatch.setattr(command, "load_agent", lambda *_: (StandingStill(), manifest))
    return run


def test_what_was_found_is_kept_and_printed(run, capsys) -> None:
    path = command.evaluate_run(run, run.checkpoints / "000000001200", adaptation_episodes=[3, 0], episodes=2, seed=5)
    assert path.parent == run.evaluations
    assert re.fullmatch(r"000000001200-policy-[0-9a-f]{8}\.json", path.name)
    found = json.loads(path.read_text())
    assert (found["format"], found["kind"]) == (2, "evaluation")
    assert found["origin"]["env_steps"] == 1200
    assert found["origin"]["iteration"] == 7
    assert found["origin"]["split"] == "test"
    assert found["origin"]["versions"]["numpy"] == np.__version__
    assert found["protocol"]["seed"] == 5
    assert np.shape([task["return"] for task in found["tasks"]]) == (4, 2, 2)
    # Standing still at the origin costs the distance to the goal, or its square, in each step: no k changes that.
    assert found["overall"][1]["return_gain"] == pytest.approx({"mean": 0, "low": 0, "high": 0})
    printed = capsys.readouterr().out
    assert "4 held-out tasks, 2 episodes each" in printed
    assert "raises" not in printed
    assert f"Evaluation: {path}\n" in printed


def test_training_tasks_and_fewer_of_them(run, capsys) -> None:
    checkpoint = run.checkpoints / "000000001200"
    path = command.evaluate_run(run, checkpoint, split="train", tasks_per_name=2, adaptation_episodes=[0], episodes=1)
    found = json.loads(path.read_text())
    assert (found["origin"]["split"], found["origin"]["tasks_per_name"]) == ("train", 2)
    assert len(found["tasks"]) == 2
    assert not found["held_out"]
    assert "2 not held-out tasks" in capsys.readouterr().out


def test_the_checkpoint_itself_is_evaluated(run, monkeypatch) -> None:
    """From a real checkpoint of an untrained policy; one of another family is refused."""
    monkeypatch.setattr(command, "load_agent", load_agent)
    distribution = run.config.tasks.build()
    algorithm = run.config.algorithm.build(distribution, torch.device("cpu"))
    manifest = Manifest(
        iteration=0, env_steps=0, config={}, task_fingerprint=distribution.fingerprint, versions={"numpy": "2"}
    )
    checkpoint = checkpoints.save(run.checkpoints, algorithm.state_dict(), manifest)
    options: dict[str, Any] = {"adaptation_episodes": [0, 1], "episodes": 1}
    path = command.evaluate_run(run, checkpoint, **options)
    before, after = json.loads(path.read_text())["overall"]
    assert before["return"]["mean"] != after["return"]["mean"]
    first = path.read_bytes()
    assert command.evaluate_run(run, checkpoint, **options).read_bytes() == first
    other = run.config.model_copy(update={"tasks": NavigationTasks(num_test_tasks=5)})
    with pytest.raises(UserError, match="was trained on other tasks") as caught:
        command.evaluate_run(RunDirectory(run.path, other), checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adaptation_episodes": [-1]}, "adaptation_episodes"),
        ({"adaptation_episodes": [1, 1]}, "adaptation_episodes"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"tasks_per_name": 0}, "tasks_per_name must be at least 1"),
        ({"tasks_per_name": 5}, "tasks_per_name must be at most 4"),
        ({"seed": -3}, "seed must be at least 0"),
    ],
)
def test_bad_settings_are_refused_and_leave_nothing(run, options, message) -> None:
    with pytest.raises(UserError, match=message):
        command.evaluate_run(run, run.checkpoints / "000000001200", **options)
    assert list(run.evaluations.iterdir()) == []


def test_what_cannot_be_written_is_told_before_anything_is_played(run, tmp_path, monkeypatch) -> None:
    run.evaluations.rmdir()
    run.evaluations.write_text("")  # in the way, whoever runs this
    played: list[int] = []

    def counted(*given: Any, **options: Any) -> Any:
        played.append(1)
        return evaluate(*given, **options)

    monkeypatch.setattr(command, "evaluate", counted)
    with pytest.raises(UserError, match=r"cannot make directory .*evaluations: File exists; name a place by --output"):
        command.evaluate_run(run, run.checkpoints / "000000001200", adaptation_episodes=[0])
    assert not played
    output = tmp_path / "elsewhere" / "e.json"
    path = command.evaluate_run(run, run.checkpoints / "000000001200", adaptation_episodes=[0], output=output)
    assert path == output
    assert read_evaluation(output).origin.split == "test"


def test_numbers_are_shown_even_if_the_disk_is_full_in_the_end(run, capsys, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise RunFailure("could not write: No space left on device")

    monkeypatch.setattr(command, "write_evaluation", full)
    with pytest.raises(RunFailure, match="No space left"):
        command.evaluate_run(run, run.checkpoints / "000000001200", adaptation_episodes=[0])
    assert "4 held-out tasks" in capsys.readouterr().out


@pytest.mark.parametrize(("configured", "asked", "made"), [(None, None, 2), (None, 3, 3), (1, None, 1), (1, 4, 4)])
def test_environments_are_no_more_than_asked_for(run, monkeypatch, configured, asked, made) -> None:
    evaluation = run.config.evaluation.model_copy(update={"num_envs": configured})
    algorithm = MAMLConfig(meta_batch=2)
    run.config = run.config.model_copy(update={"evaluation": evaluation, "algorithm": algorithm})
    counts: list[int] = []
    make_env = Navigation.make_env

    def counted(self: Navigation, count: int) -> Any:
        counts.append(count)
        return make_env(self, count)

    monkeypatch.setattr(Navigation, "make_env", counted)
    command.evaluate_run(run, run.checkpoints / "000000001200", adaptation_episodes=[0], num_envs=asked)
    assert counts == [2 if made == 3 else made]  # 4 tasks in two batches of 2


@pytest.fixture
def seeds(tmp_path: Path, run: RunDirectory) -> list[RunDirectory]:
    """Three runs that differ in their seeds, each with a directory for its checkpoint."""
    configs = {seed: run.config.model_copy(update={"seed": seed}) for seed in (2, 3)}
    runs = [run, *(RunDirectory.create(tmp_path / f"run{seed}", config) for seed, config in configs.items())]
    for each in runs:
        (each.checkpoints / "000000001200").mkdir()
    return runs


def test_an_evaluation_of_another_training_is_not_taken(seeds, capsys) -> None:
    settings: dict[str, Any] = {"adaptation_episodes": [0, 1], "episodes": 1}
    first, second = seeds[:2]
    mine = command.evaluate_runs([first], "1200", **settings)[0]
    [file] = first.evaluations.iterdir()
    shutil.copy(file, second.evaluations / file.name)
    for run in (second, first):
        capsys.readouterr()
        [stored] = command.evaluate_runs([run], "1200", **settings)
        assert stored.origin.training_seed == run.config.seed
        anew = (
            f"Played anew, as what {run.evaluations / file.name} holds is of a run of seed {mine.origin.training_seed}"
        )
        assert (anew in capsys.readouterr().out) == (run is second)
    damaged = json.loads(file.read_text())
    for changes, why in (
        ({"task_fingerprint": "0"}, "configured otherwise"),
        ({"config": {"algorithm": {"kind": "rl2"}}}, "configured otherwise"),
        ({"env_steps": 3}, "other settings"),
    ):
        file.write_text(json.dumps(damaged | {"origin": damaged["origin"] | changes}))
        [stored] = command.evaluate_runs([first], "1200", **settings)
        assert why in capsys.readouterr().out
        assert stored.origin == mine.origin == read_evaluation(file).origin
    tasks = [task | {"id": task["id"] + "0"} for task in damaged["tasks"]]
    file.write_text(json.dumps(damaged | {"tasks": tasks}))
    [stored] = command.evaluate_runs([first], "1200", **settings)
    assert "is of other tasks" in capsys.readouterr().out
    assert stored.evaluation.task_ids == mine.evaluation.task_ids


def test_seeds_are_evaluated_together(seeds, capsys, monkeypatch) -> None:
    command.evaluate_runs(seeds[:1], "1200", adaptation_episodes=[0, 1], episodes=1)
    capsys.readouterr()
    played: list[int] = []

    def counted(*given: Any, **options: Any) -> Any:
        played.append(1)
        return evaluate(*given, **options)

    monkeypatch.setattr(command, "evaluate", counted)
    command.evaluate_runs(seeds, "1200", adaptation_episodes=[0, 1], episodes=1)
    assert len(played) == 2  # the first was played before
    printed = capsys.readouterr().out
    assert printed.count("Played before, and read from") == 1
    assert printed.count("Evaluation: ") == 2
    assert "navigation: 3 runs, 4 held-out tasks" in " ".join(printed.split())
    assert "(seed 2)" in printed
    assert [len(list(each.evaluations.iterdir())) for each in seeds] == [1, 1, 1]
    command.evaluate_runs(seeds, "1200", adaptation_episodes=[0, 1], episodes=1)
    assert len(played) == 2
    command.evaluate_runs(seeds, "1200", again=True, adaptation_episodes=[0, 1], episodes=1)
    assert len(played) == 5
    command.evaluate_runs(seeds, "1200", adaptation_episodes=[0, 1], episodes=2)
    assert len(played) == 8  # other settings
    assert [len(list(each.evaluations.iterdir())) for each in seeds] == [2, 2, 2]


def test_what_cannot_be_compared_is_refused_before_anything_is_played(seeds, tmp_path) -> None:
    other = RunDirectory.create(tmp_path / "other", seeds[0].config.model_copy(update={"seed": 9, "iterations": 3}))
    (other.checkpoints / "000000001200").mkdir()
    command.evaluate_runs([seeds[0], other], "1200", adaptation_episodes=[0], episodes=1)  # trained longer
    slow = seeds[0].config.model_copy(update={"seed": 5, "algorithm": MAMLConfig(meta_batch=7)})
    other.config = slow
    with pytest.raises(UserError, match=r"cannot put .*run2 and .*other together: algorithm.meta_batch is 20 and 7"):
        command.evaluate_runs([seeds[1], other], "1200", adaptation_episodes=[0])
    with pytest.raises(UserError, match="both were trained with seed 1"):
        command.evaluate_runs([seeds[0], seeds[0]], "1200")
    with pytest.raises(UserError, match="--output names the file of a single run"):
        command.evaluate_runs(seeds, "1200", output=tmp_path / "e.json")
    with pytest.raises(UserError, match="no checkpoint at 7"):
        command.evaluate_runs(seeds, "7")
    assert list(seeds[1].evaluations.iterdir()) == []


def test_a_damaged_file_is_told_and_not_replaced_without_being_asked(seeds) -> None:
    options: dict[str, Any] = {"adaptation_episodes": [0], "episodes": 1}
    path = command.evaluate_run(seeds[0], seeds[0].checkpoints / "000000001200", **options)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged: not a JSON object"):
        command.evaluate_runs(seeds[:1], "1200", **options)
    command.evaluate_runs(seeds[:1], "1200", again=True, **options)
    assert read_evaluation(path).origin.env_steps == 1200
