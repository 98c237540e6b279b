import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Never

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl import checkpoints
from metarl.algorithms.maml.config import MAMLConfig
from metarl.checkpoints import Manifest
from metarl.config import NavigationTasks, RunConfig
from metarl.errors import RunFailure
from metarl.files import write_atomically
from metarl.runs import RunDirectory, write_json
from metarl_envs.errors import UserError

CONFIG = RunConfig(iterations=5, tasks=NavigationTasks(), algorithm=MAMLConfig())


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory.create(tmp_path / "runs" / "a", CONFIG)
    yield run
    run.close()


def logged(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def save_checkpoint(run: RunDirectory, env_steps: int, score: float | None = None) -> Path:
    manifest = Manifest(iteration=1, env_steps=env_steps, config={}, task_fingerprint="f", versions={}, score=score)
    return checkpoints.save(run.checkpoints, {"a": torch.zeros(1)}, manifest)


def test_a_run_is_made_and_found(run) -> None:
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "evaluations",
        "versions.json",
        "videos",
    ]
    assert "torch" in json.loads((run.path / "versions.json").read_text())
    found = RunDirectory.open(run.path)
    assert found.config == CONFIG
    assert (found.checkpoints, found.evaluations, found.videos) == (run.checkpoints, run.evaluations, run.videos)


@pytest.mark.parametrize("make", ["mkdir", "touch"])
def test_what_exists_is_never_overwritten(tmp_path, make) -> None:
    path = tmp_path / "a"
    getattr(path, make)()
    with pytest.raises(UserError, match=r"already exists; name another$"):
        RunDirectory.create(path, CONFIG)
    assert path.exists()
    assert path.is_file() or not any(path.iterdir())


