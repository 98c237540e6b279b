"""Ranks as real processes, started by torchrun and by `metarl train --processes`: results, signals, deaths."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from averaging import AveragingConfig
from safetensors.numpy import load_file

from metarl import checkpoints
from metarl.config import RunConfig
from metarl.training import Training

TESTS = Path(__file__).parent.parent
FAMILY = """import gymnasium as gym
import numpy as np
from metarl_envs import Task, WrappedDistribution

class Line(gym.Env):
    observation_space = gym.spaces.Box(-9, 9, (1,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)
    goal = 0.0
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([self.np_random.uniform(-1, 1)]), {}
    def step(self, action):
        return np.array([float(action[0])]), -abs(float(action[0]) - self.goal), False, False, {"success": False}

def apply(env, task):
    env.unwrapped.goal = task.parameters[0]

def family():
    tasks = [Task("line", [n]) for n in range(12)]
    return WrappedDistribution("line", tasks[:8], tasks[8:], lambda mode: Line(), apply, horizon=3)
"""


class Workplace:
    """A folder with a configuration, and the processes that work there.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self._mark = uuid.uuid4().hex
        info = folder / "averaging-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: averaging\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[metarl.algorithms]\naveraging = averaging:AveragingConfig\n")
        (folder / "family.py").write_text(FAMILY)

    def configure(self, **algorithm: Any) -> RunConfig:
        settings: dict[str, Any] = {
            "iterations": 4,
            "device": "cpu",
            "workers": 1,
            "tasks": {"kind": "registered", "id": "family.py:family"},
            "algorithm": {"kind": "averaging", **algorithm},
            "evaluation": {"every": 2, "adaptation_episodes": [0, 1]},
            "checkpoint": {"every": 1},
        }
        (self.folder / "run.yaml").write_text(yaml.safe_dump(settings))
        return RunConfig.model_validate(settings | {"evaluation": {"every": 2, "adaptation_episodes": (0, 1)}})

    def start(self, *command: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(self.folder), str(TESTS)])
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": paths, "METARL_TEST": self._mark, "CI": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def metarl(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start("metarl", "train", *arguments)

    def torchrun(self, processes: int, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        launcher = ("torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *options)
        return self.start(*launcher, "-m", "--", "metarl", "train", *arguments)

    def processes(self) -> dict[int, dict[str, str]]:
        """Environment variables of all processes that were started here, by their number."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                entries = path.read_bytes().split(b"\0")
            except OSError:
                continue
            variables = dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries if b"=" in entry)
            if variables.get("METARL_TEST") == self._mark:
                found[int(path.parent.name)] = variables
        return found

    def rank(self, number: int) -> int:
        """Number of the process of a rank: the oldest one, as others are its workers."""
        return min(pid for pid, variables in self.processes().items() if variables.get("RANK") == str(number))

    def wait_for(self, condition: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def saved(self) -> int:
        """Number of checkpoints that are whole."""
        return sum((each / "manifest.json").is_file() for each in (self.run / "checkpoints").glob("[0-9]*"))

    def last(self) -> Mapping[str, Any]:
        [file] = checkpoints.latest(self.run / "checkpoints").glob("*.safetensors")
        return load_file(file)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.syspath_prepend(str(tmp_path))
    place = Workplace(tmp_path)
    yield place
    left = place.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def alone(config: RunConfig, path: Path) -> Mapping[str, Any]:
    """The last checkpoint of one process's training."""
    with Training.start(config, path) as training:
        list(training)
    [file] = checkpoints.latest(path / "checkpoints").glob("*.safetensors")
    return load_file(file)


def assert_close(state: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=1e-10)


def test_two_processes_train_what_one_does_and_three_go_on(workplace) -> None:
    config = workplace.configure()
    out, err = (first := workplace.metarl("run.yaml", "--run=run", "--processes=2", "--iterations=2")).communicate()
    assert (first.returncode, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith("held-out")] == [
        "run directory",
        "iteration 1/2",
        "iteration 2/2",
        "done",
    ]
    out, _ = (second := workplace.torchrun(3, "--resume=run", "--iterations=4")).communicate()
    assert second.returncode == 0
    assert "going on after iteration 2" in out
    assert_close(workplace.last(), alone(config, workplace.folder / "one"))


def test_a_killed_rank_ends_the_run_with_one_line_and_torchrun_goes_on_from_the_last_checkpoint(workplace) -> None:
    config = workplace.configure(pause=0.2)
    killed = workplace.metarl("run.yaml", "--run=run", "--processes=2", "--iterations=1000")
    workplace.wait_for(lambda: workplace.saved() >= 1)
    pid = workplace.rank(1)
    os.kill(pid, signal.SIGKILL)
    _, err = killed.communicate(timeout=60)
    assert killed.returncode == 1
    [line] = err.splitlines()
    assert line.startswith(f"metarl: failed: process 1 of the training (pid {pid}) was ended by SIGKILL")
    workplace.wait_for(lambda: not workplace.processes(), 20)
    done = checkpoints.load(checkpoints.latest(workplace.run / "checkpoints"))[1].iteration
    assert done >= 1
    # torchrun starts all of them again, as often as it is told
    more = f"--iterations={done + 12}"
    again = workplace.torchrun(2, "--resume=run", more, options=("--max-restarts=1",))
    before = checkpoints.latest(workplace.run / "checkpoints").name
    workplace.wait_for(lambda: checkpoints.latest(workplace.run / "checkpoints").name > before)
    os.kill(workplace.rank(0), signal.SIGKILL)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert out.count("going on after iteration") == 2
    whole = config.model_copy(update={"iterations": done + 12, "algorithm": AveragingConfig()})
    assert_close(workplace.last(), alone(whole, workplace.folder / "one"))


def test_a_run_started_again_by_torchrun_goes_on_although_its_directory_exists(workplace, monkeypatch) -> None:
    config = workplace.configure(pause=0.2)
    run = workplace.torchrun(2, "run.yaml", "--run=run", "--iterations=10", options=("--max-restarts=1",))
    workplace.wait_for(lambda: workplace.saved() >= 1)
    os.kill(workplace.rank(1), signal.SIGKILL)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    assert "going on after iteration" in out
    whole = config.model_copy(update={"iterations": 10, "algorithm": AveragingConfig()})
    assert_close(workplace.last(), alone(whole, workplace.folder / "one"))


def test_no_rank_outlives_its_launcher(workplace) -> None:
    workplace.configure(pause=0.2)
    launcher = workplace.metarl("run.yaml", "--run=run", "--processes=2", "--iterations=1000")
    workplace.wait_for(lambda: workplace.saved() >= 1)
    assert len(workplace.processes()) >= 5  # the launcher, two ranks, and their workers
    launcher.kill()
    launcher.communicate()
    workplace.wait_for(lambda: not workplace.processes(), 20)
    checkpoints.load(checkpoints.latest(workplace.run / "checkpoints"))


def test_a_signal_stops_all_ranks_after_the_same_iteration_with_a_checkpoint(workplace) -> None:
    workplace.configure(pause=0.2)
    launcher = workplace.metarl("run.yaml", "--run=run", "--processes=2", "--iterations=1000", "--checkpoint.every=999")
    log = workplace.run / "metrics.jsonl"
    workplace.wait_for(lambda: log.exists() and log.read_text().count("\n") >= 2)
    launcher.send_signal(signal.SIGTERM)
    out, err = launcher.communicate(timeout=60)
    assert (launcher.returncode, err) == (0, "")
    assert out.splitlines()[-1].startswith("stopped; go on with: ")
    assert workplace.saved() == 1


def test_a_rank_that_fails_alone_tells_why_in_one_line(workplace) -> None:
    workplace.configure(fails_on=1)
    launcher = workplace.metarl("run.yaml", "--run=run", "--processes=2")
    _, err = launcher.communicate(timeout=60)
    assert (launcher.returncode, err) == (1, "metarl: failed: this rank fails alone\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_kills_at_any_moment_change_nothing(workplace, seed) -> None:
    draw = random.Random(seed)
    config = workplace.configure(pause=0.05).model_copy(update={"iterations": 30})
    for _ in range(3):
        started = (workplace.run / "config.yaml").exists()
        what = ["--resume=run"] if started else ["run.yaml", "--run=run"]
        launcher = workplace.metarl(*what, f"--processes={draw.choice([2, 3])}", "--iterations=30")
        time.sleep(draw.uniform(2, 10))
        ranks = [pid for pid, variables in workplace.processes().items() if "RANK" in variables]
        if ranks:
            os.kill(draw.choice([*ranks, launcher.pid]), signal.SIGKILL)
        launcher.communicate(timeout=60)
        workplace.wait_for(lambda: not workplace.processes(), 20)
    last = workplace.metarl("--resume=run", "--iterations=30")
    last.communicate()
    assert last.returncode == 0
    expected = config.model_copy(update={"algorithm": AveragingConfig()})
    assert_close(workplace.last(), alone(expected, workplace.folder / "one"))
