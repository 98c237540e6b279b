"""The example of docs/bring-your-own-tasks.md, as it stands there."""

import importlib
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from metarl.config import load_config
from metarl_envs import registry
from metarl_envs.wrapped import WrappedDistribution

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-tasks.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as an installed package with the entry point that the page shows."""
    package, info = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(blocks("python")[0])
    ((name, target),) = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["metarl.tasks"].items()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metarl.tasks]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("my_package.tasks")


def test_the_example_keeps_the_contract_by_the_pages_own_check(module: Any) -> None:
    exec(blocks("python")[1], {"my_reacher": module.my_reacher})


def test_the_pages_run_configuration_makes_the_family(module: Any) -> None:
    settings = yaml.safe_load(blocks("yaml")[0])["tasks"]
    assert settings["kind"] == "registered"
    family = registry.make(settings["id"], **settings["options"])
    assert isinstance(family, WrappedDistribution)
    assert (len(family.train_tasks), len(family.test_tasks)) == (100, 40)


def test_the_pages_run_configuration_is_complete(module: Any, tmp_path: Path) -> None:
    path = tmp_path / "my-reacher.yaml"
    path.write_text(blocks("yaml")[0])
    config = load_config(str(path))
    assert config.algorithm.kind == "maml"
    assert config.tasks.kind == "registered"


def play_alone(module: Any, target: list[float]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Observations, rewards and true target positions of an episode and the beginning of the next."""
    env = module.HiddenTarget()
    env.target = np.array(target)
    observations, rewards, targets = [env.reset(seed=3)[0]], [], []
    for _ in range(10):
        observation, reward, *_ = env.step(np.array([0.5, -0.5], dtype=np.float32))
        observations.append(observation)
        rewards.append(reward)
        targets.append(env.unwrapped.get_body_com("target")[:2].copy())
    env.close()
    return np.array(observations), np.array(rewards), np.array(targets)


def test_the_target_is_the_task_and_is_hidden(module: Any) -> None:
    near, far = play_alone(module, [0.1, 0.05]), play_alone(module, [-0.1, 0.0])
    np.testing.assert_allclose(near[2], [[0.1, 0.05]] * 10, atol=1e-9)
    np.testing.assert_allclose(far[2], [[-0.1, 0.0]] * 10, atol=1e-9)
    np.testing.assert_array_equal(near[0], far[0])  # nothing of the target can be seen...
    assert np.all(near[1] > far[1])  # ... but the arm starts on the side of the near one, and the reward tells


def test_success_is_a_fingertip_at_the_target(module: Any) -> None:
    family = module.my_reacher(num_train_tasks=1, num_test_tasks=1)
    assert not family._make_shard.keywords["success"](None, {"reward_dist": -0.03})
    assert family._make_shard.keywords["success"](None, {"reward_dist": -0.01})
