"""Training driven from Python: the code of docs/train-from-python.md, threads, and what is left when one ends."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from counting_env import Counting, CountingEnv
from page import Page

import metarl
from metarl import checkpoints
from metarl.algorithms.rl2.algorithm import RL2
from metarl.cli.train import train_in_terminal
from metarl.config import RunConfig
from metarl.progress import StopSignal
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs import registry
from metarl_envs.errors import UserError

PAGE = Page("train-from-python.md")
SMALLER = ["--algorithm.meta-batch=2", "--algorithm.episodes=2", "--algorithm.parallel-episodes=2", "--threads=1"]
SMALLER += ["--algorithm.hidden-sizes=4", "--tasks.horizon=5", "--tasks.num-test-tasks=4"]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def page() -> dict[str, Any]:
    """The names that the page's code leaves behind."""
    names: dict[str, Any] = {}
    for block in PAGE.blocks("python"):
        code = block.replace('"navigation-maml", [', f'"navigation-maml", [*{SMALLER}, ').replace("30", "4")
        code = code.replace("settings = [", f"settings = [*{SMALLER}, ").replace('"horizon": 20', '"horizon": 5')
        exec(code, names)
    return names


def test_the_page_runs(page: dict[str, Any]) -> None:
    run = RunDirectory.open(Path("runs/from-python"))
    assert run.config == page["config"]
    assert checkpoints.load(run.checkpoint("last"))[1].iteration == 4
    assert (page["longer"].seed, page["longer"].algorithm) == (2, page["config"].algorithm)
    assert page["first"].iteration == 1
    assert [summary.k for summary in page["evaluation"].overall] == [0, 2]
    assert page["agent"].adaptation_steps == 1
    assert checkpoints.load(page["checkpoint"])[1].iteration == 1
    assert page["remaining"] == [2, 3, 4, 5]
    assert 3 <= len(page["history"]) == last_state(Path("runs/in-a-thread"))[1]
    assert page["best_lr"] in (0.05, 0.1, 0.2)
    assert len(list(Path("runs").glob("lr-*-seed-1"))) == 3


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[CountingEnv]]:
    """Registers the family "counting"; returns the environments as they are made."""
    environments: list[CountingEnv] = []

    class Watched(Counting):
        def make_env(self, num_envs: int, render_mode: str | None = None) -> CountingEnv:
            environments.append(super().make_env(num_envs, render_mode))
            return environments[-1]

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    registry.register("counting", Watched)
    yield environments
    assert environments


def make_config(iterations: int = 4, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "iterations": iterations,
        "threads": 1,
        "device": "cpu",
        "tasks": {"kind": "registered", "id": "counting"},
        "algorithm": {"kind": "rl2", "meta_batch": 3, "episodes": 2, "core": {"kind": "gru", "hidden_size": 4}},
        "evaluation": {"every": 0, "adaptation_episodes": [0], "tasks_per_name": None},
    }
    return RunConfig.model_validate(settings | changes)


