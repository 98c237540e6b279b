import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from metarl import versions as module
from metarl.versions import package_version, versions


def test_versions_are_those_in_use() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert {"numpy", "gymnasium", "mujoco", "platform"} <= set(found)
    assert json.loads(json.dumps(found)) == found


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKAGES", ("torch", "no-such-package"))
    assert package_version("no-such-package") is None
    assert set(versions()) - {"commit"} == {"python", "platform", "machine", "torch"}


def test_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "metarl" / "versions.py"))
    assert "commit" not in versions()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    assert "commit" not in versions()  # there is none yet
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert versions()["commit"] == commit
    (tmp_path / "file").write_text("b")
    assert versions()["commit"] == f"{commit}-dirty"
    monkeypatch.setattr(module, "__file__", str(tmp_path / "vendored" / "metarl" / "versions.py"))
    (tmp_path / "vendored").mkdir()
    assert "commit" not in versions()  # the commit is not metarl's


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(module, "__file__", str(tmp_path / "metarl" / "versions.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in versions()
