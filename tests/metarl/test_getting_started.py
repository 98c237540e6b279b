"""What people meet first: names, paths, terminals, families of their own; each with what it must say or do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import metarl
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.config import RunConfig, load_config
from metarl.loading import check_settings
from metarl.runs import RunDirectory
from metarl.shell import command
from metarl.training import Training
from metarl_envs import registry
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation, NavigationVectorEnv

QUICK = """iterations: 1
device: cpu
tasks: {kind: navigation, num_train_tasks: 20, num_test_tasks: 12, horizon: 4}
algorithm: {kind: maml, meta_batch: 2, episodes: 2, hidden_sizes: [4]}
evaluation: {every: 0}
"""
FAMILY = """
import gymnasium as gym
import numpy as np
from helper_beside_it import HORIZON
from metarl_envs import Task, WrappedDistribution

class Line(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)
    goal = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1)
        return self.x, {}

    def step(self, action):
        self.x = self.x + action
        return self.x, -abs(float(self.x[0]) - self.goal), False, False, {}

def line(goals: list[float]) -> WrappedDistribution:
    tasks = [Task("line", [goal]) for goal in goals]
    apply = lambda env, task: setattr(env, "goal", float(task.parameters[0]))
    return WrappedDistribution("line", tasks[:-2], tasks[-2:], lambda mode: Line(), apply, horizon=HORIZON)
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


@pytest.fixture
def quick() -> RunConfig:
    Path("quick.yaml").write_text(QUICK)
    return load_config("quick.yaml")


def metarl_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "metarl", *arguments]
    return subprocess.run(
        program, capture_output=True, text=True, errors="replace", check=False, env=os.environ | environment
    )


