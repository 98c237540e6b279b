"""Augmentation of training episodes: drawn for each task and iteration, exactly resumed, absent from evaluation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import train

from metarl import checkpoints
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.config import (
    AugmentationConfig,
    CheckpointConfig,
    EvaluationConfig,
    LocomotionTasks,
    NavigationTasks,
    RunConfig,
    override_config,
)
from metarl.policies.config import GRUConfig
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.errors import UserError
from metarl_envs.perturbed import PerturbedVectorEnv

NAVIGATION = NavigationTasks(num_train_tasks=10, num_test_tasks=4, horizon=6)
MAML_SETTINGS = MAMLConfig(meta_batch=2, episodes=4, parallel_episodes=2, hidden_sizes=(4,), inner=InnerConfig(steps=1))
RL2_SETTINGS = RL2Config(
    meta_batch=4, episodes=2, core=GRUConfig(hidden_size=4), outer=RL2PPOConfig(epochs=1, minibatches=2)
)
NOISY = AugmentationConfig(sensor_noise=1.0, action_noise=0.5, action_delay=2)


def config_of(algorithm: Any, augmentation: AugmentationConfig = NOISY, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "iterations": 3,
        "tasks": NAVIGATION,
        "threads": 1,
        "evaluation": EvaluationConfig(every=2, adaptation_episodes=(0, 1)),
        "checkpoint": CheckpointConfig(every=1, keep_last=5),
    }
    return RunConfig(algorithm=algorithm, augmentation=augmentation, **(settings | changes))


def metrics(run: RunDirectory) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


@pytest.mark.parametrize("kind", ["maml", "rl2 double-buffered"])
def test_an_augmented_run_resumes_exactly(tmp_path: Path, kind: str) -> None:
    config = config_of(MAML_SETTINGS if kind == "maml" else RL2_SETTINGS, double_buffered=kind != "maml")
    whole, parts = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "parts"))
    train(whole)
    with Training(parts) as training:
        next(training)
        training.stop()
        assert list(training) == []
    train(parts, resume=True)
    expected, state = (checkpoints.load(run.checkpoint("last"))[0] for run in (whole, parts))
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    assert metrics(parts) == metrics(whole)
    plain = RunDirectory.create(tmp_path / "plain", config.model_copy(update={"augmentation": AugmentationConfig()}))
    train(plain)
    returns = [metrics(run)[-1]["rollout/ep_rew_mean"] for run in (plain, whole)]
    assert returns[0] != returns[1]


def noted(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Any]]:
    """What environments were perturbed by, call by call."""
    calls: list[Sequence[Any]] = []
    perturb = PerturbedVectorEnv.perturb

    def note(self: PerturbedVectorEnv, perturbations: Sequence[Any]) -> None:
        calls.append(perturbations)
        perturb(self, perturbations)

    monkeypatch.setattr(PerturbedVectorEnv, "perturb", note)
    return calls


def test_strengths_are_drawn_for_each_task_and_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = noted(monkeypatch)
    settings = MAML_SETTINGS.model_copy(update={"meta_batch": 3})
    with Training.start(config_of(settings, evaluation=EvaluationConfig(every=0)), tmp_path / "run") as training:
        calls.clear()
        next(training)
        next(training)
    assert len(calls) == 2
    for first, second in zip(*calls, strict=True):
        assert first != second
    for call in calls:
        # three tasks, each in two environments
        assert [call[index] == call[index + 1] for index in range(5)] == [True, False, True, False, True]
    calls.clear()
    double = config_of(settings, evaluation=EvaluationConfig(every=0), double_buffered=True)
    with Training.start(double, tmp_path / "double") as training:
        calls.clear()
        next(training)
    assert [len(call) for call in calls] == [4, 2]  # the same draws, whatever vector a task is in
    assert calls[0][0] != calls[1][0]


class Quantile(np.random.Generator):
    """Draws the same number always."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.number = number

    def random(self, size: int) -> Any:  # type: ignore[override]
        return np.full(size, self.number)


def test_draws_by_hand() -> None:
    config = AugmentationConfig(sensor_noise=2.0, action_delay=3, mass=(-0.75, 3.0), damping=(1.0, 1.0))
    drawn = {each.name: each.strength for each in config.draw(Quantile(0.75))}
    # 2 * 0.75; floor(0.75 * 4); 0.25^0.25 * 4^0.75 - 1 = 1; 2 - 1
    assert drawn == pytest.approx({"sensor-noise": 1.5, "action-delay": 3, "mass": 1.0, "damping": 1.0})
    assert [each.name for each in config.draw(Quantile(0.24))] == ["sensor-noise", "mass", "damping"]
    assert AugmentationConfig().draw(Quantile(0.75)) == []
    assert (AugmentationConfig().active, config.active) == (False, True)


def test_evaluation_during_training_is_not_perturbed(tmp_path: Path) -> None:
    """Of the same parameters, and after an iteration with other masses in the environments."""
    tasks = LocomotionTasks(family="HalfCheetahVel", num_train_tasks=4, num_test_tasks=4, horizon=5)
    augmentation = AugmentationConfig(sensor_noise=3.0, action_delay=3, mass=(2.0, 3.0), friction=(-0.9, -0.5))
    returns, rewards, states = [], [], []
    for name, each in (("with", augmentation), ("without", AugmentationConfig())):
        config = config_of(RL2_SETTINGS, each, tasks=tasks, evaluation=EvaluationConfig(every=5))
        with Training.start(config, tmp_path / name) as training:
            rewards.append(next(training).metrics["rollout/ep_rew_mean"])
            states.append({key: value.clone() for key, value in training.algorithm.state_dict().items()})
            training.algorithm.load_state_dict(states[0])
            returns.append(training.evaluate().returns)
    np.testing.assert_array_equal(returns[0], returns[1])
    assert rewards[0] != rewards[1]


def test_settings_that_cannot_be_are_named(tmp_path: Path) -> None:
    config = config_of(MAML_SETTINGS)
    with pytest.raises(UserError, match="augmentation: mass needs Meta-World's native engine or locomotion"):
        Training.start(config_of(MAML_SETTINGS, AugmentationConfig(mass=(0.0, 1.0))), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    for argument, message in (
        ("--augmentation.mass=[1, 0]", "the smallest change comes first"),
        ("--augmentation.mass=[-1, 0]", "augmentation.mass"),
        ("--augmentation.sensor-nois=1", "did you mean"),
        ("--augmentation.action-delay=1.5", "augmentation.action_delay"),
    ):
        with pytest.raises(UserError, match=message):
            override_config(config, [argument])
    changed = override_config(config, ["--augmentation.mass", "-0.5", "1.0"])
    assert changed.augmentation.mass == (-0.5, 1.0)


def test_a_run_does_not_go_on_with_another_augmentation(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_of(MAML_SETTINGS, iterations=1))
    train(run)
    run.config = run.config.model_copy(update={"augmentation": AugmentationConfig(), "iterations": 2})
    with pytest.raises(UserError, match=r"was trained with other settings: augmentation\.sensor_noise was 1.0"):
        train(run, resume=True)
