"""Commands that are refused: one line that says why, exit code 2, nothing written."""

from pathlib import Path

import pytest

from metarl.cli import main


def refused(capsys: pytest.CaptureFixture[str], workspace: Path, arguments: list[str]) -> str:
    """Runs a command that is refused, and returns the line that says why."""
    before = sorted(workspace.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("metarl: error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.out + captured.err
    assert sorted(workspace.rglob("*")) == before
    return captured.err.removeprefix("metarl: error: ").strip()
