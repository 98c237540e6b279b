"""docs/demonstrations.md: its commands are understood, the fast ones run, and so do its programs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from page import Page

from metarl.cli import _make_parser, main
from metarl.demonstrations import load

PAGE = Page("demonstrations.md")


@pytest.fixture(autouse=True)
def _nothing_of_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.mark.usefixtures("no_plug_ins")
def test_the_commands_are_understood_and_the_fast_ones_run() -> None:
    commands = [
        shlex.split(line, comments=True) for line in re.findall(r"^metarl (demos .*)$", PAGE.text, re.MULTILINE)
    ]
    fast = [command for command in commands if "navigation" in " ".join(command) or command[1] == "list"]
    assert (len(commands), len(fast)) == (8, 4)
    for command in commands:
        _make_parser()[0].parse_args(command)
    for command in fast:
        assert main(command) == 0


def test_the_table_has_every_option_of_collect() -> None:
    _, commands = _make_parser()
    (own,) = (action for action in commands["demos"]._actions if action.dest == "demos")
    assert own.choices is not None
    collect = dict(own.choices)["collect"]
    options = {option for action in collect._actions for option in action.option_strings} - {"-h", "--help"}
    named = set(re.findall(r"`(--[a-z-]+)`", PAGE.section("Collect")))
    assert options - {"--output"} == named


def test_the_programs_run() -> None:
    names: dict[str, Any] = {}
    for block in PAGE.blocks("python"):
        if "DataCollector" not in block:  # it needs jax; what it writes is in test_demonstrations.py
            exec(block, names)
    assert names["collected"].kept["navigation"] == len(names["demonstrations"])
    assert [len(part) for part in names["classes"]] == [30, 10, 10]
    assert not set(names["train"].tasks) & set(names["test"].tasks)
    assert names["iteration"].iteration == 20
    assert names["action"].shape == (1, 2)
    assert load("kitchen-v0").classes == ("pour", "stir")
