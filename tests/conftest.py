"""What holds for every test: one torch thread, deterministic kernels, a working directory of its own."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, settings

# Jobs under nohup, or in the background of a script, ignore these; so would tests of them, and their children.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)  # small tensors gain nothing from more, and sums come out the same on every machine
torch.use_deterministic_algorithms(True)
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it the line above fails on a GPU

# A slow machine must not fail a property; in CI every run tries the same examples.
settings.register_profile(
    "metarl",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
    database=None,
)
settings.load_profile("metarl")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo drops its log in the working directory, and a run without a path would land in the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suggested commands begin with `metarl`, as where the virtual environment is activated."""
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need a CUDA device are skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")


@pytest.fixture(scope="module")
def no_plug_ins() -> Iterator[None]:
    """Spares each command the search for plug-ins, which takes most of its time."""
    with (
        mock.patch("metarl.algorithms.registry.entry_points", return_value=()),
        mock.patch("metarl_envs.registry.entry_points", return_value=()),
    ):
        yield
