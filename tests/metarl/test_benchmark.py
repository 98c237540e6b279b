import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from rich.console import Console, RenderableType

from benchmark import running
from benchmark.__main__ import main
from benchmark.implementations import EngineImplementation, PhysicsImplementation
from benchmark.simulation import Comparison, Outcome, engine_memory
from benchmark.table import benchmark_tables
from benchmark.targets import Target
from benchmark.timing import Measurement, measure
from metarl.errors import RunFailure
from metarl_envs.core import FloatArray

FOLDER = Path(__file__).parents[2] / "scripts" / "benchmark"
TINY = Comparison("reach-v3", num_envs=3, original_num_envs=2, min_ratio=1.0, horizon=4)
WANTED: dict[str, Any] = {"min_ratio": 5.0, "min_share": 0.8, "min_scaling": 10.0, "max_memory_gb": 3.0}


class Clockwork:
    """Takes 2 s for 10 steps, half of it in one part, and records its turns."""

    steps = 10

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name, self.turns = name, turns

    def play(self) -> dict[str, float]:
        self.turns.append(self.name)
        return {"all": 2.0, "part": 1.0}

    def close(self) -> None:
        pass


def at(*speeds: float, **parts: float) -> Measurement:
    """Measurement with given steps per second and parts in microseconds per step."""
    seconds = {name: [1e-6 * value] * len(speeds) for name, value in parts.items()}
    return Measurement({"all": [1 / speed for speed in speeds], **seconds})


def outcome(threads: int = 2, memory: int | None = None, benchmark: str = "ML10", **wanted: Any) -> Outcome:
    measurements = {
        "Meta-World, sync": at(1000, 2000, 3000),
        "Meta-World, async": at(1500, 1500, 1500),
        "engine, 1 thread": at(5000, 5000, 5000, simulation=150, reward=40),
        "limit, 1 thread": at(8000, 8000, 8000),
        f"engine, {threads} threads": at(9000, 11000, 10000, simulation=85, reward=5),
        f"limit, {threads} threads": at(12500, 12500, 12500),
    }
    comparison = Comparison(benchmark, num_envs=200, original_num_envs=20, **{**WANTED, **wanted})
    return Outcome(comparison, (1, threads), measurements, memory)


def text(renderable: RenderableType) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_implementations_take_turns() -> None:
    turns: list[str] = []
    found = measure({name: Clockwork(name, turns) for name in "ab"}, 2, 3.0, lambda: turns.append("|"))
    assert "".join(turns) == "a|b|aa|bb|aa|bb|"
    assert found["a"].steps_per_second == [5.0, 5.0]
    assert found["a"].microseconds("part") == 1e5


def test_speed_is_the_median_over_rounds() -> None:
    assert at(100, 400, 200).speed == pytest.approx(200)


def test_ratios_are_to_the_faster_of_meta_worlds_own_and_to_the_limit() -> None:
    found = outcome()
    assert found.ratio("engine, 2 threads") == pytest.approx(5)  # 10,000 against the 2,000 of sync
    assert found.ratio("Meta-World, async") == pytest.approx(0.75)
    assert found.share(2) == pytest.approx(0.8)
    assert found.share(1) == pytest.approx(0.625)


def test_anatomy_adds_up() -> None:
    on_one = {"MuJoCo": 125, "around MuJoCo": 25, "reward": 40, "observation and all else": 10}
    on_two = {"MuJoCo": 80, "around MuJoCo": 5, "reward": 5, "observation and all else": 10}
    assert outcome().anatomy(1) == pytest.approx(on_one)
    assert outcome().anatomy(2) == pytest.approx(on_two)


@pytest.mark.parametrize(
    ("target", "met", "shown", "wanted"),
    [
        (Target("a", 5.0, 5.0), True, "5.00", "at least 5"),
        (Target("a", 4.9999, 5.0), False, "4.99", "at least 5"),
        (Target("a", 3.0, 3.0, at_most=True, unit=" GB"), True, "3.00 GB", "at most 3 GB"),
        (Target("a", 3.0001, 3.0, at_most=True, unit=" GB"), False, "3.01 GB", "at most 3 GB"),
    ],
)
def test_verdicts(target, met, shown, wanted) -> None:
    assert (target.met, target.shown, target.wanted) == (met, shown, wanted)


