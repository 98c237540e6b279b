"""The package works where neither PyTorch nor metarl can be imported."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys


class Unimportable:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "metarl"):
            raise ImportError(f"{name} is made unimportable")


sys.meta_path.insert(0, Unimportable())
for name in ("torch", "metarl"):
    try:
        __import__(name)
    except ImportError as error:
        assert "made unimportable" in str(error)
    else:
        raise AssertionError(f"{name} was imported")

import metaworld
import numpy as np

import metarl_envs

metaworld._N_GOALS = 2  # to be quick
distribution = metarl_envs.make("ML10", horizon=5)
tasks = distribution.sample(10, np.random.default_rng(0))
env = distribution.make_env(10)
env.set_tasks(tasks)
env.reset()
for _ in range(7):
    observations, rewards, *_ = env.step(np.zeros((10, 4)))
env.close()
assert "torch" not in sys.modules
print(len({task.name for task in tasks}), observations.shape, np.isfinite(rewards).all())
"""


def test_ml10_steps_without_torch_and_metarl(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[-2] == "10 (10, 39) True"
