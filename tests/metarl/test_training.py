"""The training loop on tiny families: exact resume, stopping, and what a run leaves behind."""

import json
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from training_runs import train

from metarl import checkpoints
from metarl.acting.sampler import MakeActor, Sampler
from metarl.algorithms.base import AlgorithmConfig, IterationResult
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import InnerConfig, MAMLConfig
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig, RL2PrivilegedBaselineConfig, RL2ValueBaselineConfig
from metarl.algorithms.skills.algorithm import SkillSearch
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl.cli.train import train_in_terminal
from metarl.config import (
    BanditTasks,
    CheckpointConfig,
    EvaluationConfig,
    MetaWorldTasks,
    NavigationTasks,
    RunConfig,
)
from metarl.config.tasks import TasksConfig
from metarl.data.trajectories import Trajectories
from metarl.errors import RunFailure
from metarl.policies.config import GRUConfig, TransformerConfig
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.errors import UserError

NAVIGATION = NavigationTasks(num_train_tasks=10, num_test_tasks=3, horizon=6)
MAML_CONFIG = MAMLConfig(meta_batch=2, episodes=4, parallel_episodes=2, hidden_sizes=(4,), inner=InnerConfig(steps=2))
RL2_CONFIG = RL2Config(
    meta_batch=4, episodes=3, core=GRUConfig(hidden_size=4), outer=RL2PPOConfig(epochs=2, minibatches=2)
)
VARIED_CONFIG = RL2Config(
    meta_batch=4,
    episodes=3,
    core=TransformerConfig(memory=5, model_size=4, heads=1),
    baseline=RL2ValueBaselineConfig(),
    chunk=4,
    outer=RL2PPOConfig(epochs=2, minibatches=3, recompute_state=True),
)
SKILLS_CONFIG = SkillSearchConfig(
    meta_batch=4, core=GRUConfig(hidden_size=4), baseline=RL2PrivilegedBaselineConfig(hidden_sizes=(4,))
)
BANDIT = BanditTasks(num_train_tasks=20, num_test_tasks=3)
RUNS: dict[str, tuple[AlgorithmConfig, TasksConfig]] = {
    "maml": (MAML_CONFIG, NAVIGATION),
    "rl2": (RL2_CONFIG, NAVIGATION),
    "skills": (SKILLS_CONFIG, NAVIGATION),
    "rl2 bandit": (RL2_CONFIG, BANDIT),
    "rl2 transformer": (VARIED_CONFIG, NAVIGATION),
    "maml double-buffered": (MAML_CONFIG, NAVIGATION),
    "rl2 double-buffered": (RL2_CONFIG.model_copy(update={"chunk": 4}), NAVIGATION),
}
ALGORITHMS: dict[type[AlgorithmConfig], type[MAML] | type[RL2]] = {
    MAMLConfig: MAML,
    RL2Config: RL2,
    SkillSearchConfig: SkillSearch,
}


def make_config(kind: str, iterations: int = 4, **changes: Any) -> RunConfig:
    algorithm, tasks = RUNS[kind]
    settings: dict[str, Any] = {
        "algorithm": algorithm,
        "evaluation": EvaluationConfig(every=2, adaptation_episodes=(0, 2), tasks_per_name=2),
        "checkpoint": CheckpointConfig(every=1, keep_last=10),
        "threads": 1,
        "double_buffered": kind.endswith("double-buffered"),
    }
    return RunConfig(iterations=iterations, tasks=tasks, **(settings | changes))


def run_training(path: Path, config: RunConfig) -> RunDirectory:
    run = RunDirectory.create(path, config)
    train(run)
    return run


