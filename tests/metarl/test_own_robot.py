"""The robot of docs/bring-your-own-tasks.md, from its MJCF file to its report, in the page's words."""

import importlib
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import mujoco
import numpy as np
import pytest

from metarl.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "bring-your-own-tasks.md").read_text()
SECTION = PAGE.partition("## A robot of your own")[2].partition("\n## ")[0]
SMALL = {
    "train": "--iterations 1 --device cpu --threads 1 --workers 1 --algorithm.meta-batch 2 --algorithm.episodes 2"
    " --algorithm.parallel-episodes 2 --algorithm.hidden-sizes [4] --evaluation.tasks-per-name 2"
    " --evaluation.adaptation-episodes [0,1]",
    "evaluate": "--tasks-per-name 2 --adaptation-episodes 0 2 --episodes 1 --workers 1",
    "watch": "--tasks 1 --adaptation-episodes 1",
    "report": "--no-films --no-projection",
}
"""What is added to the page's commands, to have them done in seconds."""


def block(language: str, number: int = 0) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[number])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's files in a folder, where its commands are given."""
    for name, language in (("arm.xml", "xml"), ("arm_tasks.py", "python"), ("arm.yaml", "yaml")):
        assert f"`{name}`" in SECTION
        (tmp_path / name).write_text(block(language))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "arm_tasks", raising=False)
    return importlib.import_module("arm_tasks")


def test_the_tasks_keep_the_contract_by_the_pages_own_check(module: ModuleType) -> None:
    python, option, code = shlex.split(block("bash"))
    assert (python, option) == ("python", "-c")
    exec(code, {})


def test_a_task_is_another_arm(module: Any) -> None:
    robot = module.Arm()
    robot.reset(seed=0)
    for upper, lower, mass in ((0.13, 0.07, 0.2), (0.07, 0.1, 0.05)):
        robot.rebuild(upper, lower, mass)
        mujoco.mj_forward(robot.model, robot.data)  # stretched along x
        np.testing.assert_allclose(robot.data.body("lower").xpos, [upper, 0, 0])
        np.testing.assert_allclose(robot.data.site("fingertip").xpos, [upper + lower, 0, 0])
        np.testing.assert_allclose(robot.model.body("lower").mass, mass)
        np.testing.assert_allclose(robot.model.body("upper").mass, 0.1)
        # at a right angle: the elbow at (0, upper), the fingertip left of it
        robot.data.qpos = [np.pi / 2, np.pi / 2]
        mujoco.mj_forward(robot.model, robot.data)
        np.testing.assert_allclose(robot.data.site("fingertip").xpos, [-lower, upper, 0], atol=1e-12)


def test_a_heavier_arm_is_slower(module: Any) -> None:
    speeds = []
    for mass in (0.05, 0.2):
        robot = module.Arm()
        robot.rebuild(0.1, 0.1, mass)
        robot.reset(seed=0)
        speeds.append(abs(robot.step(np.array([1.0, 0.0]))[0][2]))
    assert speeds[0] > 1.5 * speeds[1]


def test_the_pages_commands_lead_to_the_report(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line)[1:] for line in block("bash", 1).splitlines()]
    assert [command[0] for command in commands] == list(SMALL)
    for command in commands:
        assert main([*command, *SMALL[command[0]].split()]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    assert printed.count("held-out: k=0 ") == 2
    assert "arm: 2 held-out tasks, 1 episode each" in printed
    run = Path("runs/arm")
    assert len(list((run / "evaluations").glob("*.json"))) == 1
    assert list((run / "videos").glob("*.mp4"))
    assert "arm" in (run / "report.html").read_text()
