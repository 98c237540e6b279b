"""docs/reliability.md: its numbers are those of the tests that it names."""

import re
import subprocess
import sys
from collections import Counter

import killing
import pytest
from page import ROOT, Page

ROWS = Page("reliability.md").rows("What is tried")


def constant(name: str, file: str) -> int:
    """A number that a test's file gives a name to."""
    match = re.search(rf"^{name} = (\d+)$", (ROOT / "tests" / "metarl" / file).read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


PER_CASE = {
    "test_kills_change_nothing": constant("KILLS", "test_reliability_kills.py"),
    "test_damage_is_told_and_never_loaded": constant("TRIES", "test_reliability_disk.py"),
    "test_any_configuration_is_read_or_refused_in_one_line": constant("EXAMPLES", "test_input_fuzzing.py"),
    "test_any_command_line_succeeds_or_is_refused_in_one_line": constant("EXAMPLES", "test_input_fuzzing.py"),
}
"""What tests try more than once per collected case."""


@pytest.fixture(scope="module")
def collected() -> list[str]:
    files = sorted({name.partition("::")[0] for row in ROWS for name in re.findall(r"`(tests/[^`]+)`", row[3])})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "slow or not slow",
        *files,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_cases_are_counted(row: list[str], collected: list[str]) -> None:
    names = re.findall(r"`(tests/[^`]+)`", row[3])
    tests = Counter(
        case.partition("[")[0].rpartition("::")[2]
        for case in collected
        for name in names
        if case.partition("[")[0] == name or case.startswith(f"{name}::")
    )
    assert sum(count * PER_CASE.get(name, 1) for name, count in tests.items()) == int(row[1])


def test_kills_are_of_all_algorithms() -> None:
    assert {case.split("-")[0] for case in killing.CASES} == {"maml", "rl2", "skills"}