def metrics(run: RunDirectory) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def stop_after(monkeypatch: pytest.MonkeyPatch, config: RunConfig, iterations: int) -> None:
    """Sends this process a SIGTERM while the given iteration is under way."""
    algorithm = ALGORITHMS[type(config.algorithm)]
    original = algorithm.meta_iteration
    done: list[None] = []

    def interrupted(self: Any, *arguments: Any) -> IterationResult:
        done.append(None)
        if len(done) == iterations:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(algorithm, "meta_iteration", interrupted)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("stops", [[1], [3], [1, 2]], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, capsys, kind, stops) -> None:
    config = make_config(kind)
    whole = run_training(tmp_path / "whole", config)

    parts = RunDirectory.create(tmp_path / "parts", config)
    for index, iterations in enumerate(stops):
        with monkeypatch.context() as patch:
            stop_after(patch, config, iterations)
            capsys.readouterr()
            train_in_terminal(partial(Training, parts, resume=index > 0))
        assert f"metarl train --resume {parts.path}" in capsys.readouterr().out
    train(parts, resume=True)

    expected, manifest = checkpoints.load(whole.checkpoint("last"))
    state, resumed = checkpoints.load(parts.checkpoint("last"))
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    assert (resumed.iteration, resumed.env_steps) == (manifest.iteration, manifest.env_steps)
    assert metrics(parts) == metrics(whole)
    assert [line["iteration"] for line in metrics(parts)] == [-1, 0, 1, 2, 3]


@pytest.mark.parametrize("kind", RUNS)
def test_training_changes_the_policy_and_leaves_finite_metrics(tmp_path, kind) -> None:
    run = run_training(tmp_path / "run", make_config(kind, iterations=2))
    lines = metrics(run)
    assert all("nonfinite" not in line for line in lines)
    assert ["eval/return/test/2_episodes" in line for line in lines] == [True, False, True]
    first, last = (checkpoints.load(path)[0] for path in sorted(run.checkpoints.iterdir()))
    assert any(not torch.equal(first[name], last[name]) for name in first)


def test_seeds_make_runs_differ(tmp_path) -> None:
    runs = [run_training(tmp_path / str(seed), make_config("maml", 1, seed=seed)) for seed in (1, 2)]
    first, second = (checkpoints.load(run.checkpoint("last"))[0] for run in runs)
    assert not torch.equal(first["body.0.weight"], second["body.0.weight"])


def test_best_checkpoint_is_chosen_by_training_tasks(tmp_path) -> None:
    run = run_training(tmp_path / "run", make_config("maml"))
    scores = [line["rollout/ep_rew_mean"] for line in metrics(run)[1:]]  # without the evaluation before training
    best = checkpoints.load(run.checkpoint("best"))[1]
    assert best.iteration - 1 == scores.index(max(scores))


def test_checkpoint_of_other_tasks_is_refused(tmp_path) -> None:
    config = make_config("maml", 1)
    run = run_training(tmp_path / "run", config)
    other = config.model_copy(update={"tasks": NavigationTasks(num_train_tasks=10, num_test_tasks=4, horizon=6)})
    with pytest.raises(UserError, match="was trained on other tasks"):
        train(RunDirectory(run.path, other), resume=True)


def test_checkpoint_of_another_architecture_is_refused(tmp_path) -> None:
    config = make_config("maml", 1)
    run = run_training(tmp_path / "run", config)
    wider = config.model_copy(update={"algorithm": MAML_CONFIG.model_copy(update={"hidden_sizes": (5,)})})
    with pytest.raises(UserError, match="does not fit"):
        train(RunDirectory(run.path, wider), resume=True)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (
            MAML_CONFIG.model_copy(update={"meta_batch": 11}),
            "algorithm.meta_batch: meta-batch of 11 is larger than the 10 training tasks",
        ),
        (MAML_CONFIG.model_copy(update={"parallel_episodes": 3}), "parallel_episodes: 3 does not divide"),
        (RL2_CONFIG.model_copy(update={"meta_batch": 1}), "minibatches: 2 is more than"),
    ],
)
def test_contradictory_settings_are_named(tmp_path, algorithm, message) -> None:
    config = make_config("maml").model_copy(update={"algorithm": algorithm})
    with pytest.raises(UserError, match=message):
        run_training(tmp_path / "run", config)


def test_a_single_task_cannot_be_halved(tmp_path) -> None:
    algorithm = MAML_CONFIG.model_copy(update={"meta_batch": 1})
    with pytest.raises(UserError, match=r"double_buffered: this process has one task of algorithm.meta_batch"):
        run_training(tmp_path / "run", make_config("maml", algorithm=algorithm, double_buffered=True))


