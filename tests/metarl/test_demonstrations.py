"""Demonstrations: collected, written, read back, and refused where something is wrong with them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest

from metarl.demonstrations import Demonstration, Demonstrations, collect, load, save
from metarl.demonstrations.experts import choose_show
from metarl.demonstrations.folders import find_dataset, list_datasets
from metarl.demonstrations.writing import DatasetWriter
from metarl.errors import RunFailure
from metarl_envs import registry
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import optimal_return

SPACE = gym.spaces.Box(-10, 10, (2,), np.float64)
ACTIONS = gym.spaces.Box(-1, 1, (1,), np.float64)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Demonstrations:
    """Point navigation without noise."""
    path = tmp_path_factory.mktemp("demonstrations") / "straight-v0"
    collect(["navigation"], path, goals=3, episodes=1, noise=0.0, horizon=12)
    return load(path)


def robot(name: str = "pour", steps: int = 3, seed: int = 0, goal: float = 0.0) -> Demonstration:
    """What somebody recorded on a robot."""
    rng = np.random.default_rng(seed)
    return Demonstration(
        Task(name, [goal]),
        rng.normal(size=(steps + 1, 2)).astype(np.float32),
        rng.uniform(-1, 1, (steps, 1)).astype(np.float32),
        rng.normal(size=steps).astype(np.float32),
        success=True,
    )


def stored(path: Path, *episodes: Demonstration, **options: Any) -> Path:
    save(path, Demonstrations(episodes or [robot()], SPACE, ACTIONS, name=path.name, **options))
    return path


def same(left: Demonstration, right: Demonstration) -> bool:
    fields = ("observations", "actions", "rewards", "frames")
    return (left.task, left.success) == (right.task, right.success) and all(
        np.array_equal(getattr(left, field), getattr(right, field)) for field in fields
    )


def test_the_expert_of_navigation_reaches_the_optimal_return(straight: Demonstrations) -> None:
    family = registry.make("navigation", horizon=12)
    assert straight.tasks == (*family.train_tasks[:3], *family.test_tasks[:3])
    for shown in straight:
        assert shown.total_reward == pytest.approx(optimal_return(shown.task, 12), abs=1e-5)
        np.testing.assert_allclose(shown.observations[1:], np.cumsum(shown.actions, axis=0), atol=1e-6)
        assert shown.success
    straight.check_spaces(family)


def test_noise_is_that_of_the_seed_the_goal_and_the_episode_and_only_successes_are_kept(tmp_path: Path) -> None:
    options: dict[str, Any] = {"split": "train", "horizon": 12, "noise": 0.5}
    collected = collect(["navigation"], tmp_path / "a-v0", goals=6, episodes=20, **options)
    few = load(tmp_path / "a-v0")
    assert collected.played == {"navigation": 120}
    assert collected.kept == {"navigation": len(few)}
    assert 0 < len(few) < 120
    assert all(shown.success for shown in few)
    assert collected.steps == 12 * len(few)
    collect(["navigation"], tmp_path / "b-v0", goals=2, episodes=20, **options)
    again = load(tmp_path / "b-v0")
    assert all(map(same, again, few.of_tasks(again.tasks)))  # whatever is played beside them
    collect(["navigation"], tmp_path / "c-v0", goals=2, episodes=20, seed=2, **options)
    other = load(tmp_path / "c-v0")
    assert not any(same(left, right) for left in other for right in again)


def test_what_failed_is_played_again_with_other_noise(tmp_path: Path) -> None:
    options: dict[str, Any] = {"split": "train", "horizon": 12, "noise": 0.5, "goals": 6, "episodes": 3}
    few = collect(["navigation"], tmp_path / "a-v0", **options)
    more = collect(["navigation"], tmp_path / "b-v0", **options, again=40)
    assert few.kept["navigation"] < 18
    assert more.kept == {"navigation": 18}
    assert more.played["navigation"] > 18
    first, second = load(tmp_path / "a-v0"), load(tmp_path / "b-v0")
    assert all(map(same, first, second))  # what is played again comes after the rest
    assert [sum(each.task == task for each in second) for task in second.tasks] == [3] * 6
    assert len({each.actions.tobytes() for each in second}) == 18
    with pytest.raises(UserError, match="again must be at least 0: got -1"):
        collect(["navigation"], tmp_path / "c-v0", **options, again=-1)


def test_experts_of_meta_world_are_told_goals_that_observations_hide(tmp_path: Path) -> None:
    names = ["reach-v3", "drawer-close-v3"]
    collected = collect(names, tmp_path / "two-v0", goals=1, episodes=1, noise=0.0, horizon=120, split="test")
    assert collected.kept == {"reach-v3": 1, "drawer-close-v3": 1}
    hidden = registry.make("ML1", task="reach-v3", horizon=120)
    demonstrations = load(tmp_path / "two-v0")
    demonstrations.check_spaces(hidden)
    assert demonstrations.of_class("reach-v3").tasks == (hidden.test_tasks[0],)
    env = hidden.make_env(2)
    env.set_tasks([shown.task for shown in demonstrations])
    seen = [env.reset(seed=[0, 0])[0]]
    rewards = []
    for step in range(120):  # the same actions, where the goal is hidden
        observations, reward, _, _, infos = env.step(np.stack([shown.actions[step] for shown in demonstrations]))
        seen.append(infos.get("final_obs", observations))
        rewards.append(reward)
    env.close()
    for index, shown in enumerate(demonstrations):
        assert not shown.observations[:, 36:].any()
        assert shown.rewards is not None
        assert np.array_equal(shown.observations, np.array(seen, dtype=np.float32)[:, index])
        assert np.array_equal(shown.rewards, np.array(rewards, dtype=np.float32)[:, index])
    with pytest.raises(UserError, match="low bound of element 36 is 0, not -inf"):
        demonstrations.check_spaces(registry.make("ML1", task="reach-v3", goal_visible=True))


@pytest.mark.slow
def test_there_is_an_expert_for_every_class_of_meta_world(tmp_path: Path) -> None:
    collected = collect(["ML45"], tmp_path / "all-v0", goals=1, episodes=1, noise=0.0)
    assert len(collected.played) == 50
    assert sum(collected.kept.values()) >= 45


def test_minari_reads_what_is_written(straight: Demonstrations, tmp_path: Path) -> None:
    import minari

    stored(tmp_path / "pour-v0", robot(), robot(steps=5, seed=1, goal=1.0))
    dataset = minari.MinariDataset(tmp_path / "pour-v0" / "data")
    assert (dataset.id, len(dataset), dataset.total_steps) == ("pour-v0", 2, 8)
    assert dataset[1].observations.shape == (6, 2)
    assert dataset[1].truncations.tolist() == [False] * 4 + [True]
    assert "EpisodeData" in repr(dataset[0])


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    silent = replace(robot(seed=2, goal=2.0), rewards=None, success=None)
    failed = replace(robot("stir", steps=1, seed=3), success=False)
    episodes = [robot(), silent, failed]
    back = load(stored(tmp_path / "pour-v0", *episodes, family="kitchen"))
    assert (back.name, back.family, back.classes) == ("pour-v0", "kitchen", ("pour", "stir"))
    assert all(map(same, back, episodes))
    assert back[1].total_reward is None
    assert [len(each) for each in back[:2]] == [3, 3]
    frames = np.random.default_rng(0).integers(0, 256, (4, 2, 64, 64, 3), dtype=np.uint8)
    with_frames = stored(tmp_path / "seen-v0", replace(robot(), frames=frames), cameras=("front", "wrist"))
    assert load(with_frames)[0].frames is None
    assert load(with_frames).cameras == ("front", "wrist")
    (seen,) = load(with_frames, frames=True)
    assert seen.frames is not None
    assert np.array_equal(seen.frames, frames)


def test_discrete_actions_come_back(tmp_path: Path) -> None:
    shown = replace(robot(), actions=np.array([2, 0, 1]))
    space = gym.spaces.Discrete(3)
    save(tmp_path / "arms-v0", Demonstrations([shown], SPACE, space, name="arms"))
    assert load(tmp_path / "arms-v0")[0].actions.tolist() == [2, 0, 1]
    shown = replace(robot(), actions=np.array([2, 3, 1]))
    save(tmp_path / "four-v0", Demonstrations([shown], SPACE, space, name="arms"))
    with pytest.raises(UserError, match="episode 0: actions leave their space at step 1: 3"):
        load(tmp_path / "four-v0")


def test_datasets_are_found_by_path_by_name_and_in_minaris_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    mine, theirs = stored(Path("demonstrations/mine-v0")), stored(tmp_path / "minari" / "lab" / "theirs-v1")
    assert find_dataset("demonstrations/mine-v0") == find_dataset("mine-v0") == mine
    assert find_dataset("lab/theirs-v1") == theirs
    assert list_datasets(Path("demonstrations")) == [mine]
    assert list_datasets(Path("none")) == []
    with pytest.raises(UserError, match="did you mean 'mine-v0'"):
        load("mine-v1")


def meddle(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path / "data" / "main_data.hdf5", "a") as file:
        change(file["episode_0"])


def put(episode: Any, name: str, values: Any) -> None:
    del episode[name]
    episode[name] = values


DAMAGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "no end": (lambda file: put(file, "truncations", [False] * 3), "episode 0 has no end"),
    "goes on": (lambda file: put(file, "truncations", [False, True, True]), "ends at step 2 and goes on to 3"),
    "no steps": (lambda file: put(file, "terminations", []), "0 terminations and 3 truncations"),
    "an observation lacks": (lambda file: put(file, "observations", np.zeros((3, 2))), "3 observations for 3 steps"),
    "an action too many": (lambda file: put(file, "actions", np.zeros((4, 1))), "4 actions for 3 steps"),
    "a reward lacks": (lambda file: put(file, "rewards", np.zeros(2)), "2 rewards for 3 steps: there must be 3"),
    "other shape": (lambda file: put(file, "observations", np.zeros((4, 3))), "observations have shape (3,)"),
    "not finite": (lambda file: put(file, "observations", np.full((4, 2), np.nan)), "observations must be finite"),
    "huge": (lambda file: put(file, "observations", np.full((4, 2), 1e300)), "observations must be finite"),
    "text": (lambda file: put(file, "actions", [[b"a"]] * 3), "is damaged, or not in Minari's format"),
    "out of space": (
        lambda file: put(file, "actions", [[0.0], [1.1], [0.0]]),
        "actions leave their space at step 1, element 0: 1.1",
    ),
    "some rewards": (lambda file: put(file, "rewards", [0, np.nan, 1]), "finite, or all NaN where nobody knows them"),
    "no class": (lambda file: file.attrs.pop("task_name"), "does not say which class it shows"),
    "numbered class": (lambda file: file.attrs.update(task_name=3), "does not say which class it shows"),
    "parameters": (lambda file: file.attrs.update(task_parameters=[np.inf]), "task_parameters must be finite"),
    "a group lacks": (lambda file: file.pop("actions"), "is damaged, or not in Minari's format"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_wrong_episodes_are_refused_in_one_line(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    meddle(stored(tmp_path / "pour-v0"), change)
    with np.errstate(over="ignore"), pytest.raises(UserError) as refused:
        load(tmp_path / "pour-v0")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("size", [0, 100, 2000, -1])
def test_a_file_that_is_cut_is_refused(size: int, tmp_path: Path) -> None:
    file = stored(tmp_path / "pour-v0") / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match="is damaged, or not in Minari's format"):
        load(tmp_path / "pour-v0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_space": None, "env_spec": '{"entry_point": "os:system"}'}, "lacks observation_space"),
        ({"total_episodes": "2"}, "lacks total_episodes"),
        ({"minari_version": "9.0.0"}, "is of Minari 9.0.0, which the installed"),
        ({"observation_space": '{"type": "Discrete", "n": 3, "start": 0}'}, "observations must be a Box of one axis"),
        ({"observation_space": "{"}, "is damaged"),
        ({"total_episodes": 3}, "is damaged"),
        ({"total_episodes": 0}, "has no demonstrations left"),
    ],
)
def test_wrong_facts_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "pour-v0") / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        load(tmp_path / "pour-v0")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_metadata_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    (stored(tmp_path / "pour-v0") / "data" / "metadata.json").write_text(text)
    with pytest.raises(UserError, match="is damaged, or not in Minari's format"):
        load(tmp_path / "pour-v0")


def test_what_is_asked_of_a_dataset_must_be_there(tmp_path: Path) -> None:
    demonstrations = load(stored(tmp_path / "pour-v0", robot(), robot("stir", goal=1.0), robot("stir")))
    with pytest.raises(UserError, match="unknown class in pour-v0: 'stirr'; did you mean 'stir'"):
        demonstrations.of_class("stirr")
    with pytest.raises(UserError, match="pour-v0 has 1 demonstrations of pour: 2 are needed of each class"):
        demonstrations.check_counts(2)
    with pytest.raises(UserError, match="pour-v0 has no demonstrations left"):
        demonstrations.of_tasks([Task("pour", [7.0])])
    with pytest.raises(UserError, match=r"other observations than navigation: Box of shape \(2,\)|low bound"):
        demonstrations.check_spaces(registry.make("navigation"))
    with pytest.raises(UserError, match="pour-v0 has no frames"):
        load(tmp_path / "pour-v0", frames=True)
    assert len(demonstrations.of_classes(["stir", "pour"])) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "name at least one class"),
        ({"tasks": ["reach-v2"]}, "unknown class or benchmark 'reach-v2'; did you mean 'reach-v3'?"),
        ({"tasks": ["AntDir"]}, "nobody can demonstrate AntDir"),
        ({"tasks": ["ML1"]}, "nobody can demonstrate ML1"),
        ({"tasks": ["navigation", "reach-v3"]}, "other spaces"),
        ({"noise": 0.0}, "the 2 episodes of a goal would be equal"),
        ({"noise": 1.5}, "noise must be 0 to 1"),
        ({"noise": float("nan")}, "noise must be 0 to 1"),
        ({"goals": 0}, "goals must be a whole number"),
        ({"episodes": 0}, "episodes must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"split": "tset"}, "unknown split 'tset'; did you mean 'test'"),
        ({"horizon": 0}, "horizon"),
        ({"output": "new/walk"}, "'walk' is no name for demonstrations"),
        ({"output": "file/walk-v0"}, "cannot write to file"),
        ({"output": "there-v0"}, "there-v0 is there already"),
        ({"cameras": ["view"]}, "navigation is not simulated by MuJoCo"),
        ({"cameras": ["a", "a"]}, "camera 'a' is given twice"),
        ({"cameras": ["state"]}, "no camera can be called 'state'"),
    ],
)
def test_wrong_wishes_are_refused_and_leave_nothing(options: dict[str, Any], message: str) -> None:
    Path("there-v0").mkdir()
    Path("file").touch()
    wish: dict[str, Any] = {"tasks": ["navigation"], "output": "new/walk-v0", "horizon": 5}
    with pytest.raises(UserError, match=message):
        collect(**wish | options)
    assert list_datasets(Path()) == []
    assert not Path("new").exists() or not any(Path("new").iterdir())


def test_nobody_succeeds(tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match="none of 2 episodes succeeded"):
        collect(["navigation"], tmp_path / "far-v0", goals=1, horizon=1, split="train")
    assert not any(tmp_path.iterdir())


KILLED = """
import os, signal, sys
from metarl.demonstrations import collect
collect(["navigation"], "demonstrations/walk-v0", horizon=12, tell=lambda done, total: os.kill(os.getpid(), 9))
"""


def test_a_collection_that_is_killed_leaves_nothing_to_read_and_can_be_started_again() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], env=os.environ, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = Path("demonstrations")
    assert any(folder.iterdir())
    assert list_datasets(folder) == []
    with pytest.raises(UserError, match="no demonstrations at 'walk-v0'"):
        load("walk-v0")
    collected = collect(["navigation"], folder / "walk-v0", horizon=12)
    assert list(folder.iterdir()) == [folder / "walk-v0"]
    assert len(load("walk-v0")) == collected.kept["navigation"]


def test_two_writers_of_one_dataset_are_kept_apart(tmp_path: Path) -> None:
    with (
        DatasetWriter(tmp_path / "pour-v0", SPACE, ACTIONS) as writer,
        pytest.raises(UserError, match="another process is writing"),
        DatasetWriter(tmp_path / "pour-v0", SPACE, ACTIONS),
    ):
        pass
    with pytest.raises(UserError, match="there is no demonstration to write"), writer:
        writer.finish({})
    assert not any(tmp_path.iterdir())


def test_a_full_disk_fails_in_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minari.dataset._storages.hdf5_storage.HDF5Storage.update_episodes", fail)
    with pytest.raises(RunFailure, match=r"could not write .*pour-v0: .*No space left on device"):
        stored(tmp_path / "pour-v0")
    assert not any(tmp_path.iterdir())


def test_the_options_of_a_reset_tell_the_task_too(tmp_path: Path) -> None:
    """As Minari's DataCollector writes them."""

    def move(episode: Any) -> None:
        del episode.attrs["success"]
        for name in ("task_name", "task_parameters"):
            episode.attrs[f"options/{name}"] = episode.attrs.pop(name)
        episode["infos/success"] = [False, False, True, False]

    meddle(stored(tmp_path / "pour-v0", robot(goal=3.0)), move)
    (shown,) = load(tmp_path / "pour-v0")
    assert (shown.task, shown.success) == (Task("pour", [3.0]), True)


def test_the_names_of_a_show_are_taken_once() -> None:
    show = choose_show(["reach-v3", "reach-v3"], 60, "both", None, 1)
    assert len(show.tasks) == len(set(show.tasks)) == 100
