"""Trainings by several processes: equal to one by a single process, whatever the number; here ranks are threads."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from averaging import AlonePlayerConfig, AveragingConfig
from safetensors.numpy import load_file
from thread_ranks import on_ranks

from metarl.acting.sampler import Sampler
from metarl.algorithms import registry
from metarl.config import RunConfig, load_config
from metarl.data_parallel import check_meta_batch, gather_divergences
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.shared import evaluate_shared
from metarl.ranks import Ranks, difference, from_leader, gather
from metarl.training import Training
from metarl_envs.core import Task
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError

SETTINGS: dict[str, Any] = {
    "iterations": 4,
    "device": "cpu",
    "threads": 1,
    "tasks": {"kind": "navigation", "num_train_tasks": 20, "num_test_tasks": 5, "horizon": 5},
    "algorithm": {"kind": "averaging"},
    "evaluation": {"every": 2, "adaptation_episodes": (0, 1)},
    "checkpoint": {"every": 2},
}
_local = threading.local()


@pytest.fixture(autouse=True)
def _ranks_are_threads(monkeypatch, no_plug_ins) -> Iterator[None]:
    monkeypatch.setattr("metarl.training.join", lambda: _local.ranks)
    kinds = {"averaging": AveragingConfig, "alone": AlonePlayerConfig}
    for name, kind in kinds.items():
        registry.register(name, kind)
    yield
    for name in kinds:
        del registry._REGISTERED[name]


def on_trainings(size: int, play: Callable[[Ranks], Any]) -> list[Any]:
    """What `play` returns on each rank, where `Training` finds itself among these ranks."""

    def with_ranks(ranks: Ranks) -> Any:
        _local.ranks = ranks
        return play(ranks)

    return on_ranks(size, with_ranks)


def settings(**changes: Any) -> RunConfig:
    return RunConfig.model_validate(SETTINGS | changes)


def train(size: int, path: Path, config: RunConfig) -> None:
    def play(ranks: Ranks) -> None:
        with Training.start(config, path) as training:
            list(training)

    on_trainings(size, play)


def checkpoints(run: Path) -> dict[str, dict[str, Any]]:
    folders = sorted((run / "checkpoints").iterdir())
    return {
        each.name: {k: v for file in each.glob("*.safetensors") for k, v in load_file(file).items()} for each in folders
    }


def log(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if not name.startswith(("time/", "eval/env_steps"))}
        for line in lines
    ]


def assert_equal_runs(run: Path, other: Path) -> None:
    state, expected = checkpoints(run), checkpoints(other)
    assert state.keys() == expected.keys()
    for name, tensors in expected.items():
        for key, value in tensors.items():
            np.testing.assert_allclose(state[name][key], value, rtol=1e-10)
    for line, one in zip(log(run), log(other), strict=True):
        assert line == pytest.approx(one, rel=1e-5)  # means of float32 returns


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"double_buffered": True},
        {"augmentation": {"sensor_noise": 0.3, "action_noise": 0.2}},
        {"evaluation": {"every": 2, "num_envs": 2}},
        {"tasks": SETTINGS["tasks"] | {"num_test_tasks": 2}},
    ],
)
def test_a_training_does_not_depend_on_the_number_of_ranks(size, changes, tmp_path) -> None:
    config = settings(**changes)
    train(1, tmp_path / "one", config)
    train(size, tmp_path / "several", config)
    assert_equal_runs(tmp_path / "several", tmp_path / "one")


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path) -> None:
    config = settings()
    train(1, tmp_path / "whole", config)

    def begin(ranks: Ranks) -> None:
        with Training.start(config, tmp_path / "run") as training:
            for done in training:
                if done.iteration == 1 and ranks.rank == ranks.size - 1:
                    training.stop()  # one rank asks, all stop after the same iteration

    def go_on(iterations: int) -> Callable[[Ranks], int]:
        def play(ranks: Ranks) -> int:
            with Training.resume(tmp_path / "run", iterations) as training:
                began = training.iteration
                list(training)
            return began

        return play

    on_trainings(3, begin)
    assert len(log(tmp_path / "run")) == 2  # before training, and one iteration
    assert on_trainings(2, go_on(4)) == [1, 1]
    last = max(checkpoints(tmp_path / "run"))
    np.testing.assert_allclose(
        checkpoints(tmp_path / "run")[last]["action"], checkpoints(tmp_path / "whole")[last]["action"], rtol=1e-10
    )
    assert log(tmp_path / "run")[1:] == [pytest.approx(line, rel=1e-5) for line in log(tmp_path / "whole")[1:]]


def test_all_ranks_give_the_same_metrics_and_each_plays_its_share(tmp_path, monkeypatch) -> None:
    played: dict[int, list[tuple[int, ...]]] = {0: [], 1: []}
    make = Sampler.__init__

    def keep(self: Sampler, envs: Any, tasks: Any, key: Any, device: Any, indices: Any = None) -> None:
        make(self, envs, tasks, key, device, indices)
        played[_local.ranks.rank].append(self.indices)
        assert sum(env.num_envs for env in envs) == 6

    monkeypatch.setattr(Sampler, "__init__", keep)

    def play(ranks: Ranks) -> list[dict[str, float]]:
        with Training.start(settings(), tmp_path / "run") as training:
            return [done.metrics for done in training]

    first, second = on_trainings(2, play)
    assert first == second
    assert played == {0: [(0, 2, 4)] * 5, 1: [(1, 3, 5)] * 5}  # warm-up, and four iterations


def test_evaluations_are_those_of_one_process(tmp_path) -> None:
    def play(ranks: Ranks) -> Any:
        with Training.start(settings(), tmp_path / f"run{ranks.size}") as training:
            return training.evaluate()

    [one] = on_trainings(1, play)
    for size in (2, 3):
        for other in on_trainings(size, play):
            assert other.task_ids == one.task_ids
            assert other.held_out
            np.testing.assert_allclose(other.returns, one.returns, rtol=1e-6)
            np.testing.assert_array_equal(other.success, one.success)


def test_what_tasks_were_played_as_comes_together(tmp_path) -> None:
    distribution = settings().tasks.build()
    tasks = distribution.test_tasks
    algorithm = AveragingConfig().build(distribution, torch.device("cpu"))

    def play(ranks: Ranks) -> Any:
        def named(some: Any) -> Any:
            from dataclasses import replace

            whole = evaluate(algorithm.make_agent(1), distribution, some, adaptation_episodes=(0, 1), seed=1)
            names = tuple(tuple(f"{k} {task.id}" for task in some) for k in (0, 1))
            return replace(whole, acted_as=names)

        return evaluate_shared(ranks, tasks, named).acted_as

    expected = tuple(tuple(f"{k} {task.id}" for task in tasks) for k in (0, 1))
    assert on_ranks(3, play) == [expected] * 3


@pytest.mark.parametrize(
    ("meta_batch", "processes", "message"),
    [
        (6, 4, "6 tasks cannot be split evenly among 4 processes; take 4 or 8 tasks, or 1, 2, 3 or 6 processes"),
        (3, 4, "4 processes are more than algorithm.meta_batch = 3 tasks, .* start at most 3 processes"),
    ],
)
def test_shares_that_are_not_equal_are_refused_and_nothing_is_left(meta_batch, processes, message, tmp_path) -> None:
    with pytest.raises(UserError, match=message):
        check_meta_batch(meta_batch, processes)

    def play(ranks: Ranks) -> None:
        with pytest.raises(UserError, match=message):
            Training.start(settings(algorithm={"kind": "averaging", "meta_batch": meta_batch}), tmp_path / "run")

    on_trainings(processes, play)
    assert not (tmp_path / "run").exists()


def test_an_algorithm_that_does_not_join_is_refused(tmp_path) -> None:
    def play(ranks: Ranks) -> None:
        with pytest.raises(UserError, match=r"^algorithm\.kind: 'alone' learns in one process only, .*`join`"):
            Training.start(settings(algorithm={"kind": "alone"}), tmp_path / "run")

    on_trainings(2, play)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"seed": 7}, "their seed differ"),
        ({"tasks": SETTINGS["tasks"] | {"horizon": 6}}, r"their tasks\.horizon differ"),
        ({"tasks": {"kind": "bandit"}}, "their fields differ"),
    ],
)
def test_ranks_with_other_settings_are_refused(changes, name, tmp_path) -> None:
    def play(ranks: Ranks) -> None:
        config = settings() if ranks.leads else settings(**changes)
        with pytest.raises(UserError, match=f"^the processes do not train the same: {name}.*start all of them alike$"):
            Training.start(config, tmp_path / "run")

    on_trainings(2, play)
    assert not (tmp_path / "run").exists()


def test_ranks_with_other_software_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("metarl.data_parallel.versions", lambda: {"torch": f"2.{_local.ranks.rank}", "machine": "any"})

    def play(ranks: Ranks) -> None:
        with pytest.raises(UserError, match="their version of torch differ"):
            Training.start(settings(), tmp_path / "run")

    on_trainings(3, play)


def test_one_task_of_a_share_cannot_be_halved(tmp_path) -> None:
    config = settings(double_buffered=True, algorithm={"kind": "averaging", "meta_batch": 2})

    def play(ranks: Ranks) -> None:
        with pytest.raises(UserError, match=r"^double_buffered: this process has one task of"):
            Training.start(config, tmp_path / "run")

    on_trainings(2, play)


def test_divergences_come_together() -> None:
    def some(rank: int) -> list[Divergence]:
        return [
            Divergence(Task("push", [rank, number]), np.full(4, rank + 0.5), np.full((number, 2), 0.25))
            for number in range(rank)
        ]

    for found, count in on_ranks(3, lambda ranks: gather_divergences(ranks, some(ranks.rank))):
        assert count == 3
        assert [each.task.parameters.tolist() for each in found] == [[1, 0], [2, 0], [2, 1]]
        assert found[2].initial_state.tolist() == [2.5] * 4
        assert found[2].actions.tolist() == [[0.25, 0.25]]
    assert on_ranks(2, lambda ranks: gather_divergences(ranks, [])) == [([], 0)] * 2


def test_bytes_of_all_ranks_come_together() -> None:
    assert (
        on_ranks(3, lambda ranks: gather(ranks, b"\x00\xff" * ranks.rank)) == [[b"", b"\x00\xff", b"\x00\xff" * 2]] * 3
    )


def test_the_leaders_tensors_are_everyones() -> None:
    def play(ranks: Ranks) -> dict[str, torch.Tensor]:
        torch_rank = float(ranks.rank + 1)
        return from_leader(
            ranks,
            {
                "weights": torch.full((2, 2), torch_rank, dtype=torch.float64),
                "flag": torch.tensor(ranks.leads),
                "count": torch.tensor([2**60 + ranks.rank]),
            },
        )

    for state in on_ranks(3, play):
        assert state["weights"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert state["flag"].dtype == torch.bool
        assert state["flag"]
        assert state["count"].tolist() == [2**60]


def test_the_first_fact_that_differs_is_named() -> None:
    def play(ranks: Ranks) -> list[str | None]:
        same = {"a": "1", "b": "2", "c": "3"}
        last = ranks.rank == ranks.size - 1
        return [
            difference(ranks, same),
            difference(ranks, same | {"b": str(ranks.rank)}),
            difference(ranks, same | ({"c": "4"} if last else {})),
            difference(ranks, {"d": "1"} if last else {"a": "1"}),
        ]

    for size in (2, 3):
        assert on_ranks(size, play) == [[None, "b", "c", "fields"]] * size


FAMILIES: dict[str, list[str]] = {
    "navigation-maml": ["--algorithm.hidden-sizes=4", "--algorithm.episodes=2", "--algorithm.parallel-episodes=2"],
    "navigation-rl2": ["--algorithm.core.hidden-size=8", "--algorithm.episodes=2", "--algorithm.outer.minibatches=2"],
}
SMALL = ["--iterations=2", "--algorithm.meta-batch=6", "--tasks.horizon=5", "--tasks.num-test-tasks=4"]
SMALL += ["--evaluation.adaptation-episodes=0,1", "--threads=1"]


@pytest.mark.parametrize("preset", FAMILIES)
def test_algorithms_train_alike_on_any_number_of_ranks(preset, tmp_path) -> None:
    config = load_config(Path(preset), SMALL + FAMILIES[preset])
    for size in (1, 2, 3):
        train(size, tmp_path / str(size), config)
    [one] = [checkpoints(tmp_path / "1")[name] for name in checkpoints(tmp_path / "1")][-1:]
    for size in (2, 3):
        [other] = [checkpoints(tmp_path / str(size))[name] for name in checkpoints(tmp_path / str(size))][-1:]
        assert other.keys() == one.keys()
        for name, value in one.items():
            # float32: sums in another order, amplified by a line search or Adam's division by small moments
            np.testing.assert_allclose(other[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