@pytest.mark.parametrize("meta_batch", [2, 3])
def test_double_buffering_gives_half_of_the_tasks_to_each_vector(tmp_path, monkeypatch, meta_batch) -> None:
    seen: list[tuple[Sequence[TaskVectorEnv], Sequence[Task]]] = []
    original = Sampler.__init__

    def spying(
        self: Sampler,
        envs: Sequence[TaskVectorEnv],
        tasks: Sequence[Task],
        key: tuple[int, ...],
        device: torch.device,
        indices: Sequence[int],
    ) -> None:
        seen.append((envs, tasks))
        original(self, envs, tasks, key, device, indices)

    monkeypatch.setattr(Sampler, "__init__", spying)
    algorithm = MAML_CONFIG.model_copy(update={"meta_batch": meta_batch})
    run_training(tmp_path / "run", make_config("maml", 1, algorithm=algorithm, double_buffered=True))
    for envs, tasks in seen:
        assert [env.num_envs for env in envs] == [2 * (meta_batch - 1), 2]
        assert len(tasks) == meta_batch


def test_short_memory_of_the_device_is_said_and_the_last_checkpoint_kept(tmp_path, monkeypatch) -> None:
    original = MAML.meta_iteration
    done: list[None] = []

    def full(self: MAML, *arguments: Any) -> IterationResult:
        done.append(None)
        if len(done) == 3:
            raise torch.OutOfMemoryError
        return original(self, *arguments)

    monkeypatch.setattr(MAML, "meta_iteration", full)
    with pytest.raises(RunFailure, match=r"memory of cpu: lower algorithm\.meta_batch from 2 to 1"):
        run_training(tmp_path / "run", make_config("maml"))
    run = RunDirectory.open(tmp_path / "run")
    assert checkpoints.load(run.checkpoint("last"))[1].iteration == 2


def test_more_evaluation_tasks_than_there_are_are_all_of_them(tmp_path) -> None:
    config = make_config("maml", 1, evaluation=EvaluationConfig(every=1, tasks_per_name=4))
    with Training.start(config, tmp_path / "run") as training:
        assert len(training.evaluate().task_names) == 3


def test_both_engines_of_meta_world_begin_the_same_training(tmp_path, monkeypatch) -> None:
    collected: dict[Literal["native", "reference"], list[tuple[tuple[Task, ...], Trajectories]]]
    collected = {"native": [], "reference": []}
    collect = Sampler.collect

    def keep(sampler: Sampler, actor: MakeActor, episodes: int) -> Trajectories:
        trajectories = collect(sampler, actor, episodes)
        collected[engine].append((sampler._envs[0].tasks, trajectories))
        return trajectories

    monkeypatch.setattr(Sampler, "collect", keep)
    for engine in collected:
        tasks = MetaWorldTasks(benchmark="ML10", horizon=8, engine=engine)
        algorithm = MAMLConfig(meta_batch=10, episodes=2, parallel_episodes=2, hidden_sizes=(4,))
        evaluation = EvaluationConfig(every=0, adaptation_episodes=(0, 1), tasks_per_name=1)
        config = RunConfig(iterations=1, tasks=tasks, algorithm=algorithm, evaluation=evaluation, threads=1)
        run_training(tmp_path / engine, config)
    assert len(collected["native"]) == len(collected["reference"]) == 3  # warm-up, support, query
    for (tasks, native), (same_tasks, reference) in zip(*collected.values(), strict=True):
        assert tasks == same_tasks
        for field in ("observations", "actions", "rewards", "successes"):
            # actions come from observations in float32, which may round apart by their last bit
            torch.testing.assert_close(getattr(native, field), getattr(reference, field), rtol=1e-5, atol=1e-6)


def test_an_iterations_seconds_are_split_into_sampling_and_all_else(tmp_path, monkeypatch) -> None:
    clock = iter(range(1000))  # a second passes from one look at it to the next
    for module in ("acting.sampler", "training"):
        monkeypatch.setattr(f"metarl.{module}.seconds_now", lambda device: float(next(clock)))
    run = run_training(tmp_path / "run", make_config("maml", iterations=2))
    _, *lines = (run.path / "metrics.jsonl").read_text().splitlines()  # after that of the evaluation before training
    assert len(lines) == 2
    for line in lines:
        seconds = json.loads(line)
        assert seconds["time/sampling_seconds"] == 4  # tasks set once, collected for two inner steps and the outer one
        assert seconds["time/update_seconds"] == 9 - 4