def complaint(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_suggested_command_works_where_it_is_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Path(sys.executable).parent / "metarl"
    assert command("evaluate", Path("runs/my run")) == "metarl evaluate 'runs/my run'"  # the tests' shell is activated
    assert command("evaluate", Path("-x")) == "metarl evaluate ./-x"
    monkeypatch.setenv("PATH", "/nowhere")
    assert command("presets") == f"{ours} presets"
    monkeypatch.chdir(ours.parents[2])
    assert command("presets") == f"{ours.relative_to(ours.parents[2])} presets"
    monkeypatch.setattr(sys, "executable", "/opt/a python/bin/python")
    assert command("presets") == "'/opt/a python/bin/python' -m metarl presets"


def test_another_program_of_that_name_is_not_suggested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "metarl"
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command("presets") == f"{Path(sys.executable).parent / 'metarl'} presets"


def test_a_run_that_is_not_there_is_answered_with_the_one_that_was_meant(quick: RunConfig) -> None:
    for name in ("demo-20260101-000000", "demo-20260102-000000", "other"):
        RunDirectory.create(Path("runs", name), quick)
    for given, said in {
        "demo": "no run at demo; did you mean runs/demo-20260102-000000?",
        "runs/demo": "no run at runs/demo; did you mean runs/demo-20260102-000000?",
        "runs/othr": "no run at runs/othr; did you mean runs/other?",
        "other": "no run at other; did you mean runs/other?",
        "ml10-maml": "no run at ml10-maml; 'ml10-maml' is a preset: train it first with: metarl train ml10-maml",
        "xyz": "no run at xyz",
        "x" * 300: f"no run at {'x' * 300}",
        "a\0b": "no run at a\0b",
    }.items():
        assert complaint(RunDirectory.open, Path(given)) == said
    assert "no run at demo; did you mean runs/demo-20260102-000000?" in complaint(metarl.load, "demo")


def test_a_checkpoint_is_named_by_its_steps_and_must_be_of_the_run(quick: RunConfig) -> None:
    for name in ("a", "b"):
        with Training.start(quick, name) as training:
            list(training)
    run = RunDirectory.open(Path("a"))
    last = run.checkpoint("last")
    assert run.checkpoint(last.name) == run.checkpoint("32") == run.checkpoint(str(last)) == last
    assert "belongs to another run, " in complaint(run.checkpoint, "b/checkpoints/000000000032")
    Path("a/config.yaml").write_text(Path("a/config.yaml").read_text().replace("lr: 0.1", "lr: 0.3"))
    assert "trained with other settings: algorithm.inner.lr was 0.1, and is 0.3 in" in complaint(metarl.load, "a")
    assert "algorithm.inner.lr was 0.1, and is 0.3 in" in complaint(Training.resume, "a", iterations=2)
    assert metarl.load("b") is not None


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 2}, "seed"),
        ({"tasks": {"kind": "navigation", "horizon": 9}}, "tasks.horizon"),
        ({"algorithm": {"kind": "maml", "discount": 0.5}}, "algorithm.discount"),
        ({"algorithm": {"kind": "rl2"}}, "algorithm.kind"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(change: dict[str, Any], name: str) -> None:
    fields = {"iterations": 1, "tasks": {"kind": "navigation"}, "algorithm": {"kind": "maml"}}
    config, other = (RunConfig.model_validate(each) for each in (fields, fields | change))
    manifest = Manifest(
        iteration=1, env_steps=1, config=other.model_dump(mode="json"), task_fingerprint="", versions={}
    )
    assert f"trained with other settings: {name} was " in complaint(check_settings, manifest, config, Path("c"))
    longer = RunConfig.model_validate(fields | change | {"iterations": 9, "threads": 3, "device": "cpu"})
    check_settings(manifest, longer, Path("c"))


class Named(Navigation):
    """Every goal has a name of its own."""

    def __init__(self) -> None:
        super().__init__(num_train_tasks=20, num_test_tasks=3, horizon=4)
        self.test_tasks = tuple(Task(f"goal {n}", task.parameters) for n, task in enumerate(self.test_tasks))

    def make_env(self, num_envs: int, render_mode: str | None = None) -> NavigationVectorEnv:
        return NamedVectorEnv(num_envs, self.horizon, render_mode)


class NamedVectorEnv(NavigationVectorEnv):
    def set_tasks(self, tasks: Sequence[Task]) -> None:
        super().set_tasks([Task("navigation", task.parameters) for task in tasks])
        self.tasks = tuple(tasks)


@pytest.mark.parametrize("every", [0, 1])
@pytest.mark.parametrize("id", ["named", "few"])
def test_families_with_few_held_out_tasks_need_no_settings(id: str, every: int) -> None:  # noqa: A002
    registry.register("named", Named)
    registry.register("few", lambda: Navigation(num_train_tasks=20, num_test_tasks=3, horizon=4))
    fields = {
        "iterations": 1,
        "device": "cpu",
        "tasks": {"kind": "registered", "id": id},
        "algorithm": {"kind": "maml", "meta_batch": 2, "episodes": 2, "hidden_sizes": [4]},
        "evaluation": {"every": every, "adaptation_episodes": [0]},
    }
    with Training.start(RunConfig.model_validate(fields), "run") as training:
        (iteration,) = training
        assert len(training.evaluate().task_ids) == 3
    assert ("eval/success_rate/test/0_episodes" in iteration.metrics) == bool(every)


@pytest.fixture
def family() -> Path:
    """A configuration that names a file beside it, in a folder of its own, as the family of its tasks."""
    folder = Path("my experiments [1]")
    folder.mkdir()
    (folder / "my_tasks.py").write_text(FAMILY)
    (folder / "helper_beside_it.py").write_text("HORIZON = 3\n")
    tasks = "{kind: registered, id: 'my_tasks.py:line', options: {goals: [-3, -2, -1, 1, 2, 3]}}"
    text = QUICK.replace(QUICK.splitlines()[2], f"tasks: {tasks}")
    (folder / "line.yaml").write_text(text)
    return folder / "line.yaml"


def test_a_family_in_a_file_trains_evaluates_and_resumes_from_anywhere(
    family: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(family), "--run", "runs/[red]é :smile:"]) == 0
    out = capsys.readouterr().out
    assert "metarl evaluate 'runs/[red]é :smile:'" in out
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    run = "../runs/[red]é :smile:"
    assert main(["train", "--resume", run, "--iterations", "2"]) == 0
    assert main(["evaluate", run, "--adaptation-episodes", "0", "--episodes", "1"]) == 0
    assert f"Evaluation: {run}/evaluations/" in capsys.readouterr().out
    assert metarl.load(run).observation_size == 1


def test_a_run_brings_no_code_along(family: Path) -> None:
    run = RunDirectory.create(Path("run"), load_config(family))
    config = run.path / "config.yaml"
    fields = yaml.safe_load(config.read_text())
    for file in (run.path.resolve() / "my_tasks.py", Path("my_tasks.py"), Path("../my experiments [1]/my_tasks.py")):
        fields["tasks"]["id"] = f"{file}:line"
        config.write_text(yaml.safe_dump(fields))
        assert "a run must not bring code along" in complaint(RunDirectory.open, Path("run"))


