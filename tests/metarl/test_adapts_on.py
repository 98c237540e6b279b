"""What k counts: every text says demonstrations where a policy is shown them, and episodes where it plays."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from reported_runs import HALF, make_run, store
from rich.console import Console, RenderableType
from shown_goals import HORIZON, collect_walks, walks_config

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import adapts_on
from metarl.cli import main
from metarl.config import RunConfig
from metarl.evaluation.control_table import control_table
from metarl.evaluation.hints import hints
from metarl.evaluation.protocol import usual_adaptation_episodes
from metarl.evaluation.result import Evaluation
from metarl.evaluation.scratch import LearningCurve, worth
from metarl.evaluation.stress import StressCurve
from metarl.evaluation.stress_table import stress_table
from metarl.evaluation.table import evaluation_table
from metarl.reporting.material import Policy, gather
from metarl.reporting.plots import make_plots
from metarl.reporting.text import answer, counted, protocols
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl.viewing.film import Shot
from metarl_envs.errors import UserError

SHOWN = replace(HALF, adaptation_episodes=(0, 1), adapts_on=AdaptsOn.DEMONSTRATIONS)
"""Evaluation of a policy that is shown a demonstration."""


def printed(what: RenderableType) -> str:
    file = StringIO()
    Console(file=file, width=80, no_color=True).print(what)
    return " ".join(file.getvalue().split())


def test_numbers_of_them() -> None:
    episodes, shown = AdaptsOn
    assert [episodes.number(k) for k in (1, 3)] == ["1 episode", "3 episodes"]
    assert [episodes.number_in_full(k) for k in (1, 3)] == ["1 adaptation episode", "3 adaptation episodes"]
    assert [shown.number(k) for k in (0, 1, 3)] == ["0 demonstrations", "1 demonstration", "3 demonstrations"]
    assert [shown.number_in_full(k) for k in (1, 3)] == ["1 demonstration", "3 demonstrations"]
    assert (episodes.number_of(3, "it"), shown.number_of(1, "it")) == ("3 episodes on it", "1 demonstration of it")
    assert (episodes.played([0, 3]), shown.played([0, 3])) == ([0, 3], [0, 0])


def test_a_file_says_it_and_one_without_is_of_episodes() -> None:
    stored = json.loads(json.dumps(SHOWN.to_dict()))
    assert stored["protocol"]["adapts_on"] == "demonstrations"
    assert "is shown the first k demonstrations of each task" in stored["protocol"]["description"]
    assert Evaluation.from_dict(stored).adapts_on is AdaptsOn.DEMONSTRATIONS
    del stored["protocol"]["adapts_on"]
    assert Evaluation.from_dict(stored).adapts_on is AdaptsOn.EPISODES
    stored["protocol"]["adapts_on"] = "lectures"
    with pytest.raises(UserError, match="adapts_on"):
        Evaluation.from_dict(stored)


def test_tables_say_it() -> None:
    table = printed(evaluation_table(SHOWN))
    assert "1 episode each after k demonstrations." in table
    assert "Adapting on 1 demonstration changes return by" in table
    held = printed(control_table(SHOWN, {"shuffled": SHOWN}))
    assert "shuffled: adapted on another task's demonstrations." in held
    assert "Beyond another task's demonstrations, those of the task itself bring" in held
    stress = printed(stress_table([StressCurve("sensor-noise", "parts", (0.0, 1.0), (SHOWN, SHOWN))]))
    assert "1 episode each after 1 demonstration." in stress
    assert "adaptation episode" not in table + held + stress


def test_hints_are_of_what_an_imitator_can_change() -> None:
    unsolved = replace(SHOWN, success=np.zeros_like(SHOWN.success), returns=SHOWN.returns[::-1] - 5.0)
    assert "train/loss in metrics.jsonl" in " ".join(hints(unsolved))
    worse = replace(SHOWN, returns=np.stack([SHOWN.returns[0], SHOWN.returns[0] - 5.0]), success=SHOWN.success[[0, 0]])
    assert "has not learned to follow what it is shown" in " ".join(hints(worse))


def test_episodes_from_scratch_are_no_measure_of_demonstrations() -> None:
    values = np.zeros((6, 1))
    names, ids, points = SHOWN.task_names, SHOWN.task_ids, np.array([0])
    curve = LearningCurve("ppo", {}, SHOWN.distribution, names, ids, points, values, values, SHOWN.horizon, 1)
    with pytest.raises(UserError, match="hold it against plain cloning"):
        worth(SHOWN, curve, 1)


@pytest.fixture
def policies(tmp_path: Path) -> list[Policy]:
    """An imitator beside a policy that plays to adapt."""
    both: list[Path] = []
    for name, evaluation in {"shown": SHOWN, "plays": replace(HALF, adaptation_episodes=(0, 1))}.items():
        run = make_run(tmp_path / name, seed=len(both))
        store(run, evaluation)
        both.append(run.path)
    return [policy for path in both for policy in gather([path], lambda _: None)]


def test_a_report_says_it(policies: list[Policy]) -> None:
    shown, plays = policies
    assert answer(shown, "success").startswith("After 1 demonstration of a new task, shown succeeds in 50")
    assert answer(plays, "success").startswith("After 1 episode on a new task, plays succeeds in 50")
    assert (counted([shown]), counted([shown, plays])) == ("demonstrations", "demonstrations or episodes")
    of_shown, of_plays = protocols([shown, plays])
    assert "For each number k of demonstrations (0, 1) the policy starts anew, is shown the first k" in of_shown
    assert "For each number k of adaptation episodes (0, 1) the policy starts anew, plays k episodes" in of_plays
    captions = " ".join(plot.caption for plot in make_plots([shown]))
    assert "after so many demonstrations to adapt on" in captions
    assert "after 1 demonstration over that before any" in captions
    assert "episodes to adapt" not in captions
    (figure,) = [plot.figure for plot in make_plots([shown]) if plot.name == "adaptation-success"]
    assert figure.axes[0].get_xlabel() == "demonstrations"


def test_moments_of_a_film() -> None:
    shot = Shot(adaptation_episodes=3, episodes=2)
    assert (shot.moments(9, AdaptsOn.EPISODES), shot.moments(9, AdaptsOn.DEMONSTRATIONS)) == (40, 50)


@pytest.mark.parametrize("kind", ["maml", "rl2", "imitation"])
def test_configurations_and_agents_agree(kind: str, tmp_path: Path) -> None:
    fields = walks_config(collect_walks(tmp_path)).model_dump()
    if kind != "imitation":
        fields["algorithm"] = {"kind": kind}
    config = RunConfig.model_validate(fields)
    agent = config.algorithm.build(config.tasks.build(), torch.device("cpu")).make_agent(0)
    assert adapts_on(agent) is config.algorithm.adapts_on


def test_an_imitator_is_evaluated_with_as_many_as_in_training() -> None:
    config = walks_config("walks-v0")
    assert usual_adaptation_episodes(config) == config.evaluation.adaptation_episodes
    other = RunConfig.model_validate({"iterations": 1, "tasks": {"kind": "navigation"}, "algorithm": {"kind": "maml"}})
    assert (usual_adaptation_episodes(other), usual_adaptation_episodes(other, (0, 4))) == ((0, 1, 3, 10), (0, 4))


def test_commands_go_by_demonstrations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fields = walks_config(collect_walks(tmp_path, goals=10), 1).model_dump(mode="json")
    fields["evaluation"] |= {"adaptation_episodes": [0, 1], "tasks_per_name": 3}
    with Training.start(RunConfig.model_validate(fields), "run") as training:
        list(training)
    usual = "evaluate run --episodes 1 --tasks-per-name 3 --workers 1"
    assert main(usual.split()) == 0
    assert "each after k demonstrations." in capsys.readouterr().out
    assert main(f"{usual} --stress action-noise=0.1".split()) == 0
    assert "each after 1 demonstration." in " ".join(capsys.readouterr().out.split())
    (stored,) = RunDirectory.open(Path("run")).evaluations.glob("*-policy-*.json")
    # nothing is played to adapt: 2 numbers k of 3 tasks, an episode each
    assert json.loads(stored.read_text())["protocol"]["env_steps"] == 2 * 3 * HORIZON
    assert main(["report", "run", "--no-films"]) == 0
    page = Path("run/report.html").read_text()
    assert "of a new task" in page
    assert "adaptation episode" not in page
    assert "--from-scratch" not in page
