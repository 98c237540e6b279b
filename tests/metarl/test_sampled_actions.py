"""Evaluation with sampled actions: what is drawn, whom it depends on, who can do it, and where it is told."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reported_runs import HALF, evaluation, make_run, store
from rich.console import Console
from standing_still import StandingStill
from two_classes import family

from metarl import checkpoints
from metarl.acting.agents import TrainedAgent
from metarl.algorithms.maml.agent import MAMLAgent
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.config import RunConfig
from metarl.data.steps import Array, Timestep
from metarl.evaluation.control_table import control_table
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.metaworld_protocol import check_metaworld
from metarl.evaluation.protocol import episode_seeds, evaluate, task_keys
from metarl.evaluation.stored import StoredEvaluation, read_evaluations
from metarl.evaluation.stress_protocol import evaluate_under_stress
from metarl.evaluation.table import evaluation_table
from metarl.reporting.material import gather
from metarl.reporting.text import protocol
from metarl.runs import RunDirectory
from metarl.seeding import Stream, generator
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.navigation import MAX_STEP, Navigation

ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {"kind": "maml"},
    "rl2": {"kind": "rl2", "core": {"kind": "gru", "hidden_size": 16}},
    "skills": {"kind": "skills", "core": {"kind": "gru", "hidden_size": 16}, "code_size": 4, "meta_batch": 20},
}
NAVIGATION: dict[str, Any] = {"kind": "navigation", "horizon": 6, "num_train_tasks": 40, "num_test_tasks": 7}
BANDIT: dict[str, Any] = {"kind": "bandit", "arms": 4, "num_test_tasks": 7}
CASES = [("maml", NAVIGATION), ("maml", BANDIT), ("rl2", NAVIGATION), ("rl2", BANDIT), ("skills", NAVIGATION)]
OPTIONS: dict[str, Any] = {"adaptation_episodes": (0, 3), "episodes": 8, "seed": 1}


def make(algorithm: str, tasks: dict[str, Any]) -> tuple[TrainedAgent, TaskDistribution]:
    torch.manual_seed(0)
    config = RunConfig.model_validate({"iterations": 1, "tasks": tasks, "algorithm": ALGORITHMS[algorithm]})
    distribution = family() if algorithm == "skills" else config.tasks.build()
    return config.algorithm.build(distribution, torch.device("cpu")).make_agent(seed=3), distribution


def test_returns_by_hand() -> None:
    """A policy of mean zero walks at random: its places, and so its returns, are the sums of its noise."""
    agent, distribution = make("maml", NAVIGATION)
    assert isinstance(agent, MAMLAgent)
    sigma = 0.8  # in units of the action space: some draws are clipped
    with torch.no_grad():
        for name, parameter in agent._maml.parameters.items():
            parameter.fill_(np.log(sigma) if "log_std" in name else 0.0)
    tasks = distribution.test_tasks
    found = evaluate(agent, distribution, tasks, adaptation_episodes=(0,), episodes=2, seed=1, actions="sampled")
    for row, (task, key) in enumerate(zip(tasks, task_keys(tasks), strict=True)):
        # stream of the agent's seed, 3, and of what the evaluation derives for k = 0 and evaluation episodes
        rng = generator(3, Stream.EXPLORATION, episode_seeds(1, 0, 0, key)[1])
        for episode in range(2):
            moves = MAX_STEP * np.clip(sigma * rng.standard_normal((6, 2), dtype=np.float32), -1, 1)
            distances = np.linalg.norm(moves.cumsum(0) - task.parameters, axis=1)
            assert found.returns[0, row, episode] == pytest.approx(-distances.sum(), abs=1e-5)


@pytest.mark.parametrize(("algorithm", "tasks"), CASES)
def test_noise_is_the_tasks_own_and_always_the_same(algorithm: str, tasks: dict[str, Any]) -> None:
    agent, distribution = make(algorithm, tasks)
    held_out = distribution.test_tasks[:7]
    likeliest = evaluate(agent, distribution, held_out, **OPTIONS)
    sampled = evaluate(agent, distribution, held_out, **OPTIONS, actions="sampled")
    assert (likeliest.actions, sampled.actions) == ("likeliest", "sampled")
    assert (sampled.returns != likeliest.returns).any(axis=(1, 2)).all()
    # each k and each episode of a task has its own noise, and adaptation is what it is without any in evaluation
    assert (sampled.returns[:, :, 0] != sampled.returns[:, :, 1]).any(axis=1).all()
    assert sampled.acted_as == likeliest.acted_as
    again = evaluate(agent, distribution, held_out, **OPTIONS, actions="sampled", num_envs=3)
    np.testing.assert_allclose(again.returns, sampled.returns, atol=1e-4, rtol=1e-5)
    some = [5, 0, 3]
    alone = evaluate(agent, distribution, [held_out[task] for task in some], **OPTIONS, actions="sampled")
    np.testing.assert_allclose(alone.returns, sampled.returns[:, some], atol=1e-4, rtol=1e-5)


def tell(agent: TrainedAgent, actions: Array, observations: Array, rewards: Array) -> None:
    nothing = np.zeros(len(actions), np.bool_)
    agent.step(Timestep(observations, actions, rewards, nothing, nothing, {}))


def test_maml_learns_nothing_from_sampled_evaluation_episodes() -> None:
    agent, _ = make("maml", NAVIGATION)
    observations = np.ones((2, 2))
    before = agent.eval_action(observations)
    for act, learns in ((agent.sample_action, False), (lambda seen: agent.adapt_action(seen)[0], True)):
        rng = np.random.default_rng(0)
        for _ in range(5):
            tell(agent, act(observations), observations, rng.normal(size=2))
        agent.adapt()
        assert np.array_equal(agent.eval_action(observations), before) != learns


def test_rl2_remembers_the_action_that_it_sampled() -> None:
    agent, _ = make("rl2", NAVIGATION)
    assert isinstance(agent, RL2Agent)
    observations = np.ones((2, 2))
    agent.reset(np.ones(2, np.bool_))
    actions = agent.sample_action(observations)
    tell(agent, actions, observations, np.ones(2))
    assert agent._memory is not None
    remembered = agent._memory.previous.actions.numpy()
    np.testing.assert_allclose(MAX_STEP * np.clip(remembered, -1, 1), actions, atol=1e-6)
    agent.reset(np.ones(2, np.bool_))
    assert (agent.eval_action(observations) != actions).all()


def test_agents_without_noise_are_refused_before_anything_is_played() -> None:
    distribution = Navigation(3, 2, horizon=4)
    with pytest.raises(UserError, match="actions cannot be 'sampled': StandingStill has no sample_action, so take"):
        evaluate(StandingStill(), distribution, distribution.test_tasks, **OPTIONS, actions="sampled")


def test_what_was_sampled_is_told_and_not_mixed_with_the_likeliest(tmp_path: Path) -> None:
    sampled = replace(HALF, actions="sampled")
    file = io.StringIO()
    for shown in (evaluation_table(sampled), evaluation_table(HALF), control_table(sampled, {"random": HALF})):
        Console(width=80, file=file).print(shown)
    assert file.getvalue().count("Actions sampled, as in training.") == 2
    one, two = (make_run(tmp_path / name, seed) for seed, name in enumerate("ab"))
    store(one, sampled)
    store(two, HALF)
    stored = [read_evaluations(run)[0] for run in (one, two)]
    assert [each.evaluation.actions for each in stored] == ["sampled", "likeliest"]
    with pytest.raises(UserError, match="actions is sampled and likeliest"):
        Experiment.of([StoredEvaluation(found, origin) for found, origin in stored])
    with pytest.raises(UserError, match="their evaluations have the actions sampled and likeliest"):
        gather([one.path, two.path], lambda run: None)
    with pytest.raises(UserError, match="leave out --actions sampled"):
        check_metaworld(StandingStill(), Navigation(2, 2), "sampled")


def test_a_file_from_before_there_was_a_choice_is_of_the_likeliest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    store(run, HALF)
    [path] = run.evaluations.iterdir()
    content = json.loads(path.read_text())
    assert content["protocol"].pop("actions") == "likeliest"
    path.write_text(json.dumps(content))
    assert read_evaluations(run)[0].evaluation.actions == "likeliest"
    path.write_text(json.dumps(content | {"protocol": content["protocol"] | {"actions": "best"}}))
    with pytest.raises(UserError, match=r"protocol\.actions: Input should be 'likeliest' or 'sampled'"):
        read_evaluations(run)


def test_a_report_shows_the_likeliest_with_their_own_controls(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    sampled = replace(HALF, actions="sampled")
    store(run, sampled, name="a")
    store(run, sampled, control="shuffled")
    store(run, sampled, control="random")
    [policy] = gather([run.path], lambda run: None)
    assert "with its actions sampled, as in training. Success" in protocol(policy)
    assert list(policy.controls) == ["random", "shuffled"]
    store(run, evaluation(HALF.returns[..., 0], HALF.success[..., 0]), name="b")
    [policy] = gather([run.path], lambda run: None)
    assert policy.evaluation.actions == "likeliest"
    assert "with its most likely actions. Success" in protocol(policy)
    assert list(policy.controls) == ["random"]


def test_noise_of_sensors_comes_on_top() -> None:
    agent, distribution = make("rl2", NAVIGATION)
    tasks = distribution.test_tasks[:3]
    strengths = {"sensor-noise": (0.0, 0.5), "adversarial": (0.0, 0.5)}
    curves, _ = evaluate_under_stress(agent, distribution, tasks, strengths, **OPTIONS, actions="sampled")
    plain = evaluate(agent, distribution, tasks, **OPTIONS, actions="sampled")
    for curve in curves:
        assert {each.actions for each in curve.evaluations} == {"sampled"}
        np.testing.assert_allclose(curve.evaluations[0].returns, plain.returns, atol=1e-5)
        assert (curve.evaluations[1].returns != plain.returns).any()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.create(
        Path("run"), RunConfig.model_validate({"iterations": 1, "tasks": NAVIGATION, "algorithm": ALGORITHMS["rl2"]})
    )
    distribution = run.config.tasks.build()
    state = run.config.algorithm.build(distribution, torch.device("cpu")).state_dict()
    manifest = Manifest(iteration=3, env_steps=60, config={}, task_fingerprint=distribution.fingerprint, versions={})
    checkpoints.save(run.checkpoints, state, manifest)
    line = ["evaluate", "run", "--adaptation-episodes", "0", "2", "--episodes", "1", "--workers", "1", "--actions"]
    for actions in ("likeliest", "sampled", "sampled"):
        assert main([*line, actions]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Actions sampled, as in training.") == 2
    assert "Played before" in printed
    assert sorted(each.evaluation.actions for each in read_evaluations(run)) == ["likeliest", "sampled"]
    assert main([*line, "sampled", "--controls", "state-held", "shuffled", "random"]) == 0
    controls = {each.origin.control: each.evaluation.actions for each in read_evaluations(run) if each.origin.control}
    assert controls == {"state-held": "sampled", "shuffled": "sampled", "random": "likeliest"}
    assert main([*line, "mean"]) == 2
