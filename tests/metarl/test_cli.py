from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Self

import pytest
import torch

import metarl.cli
from metarl import checkpoints
from metarl.algorithms.maml.config import MAMLConfig
from metarl.checkpoints import CheckpointError, Manifest
from metarl.cli import main
from metarl.config import RunConfig, load_config, override_config
from metarl.evaluation import comparison, stress_command  # noqa: F401  (before what they import is replaced)
from metarl.preset_files import FOLDER, preset_path
from metarl.ranks import ALONE
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
SCRIPTS = Path(__file__).parents[2] / "scripts"


Fake = Callable[[str, str, Callable[..., Any] | None], None]
Trainings = list[tuple[RunConfig, RunDirectory, bool]]
"""What trainings were started with."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "quick.yaml"
    path.write_text("iterations: 5\ndevice: cpu\ntasks: {kind: navigation}\nalgorithm: {kind: maml}\n")
    return str(path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replaces one function of a module by another for the commands that import it."""

    def replace(module: str, name: str, function: Callable[..., Any] | None) -> None:
        stand_in = ModuleType(module)
        setattr(stand_in, name, function)
        monkeypatch.setitem(sys.modules, module, stand_in)

    return replace


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """The trainings started, none of which is done."""
    calls: Trainings = []
    replace_training(monkeypatch, lambda run, resume: calls.append((run.config, run, resume)))
    return calls


def replace_training(monkeypatch: pytest.MonkeyPatch, at_start: Callable[[RunDirectory, bool], object]) -> None:
    """Makes trainings do one thing as they start, and have nothing left to do."""

    class Done(Training):
        def __init__(self, run: RunDirectory, *, resume: bool = False) -> None:
            at_start(run, resume)
            self.run, self.config, self.iteration = run, run.config, run.config.iterations
            self.ranks = ALONE

        def __next__(self) -> NoReturn:
            raise StopIteration

        def close(self) -> None:
            self.run.close()

    monkeypatch.setattr("metarl.training.Training", Done)


def save_checkpoint(run: RunDirectory, env_steps: int) -> Path:
    manifest = Manifest(
        iteration=10 * env_steps, env_steps=env_steps, config={}, task_fingerprint="f", versions={}, score=-env_steps
    )
    return checkpoints.save(run.checkpoints, {"a": torch.zeros(1)}, manifest)


@pytest.fixture
def run(config: str, trained: Trainings) -> RunDirectory:
    """A finished run with two checkpoints, of which the first is the best."""
    assert main(["train", config, "--run", "done"]) == 0
    trained.clear()
    run = RunDirectory.open(Path("done"))
    save_checkpoint(run, 1)
    save_checkpoint(run, 2)
    return run


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """Runs a command that fails with one line on stderr, which is returned without its beginning."""
    capsys.readouterr()
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("metarl: ")
    assert "Traceback" not in captured.out + captured.err
    return captured.err.removeprefix("metarl: ").strip()


