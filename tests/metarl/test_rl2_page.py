"""docs/algorithms/rl2.md: its configurations, its metric names and its robot, as they stand there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml
from counting_env import Counting
from page import COMMON_METRICS, Page, logged_metrics, parse_algorithm

from metarl.algorithms.rl2.config import RL2Config
from metarl.cli import main
from metarl.config import load_config
from metarl_envs.errors import UserError

PAGE = Page("algorithms/rl2.md")
SETTING = re.compile(rf"`((?:{'|'.join(RL2Config.model_fields)}): [^`]+)`")
SMALL = ["--algorithm.meta-batch", "2", "--algorithm.outer.minibatches", "1", "--tasks.horizon", "4"]
SMALL += ["--tasks.num-test-tasks", "2", "--iterations", "1", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[dict[str, Any]], RL2Config]:
    return lambda settings: parse_algorithm({"kind": "rl2"} | settings, tmp_path)


def test_the_defaults_are_all_of_them(parse) -> None:
    (block,) = PAGE.blocks("yaml")
    given = yaml.safe_load(block)["algorithm"]
    assert parse(given) == RL2Config()
    default = RL2Config().model_dump()
    assert given.keys() == default.keys()
    for section in ("encoder", "core", "head", "baseline", "outer"):
        assert given[section].keys() == default[section].keys()


def test_every_setting_in_the_text_is_one(parse) -> None:
    refused = PAGE.section("What does not combine")
    settings = SETTING.findall(PAGE.text.replace(refused, ""))
    assert len(settings) > 20
    for setting in settings:
        parse(yaml.safe_load(setting))


def test_every_command_is_one() -> None:
    assert len(PAGE.commands()) == 2
    for path, overrides in PAGE.commands():
        assert load_config(path, overrides).algorithm.kind == "rl2"


def test_what_the_page_calls_refused_is_refused(parse) -> None:
    refused = PAGE.rows("What does not combine")
    assert len(refused) == 5
    for cell, _ in refused:
        first, second = (yaml.safe_load(setting) for setting in re.findall("`(.*?)`", cell))
        together = {**first, **second}
        if first.keys() == second.keys():
            together = {name: first[name] | second[name] for name in first}
        with pytest.raises(UserError) as caught:
            parse(together).build(Counting(), torch.device("cpu"))
        assert "\n" not in str(caught.value)


def test_every_logged_metric_is_explained_and_no_other(tmp_path) -> None:
    documented = {name for cell, _ in PAGE.rows("Reading the metrics") for name in re.findall("`(.*?)`", cell)}
    value = ["--algorithm.baseline.kind", "value"]
    experts = ["--algorithm.expert", "{weight: 1.0}"]
    small_trpo = [*SMALL[:2], *SMALL[4:], "--algorithm.outer", "{kind: trpo}"]
    trainings = [("navigation-rl2", [*SMALL, *value, *experts]), ("navigation-rl2", [*small_trpo, *value])]
    assert not documented & COMMON_METRICS
    assert logged_metrics(trainings, tmp_path) == documented | COMMON_METRICS


@pytest.fixture
def robot() -> dict[str, Any]:
    """The names that the page's program leaves behind, with shorter attempts and a hardly trained policy."""
    (command,) = re.findall(r"`metarl (train \S+ --run \S+)`", PAGE.text)
    assert main([*command.split(), *SMALL, "--evaluation.every", "0"]) == 0
    names: dict[str, Any] = {}
    for block in PAGE.blocks("python"):
        exec(re.sub(r"\b100\b", "5", block), names)
    return names


def test_the_program_for_a_robot_runs_and_each_job_starts_from_the_same_memory(robot) -> None:
    assert robot["robot"].commands == (2 + 2 + 3) * 5
    for job in robot["jobs"]:
        for one, other in zip(job, robot["jobs"][0], strict=True):
            np.testing.assert_array_equal(one, other)
    agent = robot["agent"]
    agent.init()
    unadapted = robot["attempt"](agent, robot["robot"])
    assert np.abs(unadapted[1] - robot["jobs"][0][1]).max() > 0
    assert np.abs(robot["first"][1] - unadapted[1]).max() > 0.01  # explored


def test_the_program_for_a_robot_tells_what_each_command_earned(robot) -> None:
    agent, told = robot["agent"], []
    agent.init()
    act = agent.act

    def spy(observation: npt.NDArray[Any], reward: float, episode_start: bool, **options: Any) -> Any:
        told.append((reward, bool(episode_start)))
        return act(observation, reward, episode_start, **options)

    agent.act = spy
    first = robot["attempt"](agent, robot["robot"])
    second = robot["attempt"](agent, robot["robot"], last_reward=first[-1][-1])
    rewards = [0.0, *first[2], *second[2][:-1]]
    assert told == [(reward, step % 5 == 0) for step, reward in enumerate(rewards)]