def test_targets_are_those_of_the_comparison() -> None:
    found = {target.what.partition(": ")[2]: target for target in outcome(16, memory=int(2.5e9)).targets}
    wanted: dict[str, Any] = {
        "times Meta-World": (pytest.approx(5), 5, False),
        "share of the limit": (pytest.approx(0.8), 0.8, False),
        "16 threads times one": (pytest.approx(2), 10, False),
        "peak memory": (pytest.approx(2.5), 3, True),
    }
    assert {what: (target.value, target.bound, target.at_most) for what, target in found.items()} == wanted


def test_what_was_not_measured_is_no_target() -> None:
    assert len(outcome(min_share=None, max_memory_gb=None).targets) == 1
    assert len(outcome(2).targets) == 2  # neither memory nor enough cores


def test_tables_fit_a_terminal() -> None:
    names = ("ML10", "ML10", "push-v3", "pick-place-v3")
    outcomes = [outcome(16, memory=int(4e9), benchmark=name) for name in names]
    shown = text(benchmark_tables(outcomes, outcomes[0].targets))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    assert "9,000-11,000" in shown
    assert "NOT MET" in shown


def test_suites_hold_what_is_promised() -> None:
    wanted = {item.name: (item.original_num_envs, item.min_ratio) for item in running.SUITES["meta-world"]}
    assert wanted == {
        "ML10-train, 200 envs": (20, 5),
        "ML10-train, 20 envs": (20, 3),
        "ML1 push, 200 envs": (10, 6),
        "ML1 pick-place, 200 envs": (10, 6),
    }


def test_environments_play_classes_evenly() -> None:
    names = [task.name for task in Comparison("ML10", num_envs=20, original_num_envs=20, min_ratio=3.0).tasks]
    assert len(names) == 20
    assert all(names.count(name) == 2 for name in names)
    assert len(set(Comparison("push-v3", num_envs=60, original_num_envs=10, min_ratio=6.0).tasks)) == 50


