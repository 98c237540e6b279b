"""Evaluation under perturbations: the same evaluation at strength 0, true rewards, and files that are read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reported_runs import evaluation
from rich.console import Console
from standing_still import StandingStill

from metarl import checkpoints
from metarl.acting.agents import TrainedAgent
from metarl.acting.observation_scale import observation_scale
from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.config import NavigationTasks, RunConfig
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.stress import StressCurve, read_stress
from metarl.evaluation.stress_command import stress_run
from metarl.evaluation.stress_protocol import USUAL, evaluate_under_stress, parse_strengths
from metarl.evaluation.stress_table import stress_table
from metarl.policies.config import GRUConfig
from metarl.runs import RunDirectory
from metarl_envs.bandit import Bandit
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation

TASKS = NavigationTasks(num_train_tasks=4, num_test_tasks=5, horizon=6)
MAML_SETTINGS = MAMLConfig(meta_batch=2, hidden_sizes=(4,), inner=InnerConfig(lr=0.5))
RL2_SETTINGS = RL2Config(meta_batch=2, core=GRUConfig(hidden_size=4))
SETTINGS: dict[str, Any] = {"adaptation_episodes": (0, 2), "episodes": 1, "seed": 3}
STRENGTHS = {
    "sensor-noise": (0.0, 0.5),
    "action-delay": (0.0, 1.0),
    "reward-drop": (0.0, 1.0),
    "adversarial": (0.0, 0.3),
}


def agent_of(settings: AlgorithmConfig) -> TrainedAgent:
    torch.manual_seed(0)
    return settings.build(TASKS.build(), torch.device("cpu")).make_agent(2)


def curves_of(settings: Any, **changes: Any) -> dict[str, StressCurve]:
    distribution = TASKS.build()
    curves, left_out = evaluate_under_stress(
        agent_of(settings), distribution, distribution.test_tasks, STRENGTHS, **(SETTINGS | {"num_envs": 3} | changes)
    )
    assert left_out == []
    return {curve.perturbation: curve for curve in curves}


@pytest.fixture(scope="module", params=[MAML_SETTINGS, RL2_SETTINGS], ids=["maml", "rl2"])
def settings(request: Any) -> Any:
    return request.param


@pytest.fixture(scope="module")
def curves(settings: Any) -> dict[str, StressCurve]:
    return curves_of(settings)


def test_strength_zero_is_the_plain_evaluation(settings: Any, curves: dict[str, StressCurve]) -> None:
    distribution = TASKS.build()
    plain = evaluate(agent_of(settings), distribution, distribution.test_tasks, **SETTINGS, num_envs=3)
    assert curves.keys() == STRENGTHS.keys()
    for curve in curves.values():
        assert curve.evaluations[0].to_dict() == plain.to_dict()
        assert curve.strengths == STRENGTHS[curve.perturbation]
        assert (curve.evaluations[1].returns != plain.returns).any(), curve.perturbation
        assert curve.evaluations[1].task_ids == plain.task_ids


def test_returns_are_the_tasks_even_if_the_agent_is_told_none(settings: Any, curves: dict[str, StressCurve]) -> None:
    plain, silent = curves["reward-drop"].evaluations
    assert (silent.returns != 0).all()
    if settings is MAML_SETTINGS:  # whose policy does not read rewards: nothing changes but adaptation
        np.testing.assert_array_equal(silent.returns[0], plain.returns[0])
    assert (silent.returns[1] != plain.returns[1]).any()


def test_curves_do_not_depend_on_the_number_of_environments(settings: Any, curves: dict[str, StressCurve]) -> None:
    for name, curve in curves_of(settings, num_envs=1).items():
        for one, other in zip(curve.evaluations, curves[name].evaluations, strict=True):
            np.testing.assert_allclose(one.returns, other.returns, rtol=1e-4)


def test_curves_are_read_back(curves: dict[str, StressCurve]) -> None:
    for curve in curves.values():
        data = json.loads(json.dumps(curve.to_dict()))
        assert StressCurve.from_dict(data).to_dict() == curve.to_dict()
    with pytest.raises(UserError, match="strengths must ascend"):
        StressCurve.from_dict(data | {"strengths": [0.5, 0.0]})
    with pytest.raises(UserError, match="one evaluation for each strength"):
        StressCurve.from_dict(data | {"strengths": [0.0]})
    with pytest.raises(UserError, match="unit: missing"):
        StressCurve.from_dict({name: value for name, value in data.items() if name != "unit"})


def test_the_scale_is_the_deviation_under_random_actions_and_always_the_same() -> None:
    tasks = TASKS.build()
    scale = observation_scale(tasks)
    np.testing.assert_array_equal(scale, observation_scale(TASKS.build()))
    # Steps are uniform in ±0.1, of variance 0.01 / 3: after t = 0..5 of them the variance is t 0.01 / 3, on average
    # 2.5 * 0.01 / 3 = 0.091². With 24 observations it is known to a third.
    assert (np.abs(scale / 0.091 - 1) < 0.5).all()


def test_what_does_not_apply_is_refused_if_named_and_else_left_out_and_said() -> None:
    tasks = Navigation(3, 3, horizon=4)
    for name in ("mass", "friction", "damping", "adversarial"):
        with pytest.raises(UserError, match=f"{name} needs"):
            evaluate_under_stress(StandingStill(), tasks, tasks.test_tasks, {name: USUAL[name]}, **SETTINGS)
    strengths = {"action-delay": (0.0, 1.0), "mass": (0.0, 1.0), "adversarial": (0.0, 0.1)}
    curves, left_out = evaluate_under_stress(StandingStill(), tasks, tasks.test_tasks, strengths, **SETTINGS, skip=True)
    assert [curve.perturbation for curve in curves] == ["action-delay"]
    assert [reason.partition(" ")[0] for reason in left_out] == ["mass", "adversarial"]
    np.testing.assert_array_equal(curves[0].evaluations[0].returns, curves[0].evaluations[1].returns)
    bandits = Bandit(num_train_tasks=3, num_test_tasks=3)
    with pytest.raises(UserError, match="action-noise needs continuous actions"):
        evaluate_under_stress(StandingStill(), bandits, bandits.test_tasks, {"action-noise": (0.0, 1.0)}, **SETTINGS)


def test_strengths_are_read_from_the_command_line() -> None:
    assert parse_strengths(["mass=1,-0.5", "action-delay"]) == {
        "mass": (-0.5, 0.0, 1.0),
        "action-delay": (0.0, 1.0, 3.0),
    }
    assert parse_strengths([]) == {}
    assert all(0.0 in strengths and sorted(strengths) == list(strengths) for strengths in USUAL.values())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["sensornoise"], "unknown perturbation 'sensornoise'; did you mean 'sensor-noise'?"),
        (["mass", "mass=2"], "perturbation mass is named twice"),
        (["mass=heavy"], "strengths of mass must be numbers, as in mass=1,2: got 'heavy'"),
        (["mass="], "strengths of mass must be numbers"),
        (["reward-drop=2"], "strength of reward-drop must be a number from 0 to 1: got 2"),
        (["adversarial=-1"], "strength of adversarial must be a number of at least 0: got -1"),
    ],
)
def test_wrong_perturbations_are_named(texts: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_strengths(texts)
    assert message in str(caught.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = RunConfig(iterations=1, tasks=TASKS, algorithm=MAML_SETTINGS)
    run = RunDirectory.create(tmp_path_factory.mktemp("runs") / "run", config)
    distribution = TASKS.build()
    state = MAML_SETTINGS.build(distribution, torch.device("cpu")).state_dict()
    manifest = Manifest(
        iteration=1, env_steps=40, config={}, task_fingerprint=distribution.fingerprint, versions={"numpy": "2"}
    )
    checkpoints.save(run.checkpoints, state, manifest)
    return run


def test_a_column_of_the_table_has_equally_many_decimals(capsys: Any) -> None:
    plain, noisy = (evaluation([[-9.0] * 6, [last] * 6], [[0] * 6] * 2) for last in (-8.0, -30.0))
    Console(width=80).print(stress_table([StressCurve("sensor-noise", "m", (0.0, 1.0), (plain, noisy))]))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    none, one = (row for row in rows if {"-8", "-30"} & set(row))
    assert (none[4], one[5]) == ("-8", "-30")
    assert (none[5], one[6]) == ("+1", "-21")


@pytest.mark.usefixtures("no_plug_ins")
def test_the_command_prints_a_table_and_leaves_a_file_for_each(run: RunDirectory, capsys: Any) -> None:
    arguments = ["evaluate", str(run.path), "--adaptation-episodes", "0", "1", "--tasks-per-name", "2"]
    assert main([*arguments, "--stress", "sensor-noise=0.5", "reward-delay=2"]) == 0
    printed = capsys.readouterr().out
    assert "2 held-out tasks" in printed
    assert max(map(len, printed.splitlines()[:12])) <= 80
    delay, noise = read_stress(run)
    assert (delay.perturbation, delay.strengths, delay.unit) == ("reward-delay", (0.0, 2.0), "steps")
    assert (noise.perturbation, noise.strengths) == ("sensor-noise", (0.0, 0.5))
    path = run.evaluations / "000000000040-stress-sensor-noise.json"
    assert f"Stress curve: {path}\n" in printed
    stored = json.loads(path.read_text())
    assert (stored["kind"], stored["origin"]["env_steps"], stored["origin"]["tasks_per_name"]) == ("stress", 40, 2)
    path.write_text(path.read_text().replace('"unit"', '"units"'))
    with pytest.raises(UserError, match=r"stress-sensor-noise.json is damaged: not a stress curve: unit: missing"):
        read_stress(run)


@pytest.mark.usefixtures("no_plug_ins")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stress", "mas"], "unknown perturbation 'mas'; did you mean 'mass'?"),
        (["--stress", "mass"], "mass needs Meta-World's native engine or locomotion"),
        (["--stress", "reward-drop=7"], "strength of reward-drop"),
        (["--stress", "--controls", "random"], "--stress is for one run, without --controls"),
        (["--stress", "--output", "one.json"], "--output is one file, for one perturbation: got 9"),
        (["--stress", "action-delay", "--tasks-per-name", "9"], "tasks_per_name must be at most 5"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run: RunDirectory, capsys: Any, arguments: Any, message: str) -> None:
    assert main(["evaluate", str(run.path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("one.json").exists()


def test_by_default_there_are_about_twenty_tasks(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def noted(agent: Any, distribution: Any, tasks: Any, strengths: Any, **options: Any) -> Any:
        given.update(options, tasks=len(tasks), strengths=strengths)
        raise KeyboardInterrupt

    monkeypatch.setattr("metarl.evaluation.stress_command.evaluate_under_stress", noted)
    many = run.config.model_copy(update={"tasks": TASKS.model_copy(update={"num_test_tasks": 30})})
    monkeypatch.setattr(
        "metarl.evaluation.stress_command.load_agent",
        lambda *_: (None, Manifest(iteration=1, env_steps=40, config={}, task_fingerprint="", versions={})),
    )
    with pytest.raises(KeyboardInterrupt):
        stress_run(RunDirectory(run.path, many), run.checkpoint("last"))
    assert (given["tasks"], given["episodes"], given["adaptation_episodes"]) == (20, 1, (0, 10))
    assert given["strengths"] is USUAL
    assert given["skip"]
