import builtins
import errno
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from torch import Tensor

from metarl import checkpoints
from metarl.checkpoints import CheckpointError, Manifest
from metarl_envs.errors import UserError

STATE = {
    "policy.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "optimizer.step": torch.tensor(7, dtype=torch.int64),
    "rng": torch.arange(16, dtype=torch.uint8),
    "precise": torch.tensor([0.1, float("nan")], dtype=torch.float64),
    "empty": torch.zeros(0, 4),
}


def manifest(
    env_steps: int = 100,
    score: float | None = None,
    config: dict[str, JsonValue] | None = None,
    version: int = checkpoints.FORMAT,
) -> Manifest:
    return Manifest(
        format=version,
        iteration=3,
        env_steps=env_steps,
        config=config or {"algorithm": {"inner": {"lr": 0.1}}},
        task_fingerprint="0123456789abcdef",
        versions={"torch": "2.13.0"},
        score=score,
    )


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert set(left) == set(right)
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=0, equal_nan=True)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_loaded_without_pickle(tmp_path, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (torch, "save"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refuse)
    saved = manifest(config={"seed": 2**127, "streak": [1, None, {"entropy": 0.1}]})
    path = checkpoints.save(tmp_path / "checkpoints", STATE, saved)
    assert path == tmp_path / "checkpoints" / "000000000100"
    tensors, loaded = checkpoints.load(path)
    assert_same(tensors, STATE)
    assert loaded == saved
    tensors["rng"][0] = 9  # may be written to


def test_shared_transposed_and_learned_tensors_are_saved_by_value(tmp_path) -> None:
    base = torch.arange(6.0).reshape(2, 3).requires_grad_()
    tensors, _ = checkpoints.load(checkpoints.save(tmp_path, {"a": base, "b": base, "c": base.t()}, manifest()))
    assert_same(tensors, {"a": base.detach(), "b": base.detach(), "c": torch.tensor([[0.0, 3], [1, 4], [2, 5]])})


def test_files_stand_as_documented(tmp_path) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest())
    assert names(path) == ["SHA256SUMS", "manifest.json", "state.safetensors"]
    assert json.loads((path / "manifest.json").read_text())["iteration"] == 3
    assert names(tmp_path) == ["000000000100"]


@pytest.mark.parametrize("fields", [{"score": float("nan")}, {"config": {"best": [float("-inf")]}}])
def test_what_json_cannot_hold_is_refused(fields) -> None:
    with pytest.raises(ValueError, match="finite"):
        manifest(**fields)


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors", "SHA256SUMS"])
def test_one_changed_byte_is_noticed(tmp_path, name) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest())
    sound = (path / name).read_bytes()

    @settings(deadline=None, max_examples=100)
    @given(st.integers(0, len(sound) - 1), st.integers(1, 255))
    def change(place: int, difference: int) -> None:
        content = bytearray(sound)
        content[place] ^= difference
        (path / name).write_bytes(content)
        with pytest.raises(UserError, match=str(path)) as caught:
            checkpoints.load(path)
        assert "\n" not in str(caught.value)

    change()


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors", "SHA256SUMS"])
@pytest.mark.parametrize("keep", [0, 1, -1])
def test_truncation_is_noticed(tmp_path, name, keep) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest())
    (path / name).write_bytes((path / name).read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors", "SHA256SUMS"])
def test_missing_file_is_named(tmp_path, name) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest())
    (path / name).unlink()
    with pytest.raises(UserError, match=f"damaged: it lacks {name}; delete it"):
        checkpoints.load(path)


def test_missing_checkpoint(tmp_path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoints.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot read checkpoint .*file: Not a directory"):
        checkpoints.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("version", "message"), [(4, "format 4, newer than 3.*update metarl"), (2, "format 2, older than 3.*train anew")]
)
def test_another_format_says_so(tmp_path, version, message) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest(version=version))
    with pytest.raises(UserError, match=message):
        checkpoints.load(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *((text, " is not a manifest") for text in ("[]", "3", "null", "{}", "\xff", "{")),
        ('{"format": 3}', ": iteration: Field required"),
        ('{"format": "1"}', ": format: Input should be a valid integer"),
        ('{"format": 3, "iteratian": 3}', ": unknown field 'iteratian'; did you mean 'iteration'?"),
        ('{"format": 3, "iterati\\n": 3}', ": unknown field 'iterati\\n'; did you mean 'iteration'?"),
    ],
)
def test_manifest_that_is_none(tmp_path, text, problem) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest())
    (path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=re.escape(f"checkpoint {path} is damaged: manifest.json{problem}")):
        checkpoints.load(path)


def test_sound_sums_over_a_state_that_is_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(safetensors.torch, "save", lambda tensors: b"something else")
    path = checkpoints.save(tmp_path, STATE, manifest())
    with pytest.raises(UserError, match=r"damaged: state\.safetensors: "):
        checkpoints.load(path)