def test_the_limit_is_the_physics_of_the_engine() -> None:
    comparison = Comparison("ML10", num_envs=30, original_num_envs=20, min_ratio=1.0, horizon=6)
    names = ("door-open-v3", "peg-insert-side-v3", "push-v3")  # tasks of the first two have models of their own
    tasks = [task for task in comparison.tasks if task.name in names]
    actions = comparison.actions[:, : len(tasks)]
    implementation = EngineImplementation(tasks, np.concatenate([actions, actions]), 2)
    engine, limit = implementation.engine, PhysicsImplementation(implementation.engine, actions, 2)

    def states() -> list[FloatArray]:
        found = [engine.simulation(i) for i in range(len(tasks))]
        return [np.concatenate([data.qpos, data.qvel, data.xpos.ravel()]) for data in found]

    try:
        limit.play()
        of_limit = states()
        engine.reset()
        first = states()
        for action in actions:  # half an episode, so that there is no reset after it
            engine.step(action)
        for start, ours, theirs in zip(first, states(), of_limit, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert not np.array_equal(ours, start)
    finally:
        implementation.close()


def test_parts_of_the_engine_make_up_no_more_than_all() -> None:
    implementation = EngineImplementation(TINY.tasks, TINY.actions, 2)
    try:
        for _ in range(2):
            spent = implementation.play()
            assert min(spent["simulation"], spent["reward"]) > 0
            assert spent["simulation"] + spent["reward"] < spent["all"]
    finally:
        implementation.close()


def test_memory_is_that_of_another_process() -> None:
    peak = engine_memory(TINY.tasks, TINY.actions, 1)
    if peak is None:
        assert not Path("/proc/self/status").exists()
    else:
        assert 5e7 < peak < 2e9


def test_benchmark(monkeypatch, capfd) -> None:
    monkeypatch.setitem(running.SUITES, "tiny", (TINY,))
    monkeypatch.setattr(running, "available_cores", lambda: 2)
    path = running.run_benchmark("tiny", seconds=0.01, rounds=2, output=Path("new", "speed.json"))
    shown = capfd.readouterr()
    assert shown.err == "measuring ML1 reach, 3 envs\n"
    assert f"Benchmark: {path}\n" in shown.out
    assert max(len(line.rstrip()) for line in shown.out.splitlines()) <= 80
    found = json.loads(Path("new", "speed.json").read_text())
    assert (found["suite"], found["rounds"], found["seconds"], found["cores"]) == ("tiny", 2, 0.01, 2)
    assert {"metaworld", "mujoco", "python"} <= found["versions"].keys()
    [comparison] = found["comparisons"]
    implementations = {
        "Meta-World, sync",
        "Meta-World, async",
        *(f"{name}, {threads}" for name in ("engine", "limit") for threads in ("1 thread", "2 threads")),
    }
    assert comparison["steps_per_second"].keys() == implementations
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in comparison["steps_per_second"].values())
    assert comparison["share_of_limit"].keys() == {"engine, 1 thread", "engine, 2 threads"}
    assert (comparison["num_envs"], comparison["original_num_envs"], comparison["horizon"]) == (3, 2, 4)
    [target] = found["targets"]
    assert (target["what"], target["bound"]) == ("ML1 reach, 3 envs: times Meta-World", 1)
    assert target["value"] == comparison["times_meta_world"]["engine, 2 threads"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Arguments of the calls of `run_benchmark`."""
    found: list[tuple[Any, ...]] = []
    monkeypatch.setattr("benchmark.__main__.run_benchmark", lambda *args, **kwargs: found.append((*args, kwargs)))
    return found


def test_command_line(calls) -> None:
    assert main([]) == 0
    assert main(["--suite", "quick", "--seconds", "0.5", "--rounds", "2", "--output", "a.json"]) == 0
    assert main(["--algorithms", "--device", "cuda"]) == 0
    usual = {"seconds": 3.0, "rounds": 5, "output": None, "device": "cpu", "ranks": (), "threads": 1}
    assert calls == [
        ("meta-world", usual),
        ("quick", usual | {"seconds": 0.5, "rounds": 2, "output": Path("a.json")}),
        ("algorithms", usual | {"device": "cuda"}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--suite quik", "unknown suite 'quik'; did you mean 'quick'?"),
        ("--seconds 0", "argument --seconds: expected a number of seconds above 0, got '0'"),
        ("--seconds nan", "argument --seconds: expected a number of seconds above 0, got 'nan'"),
        ("--rounds 0", "argument --rounds: expected a whole number of at least 1, got '0'"),
        ("--rounds x", "argument --rounds: expected a whole number of at least 1, got 'x'"),
        ("--device tpu", "argument --device: invalid choice: 'tpu'"),
        ("--output .", "cannot write .: it is a directory"),
        ("--output file/a.json", "cannot make directory file: File exists"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(capsys, arguments, message) -> None:
    Path("file").touch()
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.startswith(f"benchmark: error: {message}")


def test_failures_have_an_exit_code_of_their_own(monkeypatch, capsys) -> None:
    for error, code, message in (
        (RunFailure("too\nhot"), 1, "failed: too hot"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):
        monkeypatch.setattr("benchmark.__main__.run_benchmark", Mock(side_effect=error))
        assert main([]) == code
        assert capsys.readouterr().err == f"benchmark: {message}\n"


def test_the_folder_can_be_run_from_anywhere() -> None:
    result = subprocess.run(
        [sys.executable, str(FOLDER), "--suite", "quik"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr == "benchmark: error: unknown suite 'quik'; did you mean 'quick'?\n"


def test_it_does_without_pytorch() -> None:
    code = "import sys, benchmark.running; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