def logged(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def last_state(path: Path) -> tuple[dict[str, torch.Tensor], int]:
    state, manifest = checkpoints.load(RunDirectory.open(path).checkpoint("last"))
    return state, manifest.iteration


def test_a_break_and_close_leave_no_environments_open(made: list[CountingEnv], tmp_path: Path) -> None:
    training = Training.start(make_config(double_buffered=True), tmp_path / "run")
    for _ in training:
        break
    assert len(made) == 2  # none to evaluate in, as that is off
    assert not any(env.closed for env in made)
    training.close()
    assert all(env.closed for env in made)
    training.close()  # again does no harm


def test_a_closed_training_says_so(made: list[CountingEnv], tmp_path: Path) -> None:
    with Training.start(make_config(), tmp_path / "run") as training:
        next(training)
    for use in (training.__next__, training.evaluate):
        with pytest.raises(UserError, match=r"^the training is closed: go on with Training.resume$"):
            use()


def test_resuming_for_no_iterations_is_refused(made: list[CountingEnv], tmp_path: Path) -> None:
    with Training.start(make_config(), tmp_path / "run") as training:
        training.save()
    with pytest.raises(UserError, match=r"^iterations must be at least 1: got 0$"):
        Training.resume(tmp_path / "run", iterations=0)
    assert RunDirectory.open(tmp_path / "run").config.iterations == 4


def test_a_training_that_cannot_begin_leaves_no_environments_open(
    made: list[CountingEnv], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RL2, sampler: Any) -> None:
        raise ArithmeticError

    monkeypatch.setattr(RL2, "warm_up", broken)
    with pytest.raises(ArithmeticError):
        Training.start(make_config(), tmp_path / "run")
    assert all(env.closed for env in made)


def test_save_keeps_the_parameters_as_they_are(made: list[CountingEnv], tmp_path: Path) -> None:
    with Training.start(make_config(), tmp_path / "run") as training:
        next(training)
        next(training)
        path = training.save()
        expected = {name: tensor.clone() for name, tensor in training.algorithm.state_dict().items()}
        next(training)
    state, manifest = checkpoints.load(path)
    assert (manifest.iteration, manifest.score) == (2, logged(tmp_path / "run")[1]["rollout/ep_rew_mean"])
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert metarl.load(tmp_path / "run").adaptation_steps == 1


def test_evaluating_changes_nothing(made: list[CountingEnv], tmp_path: Path) -> None:
    for name in ("plain", "evaluated"):
        with Training.start(make_config(3), tmp_path / name) as training:
            for _ in training:
                if name == "evaluated":
                    training.evaluate()
                    training.agent()
    assert logged(tmp_path / "plain") == logged(tmp_path / "evaluated")


def test_stop_from_another_thread_leaves_a_checkpoint_to_resume_from(made: list[CountingEnv], tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with Training.start(make_config(), whole) as training:
        list(training)

    training = Training.start(make_config(), parts)
    two_are_done, stopped = threading.Event(), threading.Event()

    def work() -> None:
        with training:
            for iteration in training:
                if iteration.iteration == 2:
                    two_are_done.set()
                    assert stopped.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert two_are_done.wait(60)
    training.stop()
    stopped.set()
    thread.join(60)
    assert not thread.is_alive()
    assert last_state(parts)[1] == 2
    assert all(env.closed for env in made)

    with Training.resume(parts) as training:
        assert [iteration.iteration for iteration in training] == [3, 4]
    assert logged(parts) == logged(whole)
    expected, state = last_state(whole)[0], last_state(parts)[0]
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("in_terminal", [False, True])
def test_training_in_a_thread_equals_training_in_the_main_thread(
    made: list[CountingEnv], tmp_path: Path, in_terminal: bool
) -> None:
    failures: list[BaseException] = []
    handlers = [signal.getsignal(number) for number in SIGNALS]

    def work(name: str) -> None:
        try:
            if in_terminal:
                train_in_terminal(lambda: Training.start(make_config(), tmp_path / name))
            else:
                with Training.start(make_config(), tmp_path / name) as training:
                    for _ in training:
                        assert [signal.getsignal(number) for number in SIGNALS] == handlers
        except BaseException as error:
            failures.append(error)

    work("main")
    thread = threading.Thread(target=work, args=("thread",))
    thread.start()
    thread.join(60)
    assert failures == []
    assert logged(tmp_path / "thread") == logged(tmp_path / "main")
    assert len(logged(tmp_path / "main")) == 4


def test_signals_are_handled_in_the_main_thread_only() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: dict[str, list[Any]] = {}

    def enter(name: str) -> None:
        with StopSignal() as stop:
            stop.calls(lambda: None)
            seen[name] = [signal.getsignal(number) for number in SIGNALS]

    enter("main")
    thread = threading.Thread(target=enter, args=("thread",))
    thread.start()
    thread.join(60)
    assert seen["thread"] == before
    assert all(one != other for one, other in zip(seen["main"], before, strict=True))
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("every", "num_envs", "counts"),
    [
        (0, None, [3]),
        (1, None, [3, 1]),  # one held-out task
        (1, 1, [3, 1]),
    ],
)
def test_environments_are_made_for_what_is_played(made: list[CountingEnv], tmp_path, every, num_envs, counts) -> None:
    evaluation = {"every": every, "adaptation_episodes": [0], "tasks_per_name": None, "num_envs": num_envs}
    Training.start(make_config(evaluation=evaluation), tmp_path / "run").close()
    assert [env.num_envs for env in made] == counts


def test_a_simulator_that_can_have_one_environment_trains_and_evaluates_in_it(
    made: list[CountingEnv], tmp_path
) -> None:
    algorithm = {"kind": "maml", "meta_batch": 1, "episodes": 2, "hidden_sizes": [4]}
    evaluation = {"every": 1, "adaptation_episodes": [0, 1], "tasks_per_name": None, "num_envs": 1}
    with Training.start(make_config(2, algorithm=algorithm, evaluation=evaluation), tmp_path / "run") as training:
        list(training)
    assert [env.num_envs for env in made] == [1]
    assert all("eval/return/test/1_episodes" in line for line in logged(tmp_path / "run"))
