"""Benchmarks of algorithms: made-up measurements, and one tiny run."""

import json
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from rich.console import Console, RenderableType

from benchmark import running
from benchmark.__main__ import main
from benchmark.algorithm_table import algorithm_tables
from benchmark.algorithms import ALGORITHM_SUITES, Measured, measure_suite
from benchmark.cases import (
    MEMORY,
    SAMPLING_SPEED,
    TIME,
    TIME_OF_ML10,
    UPDATE,
    Bound,
    Case,
    Curve,
    Device,
    Suite,
    make_curves,
)
from benchmark.iterations import Iterations, measure_iterations
from benchmark.references import Reference
from metarl.config import RunConfig
from metarl.errors import RunFailure
from metarl_envs.errors import UserError

FULL = ALGORITHM_SUITES["algorithms"]
REFERENCE = Reference("other", sampling=(30.0, 50.0), update=(70.0, 80.0), total=(100.0, 130.0), memory=8.0)
SMALL = (
    *("--tasks.num_train_tasks=4", "--tasks.num_test_tasks=2", "--tasks.horizon=5"),
    *("--algorithm.meta_batch=2", "--algorithm.hidden_sizes=[4]", "--algorithm.episodes=4"),
    *("--algorithm.parallel_episodes=4", "--threads=1"),
)
TINY = Case("tiny", "navigation-maml", SMALL, (REFERENCE,), (Bound(TIME, 0.5, relative=True),))


def took(
    sampling: tuple[float, ...] = (20.0, 10.0, 12.0),
    update: tuple[float, ...] = (30.0, 28.0, 29.0),
    memory: float | None = 2e9,
    device_memory: int | None = None,
    steps: int = 100_000,
) -> Iterations:
    peak = None if memory is None else int(memory)
    return Iterations((steps,) * len(sampling), sampling, update, peak, device_memory)


def text(renderable: RenderableType) -> str:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def found_targets(bound: Bound, found: Iterations, device: Device = "cpu") -> list[tuple[Any, ...]]:
    return [
        (target.what, pytest.approx(target.value), target.bound, target.at_most, target.unit)
        for target in Case("case", "preset", (), (REFERENCE,), (bound,)).targets(found, device)
    ]


def test_total_is_that_of_each_iteration() -> None:
    assert took().total == (50.0, 38.0, 41.0)
    assert took((1.0, 2.0, 9.0), (9.0, 2.0, 1.0)).total == (10.0, 4.0, 10.0)


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (Bound(TIME, 60.0), ("case: time", 41.0, 60.0, True, " s")),
        (
            Bound(TIME, 0.5, relative=True),
            ("case: time / ref.", 0.41, 0.5, True, ""),
        ),  # of the reference's 100 s, not 130
        (Bound(UPDATE, 0.5, relative=True), ("case: update / ref.", 29 / 70, 0.5, True, "")),
        (Bound(MEMORY, 0.25, relative=True), ("case: memory / ref.", 0.25, 0.25, True, "")),
        (Bound(MEMORY, 3.0), ("case: memory", 2.0, 3.0, True, " GB")),
        (Bound(SAMPLING_SPEED, 10.0), ("case: k steps/s sampled", 100 / 12, 10.0, False, "")),
        (Bound(TIME_OF_ML10, 20.0), ("case: 20 M steps", 200 * 41 / 60, 20.0, True, " min")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else "",
)
def test_targets(bound, expected) -> None:
    [target] = found_targets(bound, took())
    assert target == (expected[0], pytest.approx(expected[1]), *expected[2:])


def test_targets_are_those_of_the_device_and_of_what_could_be_measured() -> None:
    assert not found_targets(Bound(TIME, 60.0, device="cuda"), took())
    assert len(found_targets(Bound(TIME, 60.0, device="cuda"), took(), "cuda")) == 1
    assert not found_targets(Bound(MEMORY, 0.25, relative=True), took(memory=None))


def curve(axis: str = "tasks", sizes: tuple[int, ...] = (5, 10, 20)) -> Curve:
    return Curve(axis, tuple((size, Case(f"case {size}", "preset")) for size in sizes))


@pytest.mark.parametrize(("power", "met"), [(0.0, True), (1.0, True), (1.09, True), (1.2, False), (2.0, False)])
def test_exponents_are_those_of_power_laws(power, met) -> None:
    found = [took((1.0,), (3.0 * size**power,), memory=1e6 * size**power) for size in (5, 10, 20)]
    assert curve().exponent(found, UPDATE) == pytest.approx(power, abs=1e-5)
    assert curve().exponent(found, MEMORY) == pytest.approx(power, abs=1e-5)
    assert [target.met for target in curve().targets(found)] == [met, met]


def test_memory_that_the_system_hides_has_no_exponent() -> None:
    found = [took(memory=None)] * 3
    assert curve().exponent(found, MEMORY) is None
    assert [target.what for target in curve().targets(found)] == ["growth with tasks: update, power"]


