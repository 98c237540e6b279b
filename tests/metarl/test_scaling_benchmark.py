"""Suite of scaling: its figures from made-up measurements, and processes that work together."""

import os
from collections.abc import Mapping

import pytest
from rich.console import Console

from benchmark import running
from benchmark.crew import Crew, Work
from benchmark.scaling import ONE, Layout, Scaled, Scaling, layouts
from benchmark.scaling import Work as Measured
from benchmark.scaling_model import Sampling, Update, fit_sampling, fit_sums
from benchmark.scaling_table import scaling_markdown, scaling_tables
from benchmark.scaling_work import OUTSIDE
from benchmark.timing import Implementation, Measurement
from metarl.errors import RunFailure
from metarl_envs.errors import UserError

MODEL = Sampling(simulated=70e-6, python=20e-6, fixed=1e-3)


def no_work(layout: Layout) -> Implementation:
    raise NotImplementedError


def sampled(tasks: int, seconds: Mapping[Layout, float], outside: float = 0.0) -> Scaled:
    """Sampling that took these seconds per environment step."""
    work = Measured(f"sampling, {tasks} ML10 tasks", no_work, tasks, sampling=True)
    return Scaled(
        work, {layout: Measurement({"all": [each, each], OUTSIDE: [outside] * 2}) for layout, each in seconds.items()}
    )


def test_layouts_compare_processes_with_as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.scaling.available_cores", lambda: 6)
    assert layouts((), 1) == [ONE, (1, 2), (2, 1), (1, 4), (4, 1), (1, 6), (6, 1)]
    assert layouts((2,), 4) == [ONE, (1, 8), (2, 4)]


def test_speed_up_efficiency_and_serial_share() -> None:
    two, four = Layout(1, 2), Layout(4, 1)
    found = sampled(40, {ONE: 100e-6, two: 75e-6, four: 25e-6})
    assert found.speed_up(two) == pytest.approx(4 / 3)
    assert found.efficiency(two) == pytest.approx(2 / 3)
    # half of the time is serial: 0.5 + 0.5 / 2 = 0.75
    assert found.serial(two) == pytest.approx(0.5)
    assert found.efficiency(four) == pytest.approx(1.0)
    assert found.serial(four) == pytest.approx(0.0)
    assert found.serial(ONE) is None


def test_model_is_recovered_from_what_it_predicts() -> None:
    seconds = {tasks: (MODEL.seconds(tasks), 20e-6 * tasks + 1e-3) for tasks in (20, 40, 200)}
    assert fit_sampling(seconds) == pytest.approx(MODEL)
    # 16 processes of 4 tasks: 64 steps in 4 x 90 µs + 1 ms
    assert MODEL.speed(64, ranks=16) == pytest.approx(64 / 1.36e-3)
    # one process of 10 tasks on 7 threads: 100 µs of simulation, 1.2 ms of which one thread at a time can do
    assert MODEL.seconds(10, threads=7) == pytest.approx(1.3e-3)
    assert MODEL.locked(10) == pytest.approx(1.2 / 1.9)


def test_sums_take_latency_and_bandwidth() -> None:
    sums = fit_sums({8: 1e-4, 4_000_000: 1e-4 + 4e-3})
    assert sums.bandwidth == pytest.approx(1e9)
    # 16 processes: 4 latencies, and 30/16 of the bytes
    assert sums.seconds(8_000_000, 16) == pytest.approx(4e-4 + 15e-3)
    update = Update(alone=10.0, messages=2, size=8_000_000)
    assert update.seconds(1, sums) == 10.0
    assert update.seconds(16, sums) == pytest.approx(10 / 16 + 2 * (4e-4 + 15e-3))


def test_tables_and_targets() -> None:
    many = {ONE: MODEL.seconds(40) / 40, Layout(2, 1): 1 / 15_500, Layout(20, 1): 1 / 100_000}
    works = [
        sampled(20, {ONE: MODEL.seconds(20) / 20}, outside=20e-6 + 1e-3 / 20),
        sampled(40, many, outside=20e-6 + 1e-3 / 40),
    ]
    found = Scaling(works, {8: 1e-4, 4_000_000: 4e-3})
    assert found.model == pytest.approx(MODEL)
    assert [(target.what, target.met) for target in found.targets] == [
        ("sampling, 40 ML10 tasks: k steps/s", True),
        ("sampling, 40 ML10 tasks: 20 times one", True),
    ]
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(scaling_tables(found, cores=2))
    assert "15,500" in capture.get()
    lines = scaling_markdown(found, cores=2).splitlines()
    assert "| 2 x 1 | 15,500 | 15,500-15,500 | 1.78 | 0.89 | 0.12 | 0.70 |" in lines
    assert "**One process's step of m tasks on c threads: 70 m / c + 20 m + 1000 µs**" in lines
    # 64 processes with one of 64 tasks each: 64 / 1.09 ms
    assert any(line.startswith("| 64 x 1 | 58,716 |") for line in lines)
    assert found.to_dict()["works"][1]["layouts"][1]["efficiency"] == pytest.approx(15_500 * many[ONE] / 2)


def rank_and_process(rank: int, size: int, offset: int) -> Work:
    return lambda: {"rank": float(rank + offset), "size": float(size), "process": float(os.getpid())}


def ends(rank: int, size: int) -> Work:
    def work() -> dict[str, float]:
        os._exit(1)

    return work


def test_crew_works_in_processes_of_its_own() -> None:
    crew = Crew(2, rank_and_process, 10)
    try:
        first, again = crew.work(), crew.work()
    finally:
        crew.close()
    assert [(each["rank"], each["size"]) for each in first] == [(10, 2), (11, 2)]
    assert len({os.getpid(), *(each["process"] for each in first)}) == 3
    assert first == again


def test_crew_tells_that_a_process_ended() -> None:
    with pytest.raises(RunFailure, match="a process that was measured ended"):
        Crew(1, ends).work()


def test_unknown_suite_is_refused() -> None:
    with pytest.raises(UserError, match="scaling"):
        running.run_benchmark("scalling")
