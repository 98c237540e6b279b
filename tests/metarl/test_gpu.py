"""Learning on a GPU equals learning on the CPU; on the CPU these tests only keep themselves in order."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_runs import train

from benchmark import running
from benchmark.algorithms import ALGORITHM_SUITES
from benchmark.cases import Case, Suite
from metarl import checkpoints
from metarl.acting.sampler import MakeActor, Sampler
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import (
    InnerConfig,
    MAMLConfig,
    MAMLPPOConfig,
    MAMLTRPOConfig,
    ProMPConfig,
    ReptileConfig,
    VPGConfig,
)
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.checkpoints import Manifest
from metarl.config import EvaluationConfig, NavigationTasks, RunConfig
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.loading import load
from metarl.metrics import common_metrics
from metarl.policies.config import LSTMConfig
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.core import TaskDistribution

SECOND = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is no second CUDA device")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.gpu),
    pytest.param("cuda:1", marks=[pytest.mark.gpu, SECOND]),
]
NAVIGATION = NavigationTasks(num_train_tasks=10, num_test_tasks=3, horizon=12)
TRPO = MAMLTRPOConfig(cg_damping=0.1)  # without it conjugate gradients blow up rounding, which differs between devices
MAML_SIZES: dict[str, Any] = {"meta_batch": 3, "episodes": 4, "parallel_episodes": 4, "hidden_sizes": (16, 16)}
RATIO = InnerConfig(estimator="likelihood_ratio")
ALGORITHMS: dict[str, MAMLConfig | RL2Config] = {
    "trpo": MAMLConfig(**MAML_SIZES, outer=TRPO),
    "trpo, 2 steps": MAMLConfig(**MAML_SIZES, inner=InnerConfig(steps=2, learned_lr=True), outer=TRPO),
    "ppo": MAMLConfig(**MAML_SIZES, outer=MAMLPPOConfig()),
    "promp": MAMLConfig(**MAML_SIZES, outer=ProMPConfig(), inner=RATIO),
    "vpg": MAMLConfig(**MAML_SIZES, outer=VPGConfig()),
    "reptile": MAMLConfig(**MAML_SIZES, outer=ReptileConfig()),
    "rl2": RL2Config(meta_batch=6, episodes=3),
    "rl2, parts": RL2Config(meta_batch=6, episodes=3, chunk=7, outer=RL2PPOConfig(minibatches=2, steps_at_once=20)),
    "rl2, lstm": RL2Config(meta_batch=6, episodes=3, core=LSTMConfig(hidden_size=32)),
}


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Not every kernel has a deterministic form on a GPU; rounding to 10 bits would hide what is compared."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def distribution() -> TaskDistribution:
    return NAVIGATION.build()


class Recording(Sampler):
    """Keeps what it collects."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.records: list[Trajectories] = []

    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        self.records.append(super().collect(make_actor, episodes))
        return self.records[-1]


class Replay(Sampler):
    """Gives out what was collected before, whoever acts."""

    def __init__(self, records: Sequence[Trajectories], device: torch.device) -> None:
        self._left, self._device = iter(records), device
        self.tasks = records[0].tasks
        self.indices = tuple(range(len(self.tasks)))
        self.divergences = [None]  # type: ignore[list-item]  # then no states of acting are asked for, of which there are none

    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        return next(self._left).to(self._device)


class Played:
    """A meta-iteration on the CPU, which others can repeat on its trajectories."""

    def __init__(self, distribution: TaskDistribution, algorithm: MAML | RL2) -> None:
        tasks = distribution.train_tasks[: algorithm.config.meta_batch]
        with closing(distribution.make_env(algorithm.num_envs)) as env:
            sampler = Recording([env], tasks, (5, 0, 0), torch.device("cpu"))
            result = algorithm.meta_iteration(sampler, torch.Generator().manual_seed(0))
        self.metrics = common_metrics(result)
        self._records = sampler.records

    def repeat(self, algorithm: MAML | RL2) -> dict[str, float]:
        replay = Replay(self._records, algorithm.device)
        return common_metrics(algorithm.meta_iteration(replay, torch.Generator().manual_seed(0)))


def assert_close(state: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 5e-4) -> None:
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name].cpu(), value.cpu(), rtol=10 * tolerance, atol=tolerance, msg=name)


def build(name: str, distribution: TaskDistribution, device: str, seed: int = 0) -> MAML | RL2:
    torch.manual_seed(seed)
    return ALGORITHMS[name].build(distribution, torch.device(device))


