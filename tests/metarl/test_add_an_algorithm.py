"""The algorithm of docs/add-an-algorithm.md, as it stands there, in a package found by its entry point."""

import importlib
import json
import os
import re
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import portfolio
import pytest
import torch
import yaml
from counting_env import Counting
from portfolio import PAGE

import metarl
from metarl import checkpoints
from metarl.acting.adaptation import ExploringAgent
from metarl.acting.play import VectorPlay, play
from metarl.cli import main
from metarl.config import RunConfig
from metarl.evaluation.protocol import evaluate
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation

SMALL = ["--tasks.horizon", "5", "--tasks.num-test-tasks", "3", "--algorithm.meta-batch", "2", "--threads", "1"]
SMALL += ["--evaluation.every", "2", "--checkpoint.every", "1", "--device", "cpu"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page's module, in an installed package with the page's entry point; its configuration is in the folder."""
    folder, info = tmp_path / "site" / "my_package", tmp_path / "site" / "my_package-1.0.dist-info"
    folder.mkdir(parents=True)
    info.mkdir()
    (folder / "__init__.py").touch()
    (folder / "portfolio.py").write_text(portfolio.source())
    ((name, target),) = tomllib.loads(PAGE.blocks("toml")[0])["project"]["entry-points"]["metarl.algorithms"].items()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metarl.algorithms]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "portfolio.yaml").write_text(PAGE.blocks("yaml")[0])
    _forget("my_package")
    yield importlib.import_module(target.partition(":")[0])
    _forget("my_package")


def _forget(package: str) -> None:
    """Lets the next import of a package find it where it is then."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def train(run: str, *options: str) -> RunDirectory:
    assert main(["train", "portfolio.yaml", "--run", run, *SMALL, *options]) == 0
    return RunDirectory.open(Path(run))


def metrics(run: RunDirectory) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def test_the_pages_commands_run(package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^metarl (.*)$", PAGE.text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["train", "train", "evaluate", "watch"]
    for command in commands:
        arguments = shlex.split(command.replace("300", "3"))
        small = [*SMALL, "--iterations", "2"] if arguments[1] == "portfolio.yaml" else []
        assert main([*arguments, *small]) == 0, capsys.readouterr().err
    run = RunDirectory.open(Path("runs/portfolio"))
    assert len(metrics(run)) == 4  # that of the evaluation before training among them
    (path,) = run.evaluations.glob("*.json")
    assert [summary["k"] for summary in json.loads(path.read_text())["overall"]] == [0, 4]
    assert len(list(run.videos.glob("*.mp4"))) == 3
    assert isinstance(metarl.load(run.path), package.PortfolioAgent)


def test_stopped_and_resumed_equals_uninterrupted(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train("whole", "--iterations", "4")
    with monkeypatch.context() as patch:
        original = package.Portfolio.meta_iteration

        def interrupted(self: Any, *arguments: Any) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return original(self, *arguments)

        patch.setattr(package.Portfolio, "meta_iteration", interrupted)
        parts = train("parts", "--iterations", "4")
    assert len(metrics(parts)) == 2
    assert main(["train", "--resume", "parts"]) == 0
    assert metrics(parts) == metrics(whole)
    expected, state = (checkpoints.load(run.checkpoint("last"))[0] for run in (whole, parts))
    assert torch.equal(state["weights"], expected["weights"])
    assert expected["weights"].abs().max() > 0


def test_its_settings_are_checked_and_shown(package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "portfolio.yaml", "--algorithm.polices", "3"]) == 2
    assert "unknown field 'polices'; did you mean 'policies'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "portfolio.yaml", "--help"])
    assert "Standard deviation of a step of the search" in capsys.readouterr().out


def test_what_its_agent_cannot_do_is_told_in_one_line(package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("runs/portfolio", "--iterations", "1")
    capsys.readouterr()
    assert main(["export", "runs/portfolio"]) == 2
    assert capsys.readouterr().err == (
        "metarl: error: PortfolioAgent cannot be exported: it does not implement exportable\n"
    )
    assert main(["evaluate", "runs/portfolio", "--controls", "state-held"]) == 2
    agent = metarl.load(run.path)
    with pytest.raises(UserError, match="PortfolioAgent cannot adapt to recorded episodes"):
        agent.adapt_on([(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2))])


def test_the_agent_stays_with_the_policy_that_was_best_on_each_task(package: Any) -> None:
    tasks = [Task("navigation", goal) for goal in ([0.4, 0.0], [-0.4, 0.0], [0.0, 0.4])]
    right, left, up, nowhere = [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]
    weights = torch.zeros(4, 4, 3)
    weights[:, :2, 2] = torch.tensor([nowhere, right, left, up])  # the bias of the mean action, in its upper bound
    tasks_family = Navigation(num_train_tasks=1, num_test_tasks=1, horizon=4)
    agent = package.PortfolioAgent(weights, tasks_family.action_space)
    result = evaluate(agent, tasks_family, tasks, adaptation_episodes=(0, 1, 2, 4), episodes=1, seed=1)
    steps = np.arange(1, 5) / 10
    stays, approaches = -4 * 0.4, -(0.4 - steps).sum()
    # k episodes try the first k policies: none of use, then the one to the right, then all
    expected = [[stays] * 3, [stays] * 3, [approaches, stays, stays], [approaches] * 3]
    np.testing.assert_allclose(result.returns[:, :, 0], expected, atol=1e-6)


def test_an_episode_played_while_waiting_for_others_is_not_learned_from(package: Any) -> None:
    family = Counting(train=[(2, 10), (4, 30)])  # returns rise from episode to episode
    agent = package.PortfolioAgent(torch.zeros(2, 4, 3), family.action_space)
    env = family.make_env(2)
    env.set_tasks(family.train_tasks)
    for episodes, best in ((1, 0), (2, 1)):
        agent.init()
        for _ in play([VectorPlay(env, ExploringAgent(agent), episodes, [1, 2])]):
            pass
        agent.adapt()
        assert agent.best.tolist() == [best, best]


def test_it_learns_to_adapt(package: Any) -> None:
    settings = yaml.safe_load(PAGE.blocks("yaml")[0])
    settings["tasks"] |= {"horizon": 20}
    settings |= {"iterations": 40, "evaluation": {"every": 0, "adaptation_episodes": [0, 4], "tasks_per_name": None}}
    with Training.start(RunConfig.model_validate(settings | {"threads": 1}), "run") as training:
        untrained = training.evaluate().overall[-1].returns.mean
        list(training)
        adapted = training.evaluate().overall[-1]
    assert adapted.return_gain is not None
    assert adapted.return_gain.low > 0
    assert adapted.returns.mean > untrained


def test_it_can_be_registered_within_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = portfolio.register(monkeypatch)
    settings = yaml.safe_load(PAGE.blocks("yaml")[0])
    config = RunConfig.model_validate(settings)
    assert type(config.algorithm) is module.PortfolioConfig
    with closing(Training.start(config, tmp_path / "run")) as training:
        # whatever the step of an iteration is worth, it is taken in one of them
        assert any(next(training).metrics["meta/adaptation_gain"] != 0 for _ in range(20))