def test_a_module_that_runs_again_replaces_its_family() -> None:
    def first() -> Navigation:
        return Navigation(horizon=5)

    def second() -> Navigation:
        return Navigation(horizon=7)

    registry.register("mine", first)
    registry.register("mine", second)
    assert registry.make("mine").horizon == 7
    second.__module__ = "elsewhere"
    registry.register("theirs", first)
    assert complaint(registry.register, "theirs", second).startswith("a task distribution named 'theirs' is registered")
    assert complaint(registry.register, "navigation", first).startswith("a task distribution named 'navigation' is reg")
    assert "must be a word" in complaint(registry.register, "", first)
    assert "must be a word" in complaint(registry.register, "a.py:b", first)


def test_completion_finds_what_the_package_offers() -> None:
    assert "load" in dir(metarl)
    assert metarl.load.__name__ == "load"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("demo", "--tasks.benchmark {ML1,ML10,ML25,ML45,custom,MT1,MT10,MT25,MT50}"),
        ("demo", "--tasks.kind {metaworld,locomotion,navigation,bandit,tabular,registered,"),
        ("demo", "--algorithm.kind {gradient,imitation,maml,matching,prototypical,"),
        ("demo", "--algorithm.outer.kind {trpo,ppo,promp,vpg,reptile}"),
        ("demo", "--algorithm.baseline.kind {linear,value}"),
        ("ml10-rl2", "--algorithm.core.kind {gru,lstm,transformer}"),
        ("ml10-rl2", "--algorithm.outer.kind {ppo,trpo}"),
        ("ml10-rl2", "--algorithm.encoder.kind {joint,separate}"),
        ("ml10-rl2", "--algorithm.head.kind {linear,hypernetwork}"),
        ("ant-dir-maml", "--tasks.family"),
    ],
)
def test_help_shows_the_choices(name: str, choices: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    assert choices in capsys.readouterr().out


def test_help_of_a_file_of_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("100% [x] é.yaml").write_text(QUICK)
    with pytest.raises(SystemExit):
        main(["train", "100% [x] é.yaml", "--help"])
    assert "usage: metarl train '100% [x] é.yaml'" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_shows_what_it_can(encoding: str) -> None:
    listed = metarl_command("presets", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert listed.returncode == 0
    refused = metarl_command("tasks", "naïve ²\udcff", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        job = subprocess.run(
            [sys.executable, "-m", "metarl", "tasks"], stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert (job.returncode, job.stderr) == (141, b"")


def test_a_killed_worker_is_told_in_one_line(family: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (family.parent / "my_tasks.py").write_text(
        FAMILY.replace("self.x = self.x + action", "import os; os.kill(os.getpid(), 9)")
    )
    assert main(["train", str(family), "--run", "run"]) == 1
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith("metarl: failed: environment worker ")
    assert "was killed by SIGKILL" in line


def test_an_environment_that_raises_is_told_with_its_place(family: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (family.parent / "my_tasks.py").write_text(FAMILY.replace("self.x = self.x + action", "raise KeyError('joint')"))
    assert main(["train", str(family), "--run", "run"]) == 1
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert "failed: KeyError: 'joint' (my_tasks.py, line 18)" in line


def test_modules_of_the_working_folder_do_not_hide_the_standard_librarys(
    family: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(family.parent)
    for name in ("random", "signal", "pickle", "queue", "typing", "copy", "traceback"):
        Path(f"{name}.py").write_text("raise ImportError('not this one')\n")
    monkeypatch.syspath_prepend("")
    distribution = load_config("line.yaml").tasks.build()
    env = distribution.make_env(2)
    env.set_tasks(distribution.train_tasks[:2])
    env.reset(seed=1)
    env.close()


def test_pages_install_nothing_of_a_strangers() -> None:
    root = Path(__file__).parents[2]
    for page in [root / "README.md", *root.glob("docs/**/*.md")]:
        for line in page.read_text().splitlines():
            if "pip install" in line:
                assert "pip install metarl" not in line.replace("'", "").replace("metarl-suite", "")
    assert shutil.which("metarl") is not None
