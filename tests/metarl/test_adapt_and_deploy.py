"""The code of docs/adapt-and-deploy.md, as it stands there but for shorter episodes, with hardly trained runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adapt-and-deploy.md").read_text()

SMALLER = {
    "maml": ["--algorithm.meta-batch", "2", "--algorithm.episodes", "2", "--algorithm.parallel-episodes", "2"],
    "rl2": ["--algorithm.meta-batch", "2", "--algorithm.outer.epochs", "1"],
}


@pytest.fixture
def page() -> dict[str, Any]:
    """The names that the page's code leaves behind."""
    for algorithm, settings in SMALLER.items():
        config, run = f"configs/navigation-{algorithm}.yaml", f"runs/point-{algorithm}"
        assert f"metarl train {config} --run {run}\n" in PAGE
        options = ["--iterations", "1", "--evaluation.every", "0", "--device", "cpu", *settings]
        assert main(["train", str(ROOT / config), "--run", run, *options]) == 0
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(re.sub(r"\b100\b", "10", block), names)
    return names


def test_the_page_runs_and_its_exports_act_as_its_agents(page) -> None:
    assert page["before"] != page["after"]
    assert page["commands"].shape == (3, 2)
    assert page["inputs"].keys() == {given.name for given in page["session"].get_inputs()}
    (command,) = re.findall(r"`metarl (export [^`]*)`", PAGE)
    assert main(command.split()) == 0
    observation = np.array([[0.1, -0.2]])
    for file, agent in (("adapted", page["agent"]), ("initial", page["metarl"].load("runs/point-maml"))):
        session = page["onnxruntime"].InferenceSession(f"{file}.onnx")
        (actions,) = session.run(None, {"observation": observation.astype(np.float32)})
        np.testing.assert_allclose(actions, agent.eval_action(observation), atol=1e-5)
        assert session.get_modelmeta().custom_metadata_map["adapted"] == str(file == "adapted").lower()