def test_curves_vary_one_thing_and_share_the_usual_size() -> None:
    tasks, episodes, steps = make_curves(
        "ml1-reach-maml", ("--seed=3",), {"tasks": (5, 10), "episodes": (2, 4), "steps": (50, 100)}, base=1
    )

    def sizes(case: Case) -> tuple[int, int, int]:
        config: Any = case.config("cpu")
        assert (config.seed, config.device) == (3, "cpu")
        assert config.algorithm.episodes == config.algorithm.parallel_episodes
        return config.algorithm.meta_batch, config.algorithm.episodes, config.tasks.horizon

    assert (tasks.axis, episodes.axis, steps.axis) == ("tasks", "episodes", "steps")
    assert [sizes(case) for _, case in tasks.points] == [(5, 4, 100), (10, 4, 100)]
    assert [sizes(case) for _, case in episodes.points] == [(10, 2, 100), (10, 4, 100)]
    assert [sizes(case) for _, case in steps.points] == [(10, 4, 50), (10, 4, 100)]
    assert tasks.points[1][1] == episodes.points[1][1] == steps.points[1][1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tables_fit_a_terminal(device) -> None:
    gpu = {"device_memory": int(12.3e9)} if device == "cuda" else {}
    cases = [(case, took((123.0, 145.0), (834.0, 835.0), memory=23.4e9, **gpu)) for case in FULL.cases]
    curves = [(curve, [took(memory=12.3e9)] * len(curve.points)) for curve in FULL.curves]
    shown = text(algorithm_tables(Measured(device, cases, curves), cores=2))
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "…" not in shown
    assert ("GPU" in shown) == (device == "cuda")
    assert f"on {device} and 2 cores" in shown
    assert ("not in this run" in shown) == ("metaworld-algorithms" in shown) == (device == "cpu")


def test_tables_show_peers_beside_ours() -> None:
    measured = Measured("cpu", [(TINY, took())], [(curve(), [took((1.0,), (0.5 * n,)) for n in (5, 10, 20)])])
    rows = [line.split() for line in text(algorithm_tables(measured, 1)).splitlines()]
    assert ["tiny", "12.0", "29.0", "41.0", "38.0-50.0", "2.00"] in rows
    assert ["other", "30-50", "70-80", "100-130", "8"] in rows
    assert ["tasks", "5", "10", "20", "2.50", "5.00", "10.0", "1.00", "2.00", "2.00", "2.00", "0.00"] in rows
    assert ["tiny:", "time", "/", "ref.", "0.41", "at", "most", "0.5", "met"] in rows


def test_the_suite_holds_what_is_promised() -> None:
    bounds = {
        (case.name, bound.quantity.name, bound.device): (bound.limit, bound.relative)
        for case in FULL.cases
        for bound in case.bounds
    }
    assert bounds == {
        ("MAML ML1 reach, exact", "time", "cpu"): (0.5, True),
        ("MAML ML1 reach, exact", "memory", "cpu"): (0.25, True),
        ("MAML ML1 reach, shipped", "time", "cpu"): (0.25, True),
        ("MAML ML1 reach, shipped", "memory", "cpu"): (0.25, True),
        ("MAML ML10, exact", "time", "cpu"): (0.5, True),
        ("MAML ML10, exact", "memory", "cpu"): (0.25, True),
        ("MAML ML10, exact", "update", "cuda"): (1.0, False),
        ("MAML ML10, shipped", "time", "cpu"): (0.25, True),
        ("MAML ML10, shipped", "memory", "cpu"): (0.25, True),
        ("MAML ML10, shipped", "update", "cuda"): (1.0, False),
        ("MAML navigation", "time", "cpu"): (1.0, False),
        ("RL² ML1 reach", "time", "cpu"): (0.5, True),
        ("RL² ML1 reach", "memory", "cpu"): (0.5, True),
        ("RL² ML10", "time", "cpu"): (0.5, True),
        ("RL² ML10", "memory", "cpu"): (0.5, True),
        ("RL² 40 tasks", "k steps/s sampled", "cpu"): (15.0, False),
        ("RL² 200 tasks, sampling", "k steps/s sampled", "cpu"): (15.0, False),
        ("RL² 200 tasks", "k steps/s sampled", "cuda"): (60.0, False),
        ("RL² 200 tasks", "update", "cuda"): (30.0, False),
        ("RL² 200 tasks", "20 M steps", "cuda"): (20.0, False),
        ("RL² 200, buffered", "k steps/s sampled", "cuda"): (60.0, False),
    }


@pytest.mark.parametrize("case", [case for case in FULL.cases if case.name.startswith("MAML")], ids=lambda c: c.name)
def test_maml_has_the_sizes_of_its_peers(case) -> None:
    config = case.config("cuda")
    assert config.device == "cuda"
    algorithm, horizon = config.algorithm, config.tasks.horizon
    sizes = (algorithm.meta_batch, algorithm.episodes, horizon, algorithm.hidden_sizes, algorithm.activation)
    assert (
        sizes
        == {
            "MAML ML1 reach": (10, 10, 500, (512, 512), "tanh"),
            "MAML ML10": (20, 10, 500, (512, 512), "tanh"),
            "MAML navigation": (20, 20, 100, (64, 64), "tanh"),
        }[case.name.partition(",")[0]]
    )
    assert algorithm.inner.steps == 1
    if case.name.endswith("exact"):
        assert algorithm.outer.fisher_subsample == 1


@pytest.mark.parametrize("case", [case for case in FULL.cases if case.name.startswith("RL²")], ids=lambda c: c.name)
def test_rl2_has_the_sizes_of_its_peer(case) -> None:
    config = case.config("cpu")
    algorithm = config.algorithm
    assert (algorithm.encoder.hidden_sizes, algorithm.core.kind, algorithm.core.hidden_size) == ((256, 256), "gru", 256)
    assert (config.tasks.horizon, algorithm.chunk, algorithm.outer.minibatches) == (500, 250, 1)
    assert (algorithm.meta_batch, algorithm.episodes, algorithm.outer.epochs) == {
        "RL² ML1 reach": (10, 10, 10),
        "RL² ML10": (20, 10, 10),
        "RL² 40 tasks": (40, 10, 1),
        "RL² 200 tasks, sampling": (200, 10, 1),
        "RL² 200 tasks": (200, 10, 10),
        "RL² 200, buffered": (200, 10, 1),
    }[case.name]
    assert config.double_buffered == case.name.endswith(", buffered")


def test_benchmark(monkeypatch, capfd) -> None:
    other = Case("other", "navigation-maml", tuple(each.replace("meta_batch=2", "meta_batch=4") for each in SMALL))
    suite = Suite((TINY,), (Curve("tasks", ((2, TINY), (4, other))),))
    monkeypatch.setitem(ALGORITHM_SUITES, "tiny", suite)
    path = running.run_benchmark("tiny", rounds=2, output=Path("new", "speed.json"))
    shown = capfd.readouterr()
    assert shown.err == "measuring tiny\nmeasuring other\n"  # each once
    assert f"Benchmark: {path}\n" in shown.out
    assert "iteration 1/3" not in shown.out
    assert max(len(line.rstrip()) for line in shown.out.splitlines()) <= 80
    found = json.loads(path.read_text())
    assert (found["suite"], found["rounds"], found["device"]) == ("tiny", 2, "cpu")
    assert {"torch", "python"} <= found["versions"].keys()
    [case] = found["cases"]
    assert case["steps"] == [80, 80]  # 2 tasks x 4 episodes x 5 steps, before adaptation and after it
    assert len(case["sampling"]) == len(case["update"]) == 2
    assert min(case["sampling"] + case["update"]) > 0
    assert case["total"] == [sum(parts) for parts in zip(case["sampling"], case["update"], strict=True)]
    assert case["device_memory"] is None
    [growth] = found["curves"]
    assert [(point["size"], point["steps"]) for point in growth["points"]] == [(2, [80, 80]), (4, [160, 160])]
    targets = {target["what"]: target["value"] for target in found["targets"]}
    assert targets["tiny: time / ref."] == case["median_seconds"]["total"] / 100
    assert targets["growth with tasks: update, power"] == growth["exponents"]["update"]
    if case["memory"] is None:
        assert not Path("/proc/self/status").exists()
    else:
        assert 5e7 < case["memory"] < 2e9


def test_a_training_that_fails_says_which(monkeypatch) -> None:
    def fail(config: RunConfig, count: int) -> NoReturn:
        raise RunFailure("the gradient is not finite")

    monkeypatch.setattr("benchmark.algorithms.measure_iterations", fail)
    with pytest.raises(RunFailure, match=r"^tiny: the gradient is not finite$"):
        measure_suite(Suite((TINY,), ()), "cpu", 1, lambda name, total: None, lambda: None)


def kill_itself(config: RunConfig, path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told_of(monkeypatch) -> None:
    monkeypatch.setattr("benchmark.iterations._train", kill_itself)
    with pytest.raises(RunFailure, match="killed; perhaps memory ran out"):
        measure_iterations(TINY.config("cpu"), 1)


def test_a_preset_that_is_not_there_is_told_of_before_anything_is_measured(monkeypatch) -> None:
    monkeypatch.setattr("benchmark.algorithms.measure_iterations", lambda config, count: pytest.fail("measured"))
    suite = Suite((TINY, Case("gone", "no-such-preset")), ())
    with pytest.raises(UserError, match=r"no configuration file '.*no-such-preset.yaml'"):
        measure_suite(suite, "cpu", 1, lambda name, total: None, lambda: None)


def test_cuda_where_there_is_none(monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--algorithms", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("benchmark: error: device: 'cuda' was asked for")
    assert not Path("runs").exists()


def test_simulation_takes_no_device(capsys) -> None:
    assert main(["--device", "cuda"]) == 2
    assert "suite 'meta-world' simulates, which is done on the CPU" in capsys.readouterr().err
