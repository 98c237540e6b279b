"""docs/tune.md: its commands run, with smaller budgets, and its search spaces fit the presets that they are for."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from page import Page

from metarl.algorithms.maml.config import MAMLConfig
from metarl.cli import main
from metarl.config import RunConfig, ValidationTasks, load_config
from metarl.preset_files import find_search_space
from metarl.runs import RunDirectory
from metarl.tuning.dimensions import read_dimensions
from metarl.tuning.settings import StudySettings
from metarl.tuning.space import Space

PAGE = Page("tune.md")
SMALLER = {"--trials": "3", "--algorithm.meta-batch": "2", "--algorithm.episodes": "2", "--iterations": "2"}
SMALLER |= {"--algorithm.parallel-episodes": "2", "--tasks.horizon": "4", "--adaptation-episodes": "2"}

pytestmark = pytest.mark.usefixtures("no_plug_ins")


def smaller(command: str) -> list[str]:
    """A command of the page, with smaller numbers where it names them."""
    _, *words = shlex.split(command)
    for name, value in SMALLER.items():
        if name in words and not (words[0] == "evaluate" and name == "--adaptation-episodes"):
            words[words.index(name) + 1] = value
    if words[0] == "tune":
        words += ["--tasks.num-test-tasks", "3", "--hold-out", "tasks=3"]
    return words


def test_the_commands_run() -> None:
    commands = [line for block in PAGE.blocks("bash") for line in block.splitlines()]
    assert [command.split()[1] for command in commands] == ["tune", "train", "train", "evaluate", "evaluate"]
    for command in commands:
        assert main(smaller(command)) == 0, command
    best, preset = (RunDirectory.open(Path(f"runs/{name}-101")).config for name in ("best", "preset"))
    # Both trained on the same tasks, with the same budget; the search did not keep its own tasks.
    assert best.tasks.model_dump() == preset.tasks.model_dump() | {"num_test_tasks": 3}
    assert (best.iterations, best.seed) == (preset.iterations, preset.seed)
    settings = StudySettings.read(Path("runs/tune/navigation-maml-navigation"))
    assert (settings.hold_out, settings.adaptation_episodes) == ("tasks", 2)


def test_the_blocks_of_yaml_are_true() -> None:
    tasks, shipped, learners = PAGE.blocks("yaml")
    assert yaml.safe_load(shipped) == yaml.safe_load(find_search_space(Path("navigation")).read_text())
    config = RunConfig.model_validate({"iterations": 1, "algorithm": {"kind": "rl2"}} | yaml.safe_load(tasks))
    assert isinstance(config.tasks, ValidationTasks)
    assert len({task.name for task in config.tasks.build().test_tasks}) == 2
    preset = load_config("navigation-maml")
    Path("learners.yaml").write_text(learners)
    space = Space(preset, read_dimensions(Path("learners.yaml")), "page", preset.tasks.build())
    algorithm = space.config_of({"learner": "maml", "maml/algorithm.inner.lr": 0.5}).algorithm
    assert isinstance(algorithm, MAMLConfig)
    assert algorithm.inner.lr == 0.5
    assert space.config_of({"learner": "rl2", "rl2/algorithm.outer.lr": 1e-3}).algorithm.kind == "rl2"


def test_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help", "--field"}
    assert {option for option in options if option not in PAGE.text} == set()
