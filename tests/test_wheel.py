"""Wheel and sdist: what they hold, and that an installed wheel works beside a user's modules of unlucky names."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from metarl.preset_files import preset_names
from metarl.zoo_files import FOLDER, policy_names

ROOT = Path(__file__).parents[1]
COPIED = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "metarl", "envs", "configs", "tests", "scripts")
BUILD_SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"

POINTS = """
import gymnasium as gym
import numpy as np

from metarl_envs import Task, WrappedDistribution


class Point(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,))
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(1, np.float32)
        return self.place, {}

    def step(self, action):
        self.place = self.place + action
        return self.place, -float(abs(self.place - self.goal)[0]), False, False, {}


def apply_goal(env, task):
    env.goal = task.parameters


def points() -> WrappedDistribution:
    tasks = [Task("point", [goal]) for goal in (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)]
    return WrappedDistribution("points", tasks[:4], tasks[4:], lambda render_mode: Point(), apply_goal, horizon=5)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command without Python's own environment variables; returns its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def copy_of_the_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes copies of what packages are built from, so that the checkout gets no leftovers of a build."""

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("tree")
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, symlinks=True, ignore=ignore)
            else:
                shutil.copy(source, folder)
        return folder

    return copy


def build_wheel(tree: Path, folder: Path) -> Path:
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, tree, cwd=folder)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(copy_of_the_tree: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(copy_of_the_tree(), tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(copy_of_the_tree: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", BUILD_SDIST, folder, cwd=copy_of_the_tree())
    [path] = folder.glob("*.tar.gz")
    return path


def files_in(wheel: Path) -> set[str]:
    """The files of a wheel, but for its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected_files(package: Path) -> set[str]:
    """The Python files of a package in the checkout, and its mark of being typed."""
    paths = [*package.rglob("*.py"), package / "py.typed"]
    return {path.relative_to(package.parent).as_posix() for path in paths}


def test_the_wheel_holds_both_packages_presets_and_policies(wheel: Path) -> None:
    presets = {f"metarl/presets/{name}.yaml" for name in (*preset_names(), "search/navigation")}
    policies = {path.relative_to(ROOT).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    packages = expected_files(ROOT / "metarl") | expected_files(ROOT / "envs" / "metarl_envs")
    assert wheel.name.startswith("metarl_suite-")
    page = {f"metarl/reporting/report.{kind}" for kind in ("css", "html.jinja", "js")}
    assert len(presets) > 20
    assert {f"metarl/zoo/{name}/README.md" for name in policy_names()} <= policies
    assert files_in(wheel) == packages | presets | page | policies


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if "/" in name}
        archive.extractall(tmp_path, filter="data")
    assert not folders & {"tests", "scripts", "configs", "docs", "runs"}
    [unpacked] = tmp_path.iterdir()
    (tmp_path / "again").mkdir()
    assert files_in(build_wheel(unpacked, tmp_path / "again")) == files_in(wheel)


class Installed:
    """An environment with the wheel, beside the packages that the tests run with.

    Args:
        folder: The environment's folder.
        wheel: The wheel.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.python = folder / "bin" / "python"
        options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
        run(sys.executable, "-m", "pip", "--python", self.python, "install", *options, wheel, cwd=folder)
        purelib = run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
        self.site_packages = Path(purelib.strip())
        # Not before the wheel is installed: pip would find the checkout there, as installed already. The .pth files in
        # these folders have no effect, so the checkout is not to be imported.
        existing = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (self.site_packages / "existing.pth").write_text("\n".join(existing) + "\n")

    def metarl(self, command: str, cwd: Path) -> str:
        """Runs the `metarl` command."""
        return run(self.python.with_name("metarl"), *command.split(), cwd=cwd)

    def add_plug_in(self, project: Path, entry_point: str) -> None:
        """Installs a project that offers a task family, as `pip install -e` does."""
        (self.site_packages / "project.pth").write_text(f"{project}\n")
        metadata = self.site_packages / "project-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: project\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[metarl.tasks]\n{entry_point}\n")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed") / "env", wheel)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with modules that must not be taken for the standard library's, or for metarl's."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("random", "signal"):
        (folder / f"{name}.py").write_text("raise RuntimeError('this is the user\\'s own module')\n")
    (folder / "envs").mkdir()
    (folder / "envs" / "__init__.py").write_text("raise RuntimeError('these are the user\\'s own envs')\n")
    return folder


TRAINING = "--iterations 1 --evaluation.every 0 --device cpu --run out/run --algorithm.meta-batch 2"
MAML_TRAINING = f"{TRAINING} --algorithm.episodes 2 --algorithm.parallel-episodes 2"


def test_the_wheel_is_what_runs(installed: Installed, project: Path) -> None:
    code = (
        "import metarl, metarl_envs, metarl.preset_files as p; print(metarl.__file__, metarl_envs.__file__, p.FOLDER)"
    )
    folders = run(installed.python, "-P", "-c", code, cwd=project).split()
    assert len(folders) == 3
    assert all(Path(folder).is_relative_to(installed.site_packages) for folder in folders)


def test_commands_work_beside_modules_of_unlucky_names(installed: Installed, project: Path) -> None:
    presets = installed.metarl("presets", project)
    assert all(f"  {name} " in presets for name in preset_names())
    assert "navigation (40)" in installed.metarl("tasks navigation", project)
    installed.metarl(f"train navigation-maml {MAML_TRAINING}", project)
    assert (project / "out" / "run" / "checkpoints").is_dir()
    installed.metarl("evaluate out/run --adaptation-episodes 0 1 --episodes 1 --tasks-per-name 2", project)
    assert len(list((project / "out" / "run" / "evaluations").glob("*.json"))) == 1


def test_a_policy_of_the_wheel_may_lie_where_nothing_can_be_written(installed: Installed, project: Path) -> None:
    name = policy_names()[0]
    folder = installed.site_packages / "metarl" / "zoo" / name
    before = sorted(folder.rglob("*"))
    installed.metarl(f"evaluate {name} --adaptation-episodes 0 --episodes 1 --tasks-per-name 1", project)
    assert len(list((project / "runs" / "zoo" / name / "evaluations").glob("*.json"))) == 1
    assert sorted(folder.rglob("*")) == before


def test_worker_processes_work_beside_modules_of_unlucky_names(installed: Installed, project: Path) -> None:
    (project / "envs" / "__init__.py").write_text("")
    (project / "envs" / "points.py").write_text(POINTS)
    installed.add_plug_in(project, "points = envs.points:points")
    (project / "points.yaml").write_text(
        "iterations: 1\ntasks: {kind: registered, id: points}\nalgorithm: {kind: maml, hidden_sizes: [4]}\n"
        "evaluation: {tasks_per_name: null}\n"
    )
    assert "point (4)" in installed.metarl("tasks points", project)
    installed.metarl(f"train points.yaml {MAML_TRAINING}", project)
    installed.metarl("evaluate out/run --adaptation-episodes 0 1 --episodes 1", project)
    assert len(list((project / "out" / "run" / "evaluations").glob("*.json"))) == 1
