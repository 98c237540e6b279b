"""Several seeds of one training: which processes run where, and what is told of them.

Their processes are played by a script that takes a moment, except on the page, whose commands train.
"""

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from page import Page

from metarl import seeds
from metarl.cli import main
from metarl.config import load_config
from metarl.run_paths import expand_seeds, seed_runs
from metarl.runs import RunDirectory, RunExistsError
from metarl.seeds import SeedTrainings, create_seeds, divide_machine
from metarl_envs.cores import CORES, available_cores
from metarl_envs.errors import UserError

PAGE = Page("train-several-seeds.md")
SMALLER = ["--algorithm.meta-batch=2", "--algorithm.episodes=2", "--algorithm.parallel-episodes=2"]
SMALLER += ["--algorithm.hidden-sizes=4", "--tasks.horizon=5", "--tasks.num-test-tasks=4", "--iterations=2"]
CONFIG = load_config("navigation-maml", ["--iterations", "2", "--device", "cpu"])
PLAYED = """import json, os, pathlib, signal, sys, time
run = pathlib.Path(sys.argv[3].partition("=")[2])
metrics = ("time/fps", "rollout/success_rate", "rollout/ep_rew_mean", "meta/adaptation_gain")
names = "METARL_CORES", "CUDA_VISIBLE_DEVICES"
(run / "place.json").write_text(json.dumps({name: os.environ.get(name) for name in names}))
def iterate(index):
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"iteration": index, "env_steps": index} | dict.fromkeys(metrics, 1.0)) + "\\n")
"""
TRAINS = "iterate(0)\nprint('a warning', file=sys.stderr)\niterate(1)\n"
FAILS = "iterate(0)\nsys.exit('metarl: failed: the disk is full')\n"
HANGS = """signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
iterate(0)
time.sleep(60)
"""
Plays = Callable[..., None]


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plays:
    """Sets what the process of each seed does; seeds without a script train."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seeds, "available_cores", lambda: 2)

    def play(**scripts: str) -> None:
        chosen = "".join(f"if run.name == {name!r}:\n    exec({script!r})\nel" for name, script in scripts.items())
        chosen += f"{'' if scripts else 'if True:'}{'se:' if scripts else ''}\n    exec({TRAINS!r})\n"
        monkeypatch.setattr(seeds, "_CHILD", PLAYED + chosen)

    return play


def command(*arguments: str) -> int:
    return main(["train", *arguments])


def states(folder: Path = Path("three")) -> dict[int, int]:
    """Iterations logged by seed."""
    logs = {int(path.name[5:]): path / "metrics.jsonl" for path in seed_runs(folder)}
    return {seed: len(log.read_text().splitlines()) if log.exists() else 0 for seed, log in logs.items()}


def start(*arguments: str) -> int:
    return command(
        "navigation-maml", "--iterations=2", "--device=cpu", "--run=three", "--seeds", "1", "10", "3", *arguments
    )


def test_each_seed_has_a_run_and_a_process_with_its_share_of_the_cores(plays, capsys) -> None:
    plays()
    assert start() == 0
    assert [path.name for path in seed_runs(Path("three"))] == ["seed-1", "seed-3", "seed-10"]
    assert [RunDirectory.open(path).config.seed for path in seed_runs(Path("three"))] == [1, 3, 10]
    assert states() == {1: 2, 3: 2, 10: 2}
    assert json.loads(Path("three/seed-3/place.json").read_text()) == {
        "METARL_CORES": "1",
        "CUDA_VISIBLE_DEVICES": None,
    }
    captured = capsys.readouterr()
    assert captured.err.count("seed 10: a warning\n") == 1
    assert "seed 10: done at iteration 2/2\n" in captured.out
    assert captured.out.splitlines()[-1].startswith("done: three; next: ")


def test_a_seed_that_fails_ends_no_other(plays, capsys) -> None:
    plays(**{"seed-1": FAILS})
    assert start() == 1
    assert states() == {1: 1, 3: 2, 10: 2}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("metarl: failed: 1 of 3 seeds: seed 1: the disk is full; to go on with them: ")


def test_a_seed_that_is_killed_is_told(plays, capsys) -> None:
    plays(**{"seed-3": "os.kill(os.getpid(), 9)"})
    assert start() == 1
    assert "seed 3: its process was ended by SIGKILL (as when memory runs out)" in capsys.readouterr().err


def test_a_mistake_that_all_make_leaves_nothing(plays, capsys) -> None:
    wrong = "print('metarl: error: too large', file=sys.stderr)\nsys.exit(2)\n"
    plays(**{f"seed-{seed}": wrong for seed in (1, 3, 10)})
    assert start() == 2
    assert capsys.readouterr().err == "metarl: error: too large\n"
    assert list(Path().iterdir()) == []


def test_a_stop_ends_those_that_run_and_begins_no_other(plays) -> None:
    plays(**{f"seed-{seed}": HANGS for seed in (1, 3, 10)})
    create_seeds(CONFIG, [1, 3, 10], Path("three"))
    with SeedTrainings(Path("three")) as trainings:
        for training, _ in trainings.train():
            if training.iteration == 1:
                trainings.stop()
    assert [training.state for training in trainings.all] == ["stopped"] * 3
    assert (states()[1], states()[10]) == (1, 0)


def test_leaving_ends_all_processes(plays) -> None:
    plays(**{f"seed-{seed}": HANGS for seed in (1, 3, 10)})
    create_seeds(CONFIG, [1, 3, 10], Path("three"))
    with SeedTrainings(Path("three")) as trainings:
        next(trainings.train())
        process = trainings.all[0]._process
    assert process is not None
    assert process.returncode is not None


def test_a_process_ends_with_the_command() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", seeds._CHILD, "1", "presets"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize(
    ("cores", "count", "overrides", "places"),
    [
        (8, 3, [], ["2"] * 3),
        (2, 3, [], ["1"] * 2),
        (8, 3, ["--threads=4"], ["4"] * 2),
        (8, 3, ["--workers=3"], ["4"] * 2),
        (2, 3, ["--threads=4"], ["2"]),
    ],
)
def test_cores_are_divided(cores, count, overrides, places, monkeypatch) -> None:
    monkeypatch.setattr(seeds, "available_cores", lambda: cores)
    config = load_config("navigation-maml", ["--device=cpu", *overrides])
    assert [place[CORES] for place in divide_machine(config, count)] == places


@pytest.mark.parametrize(
    ("device", "visible", "gpus"),
    [("auto", "", ["0", "1"]), ("cuda", "3,5", ["3", "5"]), ("cuda:1", "", [None]), ("cpu", "", [None] * 3)],
)
def test_gpus_are_shared_in_turn(device, visible, gpus, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(seeds, "available_cores", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    places = divide_machine(load_config("navigation-maml", [f"--device={device}"]), 3)
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in places] == gpus


def test_names_given_at_once_do_not_collide(tmp_path: Path) -> None:
    barrier, taken = threading.Barrier(4), []

    def make() -> None:
        barrier.wait(60)
        try:
            create_seeds(CONFIG, [1, 2], tmp_path / "runs" / "same")
        except RunExistsError:
            taken.append(True)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == 3
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["same"]


def test_a_folder_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def create(path: Path, config: Any) -> None:
        path.mkdir()
        raise UserError("no")

    monkeypatch.setattr(RunDirectory, "create", create)
    with pytest.raises(UserError, match=r"^no$"):
        create_seeds(CONFIG, [1], tmp_path / "three")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stands_for_its_runs(plays, capsys) -> None:
    create_seeds(CONFIG, [2, 1], Path("two"))
    assert expand_seeds([Path("two"), Path("other")]) == [Path("two/seed-1"), Path("two/seed-2"), Path("other")]
    assert main(["export", "two"]) == 2
    assert "two holds the runs of 2 seeds: name one of them, such as two/seed-1" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "cores"), [("1", 1), ("", None), ("100000", None)])
def test_the_cores_may_be_limited(limit, cores, monkeypatch) -> None:
    monkeypatch.delenv(CORES, raising=False)
    expected = cores or available_cores()
    monkeypatch.setenv(CORES, limit)
    assert available_cores() == expected


@pytest.mark.parametrize("limit", ["0", "-1", "two", "1.5", "²"])
def test_limits_of_cores_that_are_none(limit, monkeypatch) -> None:
    monkeypatch.setenv(CORES, limit)
    with pytest.raises(UserError, match=r"^METARL_CORES: expected a whole number of at least 1, got"):
        available_cores()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1", "2", "1"], "--seeds: 1 is given twice: give each seed once"),
        (["--seeds", "-1"], "argument --seeds: expected a whole number of at least 0, got '-1'"),
        (["--seeds", "one"], "argument --seeds: expected a whole number of at least 0, got 'one'"),
        (["--seeds", "1,2"], "argument --seeds: expected a whole number of at least 0, got '1,2'"),
        (["--seeds"], "argument --seeds: expected at least one argument"),
        (["--seeds", "1", "--seed", "2"], "--seed and --seeds cannot go together"),
        (["--seeds", "1", "--processes", "2"], "several seeds are a process each: train them without --processes"),
        (["--seeds", "1", "--seeds", "2"], "--seeds is given 2 times"),
        (["--seeds", str(2**64)], "argument --seeds: expected a whole number of at most 18446744073709551615"),
    ],
)
def test_seeds_that_are_refused(arguments, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("navigation-maml", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"metarl: error: {message}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_page_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for block in PAGE.blocks(""):
        for line in block.splitlines():
            *settings, words = line.rpartition("metarl ")
            if settings[0]:
                monkeypatch.setenv(*settings[0].strip().split("="))
            arguments = shlex.split(words.replace("--iterations 70", "--iterations 3").replace("1 2 3", "1 2"))
            if arguments[1] == "navigation-maml":
                arguments += SMALLER
            assert main(arguments) == 0, line
    assert states(Path("runs/three")) == {1: 4, 2: 4}  # one before training, and 3
    assert list(Path("runs/three/figures").glob("*.png"))
    names: dict[str, Any] = {}
    for block in PAGE.blocks("python"):
        exec(block.replace('"--iterations", "10"', f"*{SMALLER}"), names)
    assert len(names["agents"]) == len(names["evaluations"]) == 2
