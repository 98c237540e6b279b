"""Trainings ended at random moments and resumed equal uninterrupted ones, `best` included; `make reliability`."""

import json
import subprocess
import sys
from pathlib import Path

import killing
import pytest

KILLS = 21
"""Kills of each algorithm; of the eleven, more than 200."""


def end_at_random(folder: Path, kills: int, *cases: str) -> list[dict[str, object]]:
    """Ends each case so many times in a process of its own, and returns what it reports."""
    program = [sys.executable, str(Path(killing.__file__)), str(folder), str(kills), "1", *cases]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check(report: dict[str, object], kills: int) -> None:
    assert report["differences"] == []
    assert isinstance(report["kills"], dict)
    assert sum(report["kills"].values()) == kills


def test_ten_kills_change_nothing(tmp_path) -> None:
    for report in end_at_random(tmp_path, 5, "maml-trpo", "rl2-ppo-gru"):
        check(report, 5)


@pytest.mark.slow
@pytest.mark.parametrize("case", killing.CASES)
def test_kills_change_nothing(tmp_path, case) -> None:
    [report] = end_at_random(tmp_path, KILLS, case)
    check(report, KILLS)
