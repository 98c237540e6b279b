"""The code of docs/gymnasium.md runs, and says what the page says."""

import re
from typing import Any

import gymnasium
import pytest
from page import Page

from metarl_envs import registry

PAGE = Page("gymnasium.md")


@pytest.mark.filterwarnings("ignore:.*We recommend you to use a symmetric and normalized Box:UserWarning")
def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    blocks = PAGE.blocks("python")
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out
    for line in re.findall(r"^print\(.*\)  # (.*)$", PAGE.text, re.MULTILINE):
        assert line in printed
    assert names["model"].num_timesteps == 960


def test_the_ids_of_the_page_exist_and_its_names_are_all() -> None:
    for name in re.findall(r'"(metarl/[^"]+)"', PAGE.text):
        assert name in gymnasium.registry
    families = {name.split("-")[0].removeprefix("metarl/") for name in gymnasium.registry if name.startswith("metarl/")}
    told = set(re.findall(r"`(\w+)`", PAGE.section("One task"))) | {"MT1", "MT10", "MT25", "MT50"}
    assert families - set(registry.LOCOMOTION) <= told


def test_its_command_trains_a_policy_that_is_told_its_task() -> None:
    ((preset, overrides),) = PAGE.commands()
    from metarl.config import load_config

    family = load_config(preset, overrides).tasks.build()
    assert family.name == "navigation-goal-visible"