def test_latest_and_best_and_pruning(tmp_path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        checkpoints.latest(tmp_path / "none")
    checkpoints.save(tmp_path, STATE, manifest(0))
    with pytest.raises(UserError, match="evaluated"):
        checkpoints.best(tmp_path)
    for env_steps, score in ((100, 0.5), (200, 0.9), (300, None), (1_000_000_000_000, 0.9), (999_999_999_999, 0.2)):
        checkpoints.save(tmp_path, STATE, manifest(env_steps, score))
    (tmp_path / "notes").mkdir()
    assert checkpoints.latest(tmp_path).name == "1000000000000"
    assert checkpoints.best(tmp_path).name == "000000000200"
    checkpoints.prune(tmp_path, keep_last=2)
    assert names(tmp_path) == ["000000000200", "1000000000000", "999999999999", "notes"]
    checkpoints.prune(tmp_path, keep_last=9)
    assert len(names(tmp_path)) == 4


def test_a_damaged_checkpoint_does_not_stop_pruning(tmp_path) -> None:
    for env_steps in (1, 2, 3):
        path = checkpoints.save(tmp_path, STATE, manifest(env_steps, score=1.0 - env_steps))
    (path / "manifest.json").write_text("{")
    checkpoints.prune(tmp_path, keep_last=1)
    assert names(tmp_path) == ["000000000001", "000000000003"]


def test_same_number_of_steps_is_replaced(tmp_path) -> None:
    checkpoints.save(tmp_path, STATE, manifest(score=None))
    path = checkpoints.save(tmp_path, {"a": torch.ones(2)}, manifest(score=0.5))
    tensors, loaded = checkpoints.load(path)
    assert_same(tensors, {"a": torch.ones(2)})
    assert loaded.score == 0.5
    assert names(tmp_path) == [path.name]


def test_debris_of_a_killed_save_is_never_taken_for_a_checkpoint(tmp_path) -> None:
    path = checkpoints.save(tmp_path, STATE, manifest(100))
    debris = tmp_path / ".tmp-000000000200"
    debris.mkdir()
    (debris / "state.safetensors").write_bytes(b"half")
    assert checkpoints.latest(tmp_path) == path
    checkpoints.save(tmp_path, STATE, manifest(200))
    assert names(tmp_path) == ["000000000100", "000000000200"]


class FullDisk:
    """Makes the n-th call that needs the disk fail, whichever it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> None:
        self.calls = 0
        self.fail_at = fail_at
        for module, name in ((builtins, "open"), (os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "open")):
            monkeypatch.setattr(module, name, self.wrap(getattr(module, name)))

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args, **kwargs)

        return call


@pytest.mark.parametrize("env_steps", [200, 100])
def test_full_disk_at_any_call_leaves_the_old_checkpoint(tmp_path, env_steps) -> None:
    messages = []
    for fail_at in range(1, 100):
        directory = tmp_path / str(fail_at)
        old = checkpoints.save(directory, STATE, manifest(100))
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, fail_at)
            try:
                checkpoints.save(directory, {"new": torch.ones(1)}, manifest(env_steps, score=1.0))
            except CheckpointError as error:
                messages.append(str(error))
        if disk.calls < fail_at:
            break
        published = [directory / name for name in names(directory) if not name.startswith(".")]
        assert set(published) <= {old, directory / f"{env_steps:012d}"}
        for path in published:  # each is whole, the old or the new
            assert set(checkpoints.load(path)[0]) in (set(STATE), {"new"})
        assert old in published
        checkpoints.save(directory, STATE, manifest(300))
        assert names(directory) == [path.name for path in published] + ["000000000300"]
    assert len(messages) >= 10
    assert all(message.endswith(": No space left on device") and "\n" not in message for message in messages)
    assert_same(checkpoints.load(directory / f"{env_steps:012d}")[0], {"new": torch.ones(1)})


def test_a_write_cut_short_by_a_full_disk(tmp_path, monkeypatch) -> None:
    old = checkpoints.save(tmp_path, STATE, manifest(100))

    def half(path: Path, data: bytes) -> NoReturn:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "write_synced", half)
    with pytest.raises(CheckpointError, match="000000000200: No space left on device"):
        checkpoints.save(tmp_path, STATE, manifest(200))
    assert checkpoints.latest(tmp_path) == old
    assert names(tmp_path) == [old.name]
    assert_same(checkpoints.load(old)[0], STATE)


def test_unwritable_directory(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"Not a directory|File exists"):
        checkpoints.save(tmp_path / "file", STATE, manifest())


def test_deleting_that_fails(tmp_path, monkeypatch) -> None:
    for env_steps in (1, 2):
        checkpoints.save(tmp_path, STATE, manifest(env_steps))

    def refuse(*args: object) -> NoReturn:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CheckpointError, match=r"could not delete .*Permission denied"):
        checkpoints.prune(tmp_path, keep_last=1)