def manifest(distribution: TaskDistribution) -> Manifest:
    return Manifest(iteration=1, env_steps=1, config={}, task_fingerprint=distribution.fingerprint, versions={})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_iteration_is_the_same_on_every_device(name, device, distribution) -> None:
    reference = build(name, distribution, "cpu")
    before = {key: value.clone() for key, value in reference.state_dict().items()}
    algorithm = build(name, distribution, device)
    assert_close(algorithm.state_dict(), before, 0.0)
    played = Played(distribution, reference)
    metrics = played.repeat(algorithm)
    assert all(
        value.device.type == torch.device(device).type for value in algorithm.state_dict().values() if value.ndim
    )
    assert_close(algorithm.state_dict(), reference.state_dict())
    assert metrics == pytest.approx(played.metrics, rel=2e-3, abs=2e-3)
    moved = [(reference.state_dict()[key] - value).abs().max().item() for key, value in before.items()]
    assert max(moved) > 1e-3  # there is something to agree about


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("split", [(6,), (4, 2)], ids=["whole", "double-buffered"])
@pytest.mark.parametrize("kind", ["rl2", "rl2, lstm"])
def test_trials_are_the_same_on_every_device(kind, split, device, distribution) -> None:
    def collect(device: str) -> Trajectories:
        algorithm = build(kind, distribution, device)
        assert isinstance(algorithm, RL2)
        with ExitStack() as stack:
            envs = [stack.enter_context(closing(distribution.make_env(count))) for count in split]
            sampler = Sampler(envs, distribution.train_tasks[:6], (5, 0, 0), torch.device(device))
            return sampler.collect(algorithm.make_actor, 3)

    found, expected = collect(device), collect("cpu")
    for name in TENSORS:
        value, wanted = getattr(found, name), getattr(expected, name)
        assert value.device.type == torch.device(device).type
        torch.testing.assert_close(value.cpu(), wanted, rtol=1e-3, atol=1e-3)
    assert expected.actions.std() > 0.1


@pytest.mark.parametrize("target", DEVICES)
@pytest.mark.parametrize("source", DEVICES)
@pytest.mark.parametrize("name", ["trpo, 2 steps", "promp", "rl2"])
def test_checkpoints_move_between_devices(name, source, target, distribution, tmp_path) -> None:
    trained = build(name, distribution, source)
    played = Played(distribution, build(name, distribution, "cpu"))
    played.repeat(trained)
    path = checkpoints.save(tmp_path, trained.state_dict(), manifest(distribution))
    moved = build(name, distribution, target, seed=1)
    moved.load_state_dict(checkpoints.load(path)[0])
    assert_close(moved.state_dict(), trained.state_dict(), 0.0)
    played.repeat(trained)
    played.repeat(moved)  # what the optimisers remember has moved, too
    assert_close(moved.state_dict(), trained.state_dict())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["trpo", "rl2"])
def test_training_samples_and_learns_on_the_device_and_its_agent_acts_on_the_cpu(name, device, tmp_path) -> None:
    config = RunConfig(
        iterations=2,
        device=device,
        threads=1,
        tasks=NAVIGATION,
        algorithm=ALGORITHMS[name],
        evaluation=EvaluationConfig(every=1, adaptation_episodes=(0, 2), tasks_per_name=2),
    )
    run = RunDirectory.create(tmp_path / "run", config)
    train(run)
    _, *lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2  # after that of the evaluation before training
    assert not any("nonfinite" in line for line in lines)
    for line in lines:
        assert 0 < line["time/sampling_seconds"] < line["time/iteration_seconds"]
        assert 0 < line["time/update_seconds"] < line["time/iteration_seconds"]
    agent = load(run.path)
    agent.init()
    actions, _ = agent.adapt_action(torch.zeros(2, 2, dtype=torch.float64).numpy())
    assert actions.shape == (2, 2)


@pytest.mark.parametrize("target", DEVICES)
@pytest.mark.parametrize("source", DEVICES)
@pytest.mark.parametrize("name", ["trpo", "rl2"])
def test_a_run_goes_on_on_another_device(name, source, target, tmp_path) -> None:
    evaluation = EvaluationConfig(every=1, adaptation_episodes=(0, 2), tasks_per_name=2)
    config = RunConfig(
        iterations=1,
        device=source,
        threads=1,
        tasks=NAVIGATION,
        algorithm=ALGORITHMS[name],
        evaluation=evaluation,
    )
    with Training.start(config, tmp_path / "run") as training:
        list(training)
    with Training.resume(tmp_path / "run", iterations=2, overrides=["--device", target]) as training:
        assert training.algorithm.device.type == torch.device(target).type
        assert [iteration.iteration for iteration in training] == [2]
    with Training.start(config.model_copy(update={"iterations": 2, "device": "cpu"}), tmp_path / "whole") as training:
        list(training)
        expected = training.algorithm.state_dict()
    assert_close(checkpoints.load(RunDirectory.open(tmp_path / "run").checkpoint("last"))[0], expected, 5e-3)


@pytest.mark.gpu
def test_the_benchmark_states_the_memory_of_the_gpu(monkeypatch, capfd) -> None:
    quick = ALGORITHM_SUITES["algorithms-quick"]
    monkeypatch.setitem(ALGORITHM_SUITES, "tiny", Suite((*quick.cases, Case("again", "navigation-maml")), ()))
    path = running.run_benchmark("tiny", rounds=1, output=Path("gpu.json"), device="cuda")
    assert "GPU" in capfd.readouterr().out
    found = json.loads(path.read_text())
    assert found["device"] == "cuda"
    assert all(1e5 < case["device_memory"] < 50e9 for case in found["cases"])
