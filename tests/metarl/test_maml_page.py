"""docs/algorithms/maml.md: its configurations, its metric names and its outer rule, as they stand there."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from maml_objectives import make_maml, random_objective
from page import COMMON_METRICS, Page, logged_metrics, parse_algorithm

from metarl.algorithms.maml.config import MAMLConfig, check_combination
from metarl.config import load_config
from metarl.policies.derivatives.functional import FunctionalDerivatives
from metarl_envs.errors import UserError

PAGE = Page("algorithms/maml.md")
SETTING = re.compile(r"`((?:inner|outer|baseline|exploration_credit|episodes|parallel_episodes): [^`]+)`")
SMALL = ["--algorithm.meta-batch", "2", "--algorithm.episodes", "2", "--algorithm.parallel-episodes", "2"]
SMALL += ["--tasks.horizon", "4", "--tasks.num-test-tasks", "2", "--iterations", "1", "--threads", "1"]


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[dict[str, Any]], MAMLConfig]:
    def parse_maml(settings: dict[str, Any]) -> MAMLConfig:
        config = parse_algorithm(settings, tmp_path)
        assert isinstance(config, MAMLConfig)
        return config

    return parse_maml


def test_the_defaults_are_all_of_them(parse) -> None:
    (block,) = PAGE.blocks("yaml")
    given = yaml.safe_load(block)["algorithm"]
    assert parse(given) == MAMLConfig()
    default = MAMLConfig().model_dump()
    assert given.keys() == default.keys()
    for section in ("inner", "outer", "baseline"):
        assert given[section].keys() == default[section].keys()


def test_every_setting_in_the_text_is_one(parse) -> None:
    settings = SETTING.findall(PAGE.text)
    assert len(settings) > 20
    for setting in settings:
        parse({"kind": "maml"} | yaml.safe_load(setting))


def test_every_command_is_one() -> None:
    assert len(PAGE.commands()) == 2
    for path, overrides in PAGE.commands():
        algorithm = load_config(path, overrides).algorithm
        assert isinstance(algorithm, MAMLConfig)
        check_combination(algorithm)


def test_what_the_page_calls_refused_is_refused(parse) -> None:
    refused = PAGE.rows("What does not combine")
    assert len(refused) == 6
    for settings, _ in refused:
        parts = [yaml.safe_load(setting) for setting in SETTING.findall(settings)]
        assert len(parts) == 2
        with pytest.raises(UserError):
            check_combination(parse({"kind": "maml"} | parts[0] | parts[1]))


def test_every_logged_metric_is_explained_and_no_other(tmp_path) -> None:
    documented = {name for cell, _ in PAGE.rows("Reading the metrics") for name in re.findall("`(.*?)`", cell)}
    changes = {"maml": ["--algorithm.baseline.kind", "value"], "promp": [], "reptile": []}
    trainings = [(f"navigation-{preset}", [*SMALL, *change]) for preset, change in changes.items()]
    assert not documented & COMMON_METRICS
    assert logged_metrics(trainings, tmp_path) == documented | COMMON_METRICS


def run_short(program: str) -> dict[str, Any]:
    """Runs a program with two iterations of two tasks and episodes; returns what it defines."""
    names: dict[str, Any] = {}
    exec(re.sub(r"=20\b", "=2", program).replace("range(60)", "range(2)"), names)
    return names


def test_the_program_with_another_network_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_short(PAGE.blocks("python")[0])
    assert isinstance(names["maml"].inner.derivatives, FunctionalDerivatives)
    assert names["maml"].policy is names["policy"]
    assert names["result"].skipped_updates == 0
    assert 0 < names["result"].metrics["train/kl"] <= 0.01
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.fixture
def my_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's outer rule, saved as the page says."""
    (tmp_path / "my_rules.py").write_text(PAGE.blocks("python")[1])
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("my_rules")


def test_the_outer_rule_goes_down_within_its_bound(my_rules) -> None:
    maml = make_maml(inner={"learned_lr": True, "steps": 2})
    objective = random_objective(maml)
    old = objective.outputs(objective.theta)
    step = my_rules.Bounded(my_rules.BoundedConfig(max_kl=1e-3)).step(objective)
    new = objective.outputs(step.theta, old)
    assert step.metrics["train/loss"] == objective.surrogate(new, old).item() < objective.surrogate(old, old).item()
    assert 0 < step.metrics["train/kl"] <= 1e-3
    assert all(not torch.equal(value, objective.theta[name]) for name, value in step.theta.items())


def test_the_program_around_it_runs(my_rules, capsys) -> None:
    names = run_short(PAGE.blocks("python")[2])
    assert isinstance(names["maml"].outer, my_rules.Bounded)
    assert names["result"].skipped_updates == 0
    assert 0 < names["result"].metrics["train/kl"] <= 0.01
    assert len(capsys.readouterr().out.splitlines()) == 2