def test_train(config: str, trained: Trainings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", config, "--run", "out/a", "--iterations", "2", "--algorithm.inner.lr=0.5"]) == 0
    [(given, run, resume)] = trained
    assert isinstance(given.algorithm, MAMLConfig)
    assert (given.iterations, given.algorithm.inner.lr, resume) == (2, 0.5, False)
    assert run.path == Path("out/a")
    assert RunDirectory.open(run.path).config == given
    assert "run directory: out/a\n" in capsys.readouterr().out


def test_train_options_may_stand_among_overrides(config: str, trained: Trainings) -> None:
    assert main(["train", "--run=c", config, "--iterations", "2", "--seed", "4"]) == 0
    [(given, run, _)] = trained
    assert (run.path, given.iterations, given.seed) == (Path("c"), 2, 4)


def test_train_names_the_run_after_the_configuration(config: str, trained: Trainings) -> None:
    assert main(["train", config]) == 0
    assert trained[0][1].path.parent == Path("runs")
    assert trained[0][1].path.match("quick-[0-9]*-[0-9]*")


@pytest.mark.parametrize("name", ["navigation-rl2", "navigation-rl2.yaml"])
def test_train_finds_presets_by_name(name: str, trained: Trainings) -> None:
    Path("navigation-rl2").mkdir()  # a folder is no configuration
    assert main(["train", name, "--iterations", "3"]) == 0
    [(given, run, _)] = trained
    assert given == override_config(load_config(preset_path("navigation-rl2")), ["--iterations", "3"])
    assert run.path.match("runs/navigation-rl2-[0-9]*-[0-9]*")


@pytest.mark.parametrize("name", ["navigation-rl2", "navigation-rl2.yaml"])
def test_a_file_wins_over_a_preset(name: str, config: str, trained: Trainings) -> None:
    Path(config).rename(name)
    assert main(["train", name]) == 0
    assert trained[0][0].algorithm.kind == "maml"


def test_presets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    title, *lines, hint = capsys.readouterr().out.splitlines()
    assert title == "Presets:"
    assert hint.startswith("Train one: metarl train NAME.")
    assert hint.endswith(str(FOLDER))
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert [line.split()[0] for line in lines] == names
    for name, line in zip(names, lines, strict=True):
        first = (CONFIGS / f"{name}.yaml").read_text().splitlines()[0]
        assert f"# {line.split(maxsplit=1)[1]}" == first


def test_resume(run: RunDirectory, trained: Trainings) -> None:
    assert main(["train", "--resume", "done"]) == 0
    assert main(["train", "--resume", "done", "--iterations", "8"]) == 0
    assert [(config.iterations, given.path, resume) for config, given, resume in trained] == [
        (5, Path("done"), True),
        (8, Path("done"), True),
    ]
    assert RunDirectory.open(run.path).config.iterations == 8
    assert main(["train", "--resume", "done", "--device=cpu", "--threads", "2", "--workers", "1"]) == 0
    changed = trained[-1][0]
    assert (changed.iterations, changed.device, changed.threads, changed.workers) == (8, "cpu", 2, 1)
    assert RunDirectory.open(run.path).config == changed


def test_default_names_of_one_second_do_not_collide(config: str, trained: Trainings, monkeypatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("metarl.cli.train.datetime", Clock)
    for _ in range(3):
        assert main(["train", config]) == 0
    names = ["quick-20260102-030405", "quick-20260102-030405-2", "quick-20260102-030405-3"]
    assert [run.path.name for _, run, _ in trained] == names


def test_evaluate(run: RunDirectory, fake: Fake) -> None:
    calls: list[tuple[Any, ...]] = []

    def evaluate_runs(*args: Any, **kwargs: Any) -> None:
        calls.append((*args, kwargs))

    fake("metarl.evaluation.command", "evaluate_runs", evaluate_runs)
    assert main(["evaluate", "done"]) == 0
    arguments = "--checkpoint best --adaptation-episodes 0 5 --episodes 2 --tasks-per-name 4 --split train --seed 9"
    arguments += " --actions sampled --num-envs 2 --workers 3 --output e.json --again"
    assert main(["evaluate", "done", "done", *arguments.split()]) == 0
    assert [([run.path for run in call[0]], call[1], call[2]) for call in calls] == [
        (
            [Path("done")],
            "last",
            {"adaptation_episodes": (0, 1, 3, 10), "episodes": 3, "tasks_per_name": None, "split": "test", "seed": 1}
            | {"actions": "likeliest", "num_envs": None, "workers": None, "output": None, "again": False},
        ),
        (
            [Path("done"), Path("done")],
            "best",
            {"adaptation_episodes": [0, 5], "episodes": 2, "tasks_per_name": 4, "split": "train", "seed": 9}
            | {"actions": "sampled", "num_envs": 2, "workers": 3, "output": Path("e.json"), "again": True},
        ),
    ]


def test_watch(
    run: RunDirectory, fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def watch_run(*args: Any, **kwargs: Any) -> list[Path]:
        calls.append((*args, kwargs))
        return [Path("a.mp4"), Path("b.mp4")]

    fake("metarl.viewing.command", "watch_run", watch_run)
    monkeypatch.setattr("metarl_envs.cores.available_cores", lambda: 5)
    line = "watch done --tasks 2 --task 3 push-v3 --adaptation-episodes 1 --live --checkpoint best --trial --camera top"
    assert main(line.split()) == 0
    [(given, checkpoint, options)] = calls
    assert (given.path, checkpoint.name) == (Path("done"), "000000000001")
    assert options == {
        "num_tasks": 2,
        "tasks": ["3", "push-v3"],
        "adaptation_episodes": 1,
        "episodes": 1,
        "trial": True,
        "camera": "top",
        "size": None,
        "fps": None,
        "gif": False,
        "grid": False,
        "live": True,
        "serve": None,
        "output": None,
        "processes": 5,
    }
    assert capsys.readouterr().out.splitlines()[-2:] == ["video: a.mp4", "video: b.mp4"]


def test_watch_with_a_backend_that_is_not_there(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metarl.gl.can_draw", lambda backend: False)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert fails(capsys, 2, "watch", "done").startswith("error: MUJOCO_GL=osmesa does not draw on this machine")


def test_export(run: RunDirectory, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    written: list[Path] = []

    class Exporting:
        export = staticmethod(written.append)

    def load_agent(
        checkpoint: Path, config: RunConfig, distribution: TaskDistribution
    ) -> tuple[type[Exporting], Manifest]:
        assert config == run.config
        assert distribution.name == "navigation"
        return Exporting, checkpoints.load(checkpoint)[1]

    fake("metarl.loading", "load_agent", load_agent)
    assert main(["export", "done"]) == 0
    assert main(["export", "done", "--checkpoint", "best", "--to", "a.onnx"]) == 0
    assert written == [Path("done/policy-000000000002.onnx"), Path("a.onnx")]
    assert capsys.readouterr().out.splitlines()[-2:] == [f"policy: {path}" for path in written]


def test_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("ML10", "navigation", "bandit", "pick-place-wall-v3"))
    assert main(["tasks", "navigation"]) == 0
    assert "navigation (40)" in capsys.readouterr().out
    assert main(["tasks", "HalfCheetahDir"]) == 0
    assert "\ntest tasks: HalfCheetahDir (2)" in capsys.readouterr().out
    assert main(["tasks", "custom"]) == 0
    assert "required" in capsys.readouterr().out
    assert main(["tasks", "reach-v3"]) == 0
    assert "benchmark: ML1, task: reach-v3" in capsys.readouterr().out


def test_a_family_without_a_docstring_leaves_no_colon_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metarl_envs.registry.registered", lambda: {"mine": lambda arms: None})
    assert main(["tasks", "mine"]) == 0
    assert capsys.readouterr().out.startswith("mine\n  arms ")
    assert main(["tasks"]) == 0
    assert "\n  mine\n" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["ml10-skills-experts", "ml1-reach-imitation", "skills-metanet"])
def test_help_of_sections_that_other_presets_lack(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", preset, "--help"])
    assert caught.value.code == 0
    assert "--algorithm.kind" in capsys.readouterr().out


def test_help(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["evaluate", "--help"], ["train", config, "--help"], ["train", "demo", "--help"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "--algorithm.inner.lr" in out
    assert "Step size." in out
    assert main(["train", "--help"]) == 0
    assert "--resume" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("metarl ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND; see 'metarl --help'"),
        ("trian x.yaml", "unknown command 'trian'; did you mean 'train'?"),
        ("train", "train needs either a configuration file or --resume RUN; see 'metarl train --help'"),
        ("train quick.yaml --resume done", "train needs either a configuration file or --resume RUN; see"),
        ("train quick.yaml more", "unknown argument 'more'; known: --help, --processes, --resume, --run, --seeds, -h"),
        ("train none/a.yaml", "no configuration file 'none/a.yaml'"),
        (
            "train none.yaml",
            "unknown preset 'none.yaml'; 'metarl presets' lists them. Anything else must be the path of",
        ),
        ("train ml10-rl", "unknown preset 'ml10-rl'; did you mean 'ml10-rl2'? Anything else must be the path of an"),
        ("train done", "unknown preset 'done'; "),
        ("benchmark", "unknown command 'benchmark'; known: "),
        ("train quick.yaml --iteratons 3", "command line: iteratons: unknown field 'iteratons'; did you mean"),
        ("train quick.yaml --algorithm.inner.lrr 3", "command line: algorithm.inner.lrr: unknown field 'lrr'; did you"),
        (
            "train quick.yaml --algorithm.inner.lr x",
            "command line: algorithm.inner.lr: expected a valid number, got 'x'",
        ),
        ("train quick.yaml --tasks.kind bandt", "command line: tasks.kind: expected 'metaworld' or"),
        ("train quick.yaml --run quick.yaml", "run directory quick.yaml already exists"),
        ("train quick.yaml --run quick.yaml/a", "cannot make run directory quick.yaml/a: Not a directory"),
        ("train quick.yaml --run", "argument --run: expected one argument; see 'metarl train --help'"),
        ("train --resume none", "no run at none"),
        ("train --resume .", ". is not a run: it has no config.yaml"),
        ("train --resume done --seed 3", "--seed cannot go with --resume, which continues a run as it is; only"),
        ("train --resume done --run b", "--run cannot go with --resume"),
        ("train --resume done --iterations 0", "command line: iterations: expected greater than 0, got 0"),
        ("evaluate", "the following arguments are required: RUN; see 'metarl evaluate --help'"),
        ("evaluate none", "no run at none"),
        ("evaluate done --epsodes 3", "unknown argument '--epsodes'; did you mean '--episodes'?"),
        ("evaluate done --episodes 0", "argument --episodes: expected a whole number of at least 1, got '0'"),
        (
            "evaluate done --adaptation-episodes 1 x",
            "argument --adaptation-episodes: expected a whole number of at least",
        ),
        ("evaluate done --split tset", "argument --split: invalid choice: 'tset'"),
        ("watch none", "no run at none"),
        ("watch done --live 3", "unknown argument '3'; known: "),
        ("watch done --live --serve", "argument --serve: not allowed with argument --live"),
        ("watch done --live --gif", "--gif is of films: leave it out, or leave out --live"),
        ("watch done --serve --camera top", "--camera is of films: leave it out, or leave out --serve"),
        ("watch done --port 8000", "--port is of the viewer in the browser: add --serve"),
        ("tasks navgation", "unknown task family 'navgation'; did you mean 'navigation'?"),
        ("tasks pich-place-v3", "unknown task family 'pich-place-v3'; did you mean 'pick-place-v3'?"),
    ],
)
def test_mistakes_are_told_in_one_line(
    run: RunDirectory, fake: Fake, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    fake("metarl.evaluation.command", "evaluate_runs", None)
    fake("metarl.viewing.command", "watch_run", None)
    assert fails(capsys, 2, *arguments.split()).startswith(f"error: {message}")


def test_no_cuda(
    config: str, trained: Trainings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fails(capsys, 2, "train", config, "--device", "cuda").startswith("error: device: 'cuda' was asked for")
    assert not Path("runs").exists()


def test_a_mistake_found_at_start_up_leaves_no_directory(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(run: RunDirectory, resume: bool) -> None:
        raise UserError("no such\ntask")

    replace_training(monkeypatch, train)
    assert fails(capsys, 2, "train", config, "--run", "a") == "error: no such task"
    assert not Path("a").exists()


def test_a_full_disk_is_no_fault_of_the_user(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(run: RunDirectory, resume: bool) -> None:
        raise CheckpointError("could not write checkpoint: No space left on device")

    replace_training(monkeypatch, train)
    assert fails(capsys, 1, "train", config, "--run", "a") == (
        "failed: could not write checkpoint: No space left on device"
    )
    assert Path("a").exists()


def test_interruption(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(argv: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(metarl.cli, "_run", interrupt)
    assert fails(capsys, 130, "tasks") == "interrupted"


@pytest.mark.parametrize(("rank", "said"), [("0", "metarl: interrupted\n"), ("1", "")])
def test_the_first_of_several_processes_tells_of_an_interruption(rank: str, said: str, capsys, monkeypatch) -> None:
    def interrupt(argv: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(metarl.cli, "_run", interrupt)
    monkeypatch.setitem(sys.modules, "metarl.torchrun", None)  # as while PyTorch is half loaded
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    assert main(["tasks"]) == 130
    assert capsys.readouterr().err == said


def test_faults_of_the_program_keep_their_traceback(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(run: RunDirectory, resume: bool) -> None:
        raise ZeroDivisionError

    replace_training(monkeypatch, train)
    with pytest.raises(ZeroDivisionError):
        main(["train", config, "--run", "a"])


@pytest.mark.parametrize("command", ["train", "evaluate", "report", "plot", "watch", "export", "strategies"])
def test_scripts_do_what_the_command_does(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{command}.py", "--no-such-option"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPTS / f"{command}.py"), run_name="__main__")
    assert caught.value.code == 2
    assert f"metarl {command} --help" in capsys.readouterr().err


def test_help_does_not_wait_for_pytorch() -> None:
    code = "import sys, metarl.cli; metarl.cli._make_parser(); print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS.parent, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