def test_a_parent_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot make run directory .*file/a: Not a directory"):
        RunDirectory.create(tmp_path / "file" / "a", CONFIG)


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_nothing_is_left_of_a_run_that_could_not_be_made(tmp_path, monkeypatch, fail_at) -> None:
    calls: list[Callable[..., Any]] = []

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(function)
            if len(calls) == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args, **kwargs)

        return call

    for name in ("mkdir", "replace", "fsync"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    with pytest.raises((UserError, RunFailure), match="No space left on device"):
        RunDirectory.create(tmp_path / "a", CONFIG)
    assert not any(tmp_path.iterdir())


def test_directories_that_are_no_runs(tmp_path) -> None:
    with pytest.raises(UserError, match="no run at"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(UserError, match=r"is not a run: it has no config\.yaml"):
        RunDirectory.open(tmp_path)
    (tmp_path / "config.yaml").write_text("iterations: x")
    (tmp_path / "versions.json").write_text('{"run_format": 2}')
    with pytest.raises(UserError, match=r"config\.yaml: iterations: expected"):
        RunDirectory.open(tmp_path)


def test_changing_the_config(run) -> None:
    changed = CONFIG.model_copy(update={"iterations": 9})
    run.set_config(changed)
    assert run.config == changed
    assert RunDirectory.open(run.path).config == changed


def test_unused_runs_are_discarded(run) -> None:
    run.discard_unless_used()
    assert not run.path.exists()


def test_used_runs_are_kept(run, tmp_path) -> None:
    run.log({"a": 1.0}, iteration=0, env_steps=1)
    run.discard_unless_used()
    assert run.path.exists()
    other = RunDirectory.create(tmp_path / "b", CONFIG)
    save_checkpoint(other, 1)
    other.discard_unless_used()
    assert other.path.exists()


def test_checkpoints_by_name(run) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        run.checkpoint("last")
    first, second = save_checkpoint(run, 1, score=0.5), save_checkpoint(run, 2)
    assert run.checkpoint("last") == second
    assert run.checkpoint("best") == first
    assert run.checkpoint(str(first)) == first
    with pytest.raises(UserError, match="no checkpoint at lst; give 'last', 'best' or a directory in"):
        run.checkpoint("lst")


def test_metrics_are_lines_of_json_and_tensorboard_scalars(run) -> None:
    run.log({"meta/kl": 0.5, "train/return": -1.0}, iteration=0, env_steps=100)
    run.log({"meta/kl": float("inf"), "train/return": float("nan"), "steps": 3}, iteration=1, env_steps=200)
    assert logged(run) == [
        {"iteration": 0, "env_steps": 100, "meta/kl": 0.5, "train/return": -1.0},
        {
            "iteration": 1,
            "env_steps": 200,
            "meta/kl": None,
            "train/return": None,
            "steps": 3.0,
            "nonfinite": ["meta/kl", "train/return"],
        },
    ]
    run.close()
    events = EventAccumulator(str(run.path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("meta/kl")] == [(100, 0.5), (200, float("inf"))]


def test_a_resumed_run_replaces_what_it_logs_anew(run) -> None:
    for iteration in range(4):
        run.log({"a": float(iteration)}, iteration, env_steps=10 * (iteration + 1))
    run.close()
    resumed = RunDirectory.open(run.path)
    resumed.rewind(2)
    for iteration in (2, 3):
        resumed.log({"a": 100.0 + iteration}, iteration, env_steps=10 * (iteration + 1))
    resumed.close()
    assert [(line["iteration"], line["a"]) for line in logged(run)] == [(0, 0.0), (1, 1.0), (2, 102.0), (3, 103.0)]
    events = EventAccumulator(str(run.path)).Reload().Scalars("a")
    assert [(event.step, event.value) for event in events] == [(10, 0), (20, 1), (30, 102), (40, 103)]


@settings(deadline=None, max_examples=30)
@given(count=st.integers(0, 5), iteration=st.integers(0, 7), cut=st.integers(0, 20))
@example(count=2, iteration=5, cut=1)
def test_rewinding_keeps_whole_lines_before_the_iteration(tmp_path_factory, count, iteration, cut) -> None:
    path = tmp_path_factory.mktemp("run")
    lines = [f'{{"iteration": {i}, "env_steps": {i}, "a": 0.1}}\n' for i in range(count)]
    content = "".join(lines)
    (path / "metrics.jsonl").write_text(content[: len(content) - cut] if cut else content)
    RunDirectory(path, CONFIG).rewind(iteration)
    whole = max(count - 1, 0) if cut else count
    assert (path / "metrics.jsonl").read_text() == "".join(lines[: min(iteration, whole)])


def test_rewinding_without_metrics(run) -> None:
    run.rewind(3)
    assert not (run.path / "metrics.jsonl").exists()


def test_evaluations_are_written_whole(run, monkeypatch) -> None:
    path = run.evaluations / "last.json"
    write_json(path, {"success": 0.5})
    assert json.loads(path.read_text()) == {"success": 0.5}
    write_json(path, {"success": 0.75})

    def full(*args: Any) -> Never:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailure, match=r"could not write .*last\.json: No space left on device"):
        write_json(path, {"success": 1.0})
    assert json.loads(path.read_text()) == {"success": 0.75}
    assert [path.name for path in run.evaluations.iterdir()] == ["last.json"]


def test_metrics_that_cannot_be_written(run) -> None:
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(RunFailure, match=r"could not write .*metrics\.jsonl: Is a directory"):
        run.log({"a": 1.0}, iteration=0, env_steps=1)


def test_a_failed_replacement_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*args: Any) -> Never:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="broken"):
        write_atomically(path, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    "said", ['{"torch": "2.13.0"}', '{"run_format": 3}', "gibberish", '{"run_format": 1e999}', None]
)
def test_a_directory_of_another_format_is_refused(tmp_path: Path, said: str | None) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    path = run.path / "versions.json"
    if said is None:
        path.unlink()
    else:
        path.write_text(said)
    found = 3 if said and "3}" in said else 1
    remedy = "update metarl" if found == 3 else "train it anew"
    with pytest.raises(UserError, match=f"^run .*run has format {found}, but this metarl reads 2 only: {remedy}$"):
        RunDirectory.open(run.path)
