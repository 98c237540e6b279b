"""Demonstrations that are not what imitation needs, met by every command: one line, exit code 2, nothing written."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
from refusing import refused
from shown_goals import collect_walks, walks_config

from metarl.config import RunConfig, dump_config
from metarl.demonstrations import Demonstration, Demonstrations, load, save
from metarl.training import Training
from metarl_envs.core import Task

DATASET = Path("demonstrations/walks-v0")
EVALUATION: dict[str, Any] = {"every": 0, "adaptation_episodes": [0, 2], "tasks_per_name": 3}


@pytest.fixture(scope="module")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a configuration that shows it, and a run of that."""
    folder = tmp_path_factory.mktemp("walks")
    (folder / "demonstrations").mkdir()
    collect_walks(folder / "demonstrations", goals=10, episodes=3)
    fields = walks_config(DATASET.name, 1, shots=[1, 2]).model_dump(mode="json")
    config = RunConfig.model_validate(fields | {"evaluation": EVALUATION})
    (folder / "walks.yaml").write_text(dump_config(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with Training.start(config, Path("runs/walks")) as training:
            list(training)
    return folder


def episodes(change: Callable[[Any], None]) -> None:
    with h5py.File(DATASET / "data" / "main_data.hdf5", "a") as file:
        for episode in file.values():
            change(episode)


def save_anew(shown: Iterator[Demonstration] | Demonstrations, **spaces: gym.spaces.Box) -> None:
    original = load(DATASET)
    whole: dict[str, Any] = {"observation_space": original.observation_space, "action_space": original.action_space}
    changed = Demonstrations(list(shown), **(whole | spaces), name=original.name, family=original.family)
    shutil.rmtree(DATASET)
    save(DATASET, changed)


def first_of_each_task() -> Iterator[Demonstration]:
    seen: Counter[Task] = Counter()
    for each in load(DATASET):
        seen[each.task] += 1
        if seen[each.task] == 1:
            yield each


def cut() -> None:
    file = DATASET / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:2000])


def without_end(episode: Any) -> None:
    episode["truncations"][-1] = False


PROBLEMS: dict[str, tuple[Callable[[], object], str]] = {
    "none": (lambda: shutil.rmtree(DATASET), "no demonstrations at"),
    "cut": (cut, "is damaged, or not in Minari's format"),
    "no end": (lambda: episodes(without_end), "has no end: its last step must be terminated or truncated"),
    "other bounds": (
        lambda: save_anew(load(DATASET), action_space=gym.spaces.Box(-2.0, 2.0, (2,), np.float32)),
        "has other actions than navigation",
    ),
    "other class": (
        lambda: save_anew(replace(each, task=Task("stroll", each.task.parameters)) for each in load(DATASET)),
        "class in walks-v0: 'navigation'",
    ),
    "too few": (lambda: save_anew(first_of_each_task()), "are needed"),
}
"""What is wrong with the dataset, and what must be said of it."""
COMMANDS = (
    "train walks.yaml --run runs/new",
    "train --resume runs/walks --iterations 2",
    "evaluate runs/walks",
    "evaluate runs/walks --controls cloning",
    "evaluate runs/walks --stress sensor-noise",
    "watch runs/walks --tasks 1",
    "watch runs/walks --tasks 1 --trial",
    "report runs/walks",
    "plot runs/walks",
)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_bad_dataset(
    arguments: str,
    problem: str,
    walks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(walks, workspace)
    monkeypatch.chdir(workspace)
    spoil, message = PROBLEMS[problem]
    spoil()
    assert message in refused(capsys, workspace, arguments.split())


def imitating(
    arguments: str, walks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    shutil.copytree(walks, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return refused(capsys, tmp_path / "workspace", arguments.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate runs/walks --adaptation-episodes 0 4", "3 demonstrations of a goal of navigation"),
        ("evaluate runs/walks --controls state-held", "this policy has no recurrent state to hold"),
        ("evaluate runs/walks --from-scratch ppo", "hold it against plain cloning of the same demonstrations"),
        ("evaluate runs/walks --stress adversarial", "adversarial needs a policy of the MAML family or of RL²"),
        ("watch runs/walks --adaptation-episodes 4 --tasks 1", "3 demonstrations of a goal of navigation"),
        ("watch runs/walks --adaptation-episodes 4 --tasks 1 --trial", "3 demonstrations of a goal of navigation"),
    ],
)
def test_what_makes_no_sense_of_imitation(
    arguments: str,
    message: str,
    walks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert message in imitating(arguments, walks, tmp_path, capsys, monkeypatch)
