import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.metaworld import BENCHMARKS, TASK_NAMES, MetaWorld, ReferenceVectorEnv
from metarl_envs.metaworld.reference import encode
from metarl_envs.testing import check_distribution

OTHER = ["drawer-open-v3", "door-close-v3", "shelf-place-v3", "sweep-into-v3", "lever-pull-v3"]


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, and two goals per class to be quick."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metaworld, "_N_GOALS", 2)
    return tmp_path


def decoded(tasks: Any) -> list[tuple[str, list[float]]]:
    return [(task.env_name, pickle.loads(task.data)["rand_vec"].tolist()) for task in tasks]


def plain(tasks: Sequence[Task]) -> list[tuple[str, list[float]]]:
    return [(task.name, task.parameters.tolist()) for task in tasks]


def names(tasks: Sequence[Task]) -> Counter[str]:
    return Counter(task.name for task in tasks)


def test_ml1_has_the_goals_that_metaworld_draws() -> None:
    ours = MetaWorld("ML1", task="push-v3", seed=3)
    theirs = metaworld.ML1("push-v3", seed=3)  # type: ignore[no-untyped-call]
    assert plain(ours.train_tasks) == decoded(theirs.train_tasks)
    assert plain(ours.test_tasks) == decoded(theirs.test_tasks)
    assert names(ours.train_tasks) == names(ours.test_tasks) == {"push-v3": 50}
    assert ours.name == "ML1-push-v3"
    assert ours.horizon == 500


def test_custom_has_the_goals_that_metaworld_draws(cache: Path) -> None:
    train, test = ["window-open-v3", "reach-v3"], ["door-open-v3"]
    ours = MetaWorld("custom", train=train, test=test, seed=7)
    theirs = metaworld.CustomML(train, test, seed=7)
    assert plain(ours.train_tasks) == decoded(theirs.train_tasks)
    assert plain(ours.test_tasks) == decoded(theirs.test_tasks)
    assert [*names(ours.train_tasks)] == train
    assert [*names(ours.test_tasks)] == test


@pytest.mark.parametrize("task", ["reach-v3", "door-open-v3", "window-close-v3"])
def test_ml1_holds_out_other_goals(task: Any) -> None:
    distribution = MetaWorld("ML1", task=task)
    train, test = (
        {tuple(task.parameters) for task in tasks} for tasks in (distribution.train_tasks, distribution.test_tasks)
    )
    assert len(train) == len(test) == 50
    assert not train & test


def test_ml10_holds_out_other_classes(cache: Path) -> None:
    distribution = MetaWorld("ML10")
    assert names(distribution.test_tasks) == dict.fromkeys(OTHER, 2)
    assert len(names(distribution.train_tasks)) == 10
    assert set(names(distribution.train_tasks).values()) == {2}
    assert not names(distribution.train_tasks) & names(distribution.test_tasks)
    assert distribution.excluded == ()


def test_ml25_leaves_the_class_it_trains_on_out_of_its_test_split(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        distribution = MetaWorld("ML25")
    assert distribution.excluded == ("basketball-v3",)
    assert "basketball-v3" in caplog.text
    assert len(names(distribution.train_tasks)) == 25
    assert "basketball-v3" in names(distribution.train_tasks)
    assert [*names(distribution.test_tasks)] == ["door-close-v3", "shelf-place-v3", "sweep-v3", "button-press-v3"]


def test_the_seed_alone_chooses_the_goals(cache: Path) -> None:
    def make(seed: int) -> MetaWorld:
        return MetaWorld("ML1", task="reach-v3", seed=seed)

    cold, warm, other = make(4), make(4), make(5)
    assert cold.fingerprint == warm.fingerprint != other.fingerprint
    assert not set(cold.train_tasks) & set(other.train_tasks)
    assert set(cold.test_tasks) == set(other.train_tasks)  # Meta-World's way, and why seeds are not to be mixed


def global_random_state() -> Any:
    state: Any = np.random.get_state()  # noqa: NPY002  (the one that must not change)
    name, keys, *rest = state
    return name, keys.tolist(), rest


def test_numpys_global_random_numbers_are_left_alone(cache: Path) -> None:
    before = global_random_state()
    env = MetaWorld("ML1", task="reach-v3", seed=1).make_env(1, render_mode="rgb_array")
    env.set_tasks(MetaWorld("ML1", task="reach-v3", seed=1).train_tasks[:1])
    env.reset(seed=[5])
    env.step(np.zeros((1, 4)))
    env.close()
    assert global_random_state() == before


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("drawn again")


def test_goals_are_drawn_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MetaWorld("ML1", task="reach-v3")
    monkeypatch.setattr(metaworld, "ML1", refuse)
    assert MetaWorld("ML1", task="reach-v3").fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="drawn again"):
        MetaWorld("ML1", task="reach-v3", seed=2)
    with pytest.raises(AssertionError, match="drawn again"):
        MetaWorld("ML1", task="push-v3")
    monkeypatch.setattr(
        "metarl_envs.metaworld.goals.installed_versions", lambda: {"metaworld": "3.1.1", "mujoco": "3.9.9"}
    )
    with pytest.raises(AssertionError, match="drawn again"):
        MetaWorld("ML1", task="reach-v3")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "emptied": lambda file: file.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_drawn_anew(cache: Path, damage: str) -> None:
    first = MetaWorld("ML1", task="reach-v3")
    (file,) = (path for path in cache.rglob("*") if path.is_file())
    intact = file.read_bytes()
    DAMAGES[damage](file)
    assert MetaWorld("ML1", task="reach-v3").fingerprint == first.fingerprint
    assert file.read_bytes() == intact


def test_a_cache_that_cannot_be_written_does_no_harm(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MetaWorld("ML1", task="reach-v3")
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert MetaWorld("ML1", task="reach-v3").fingerprint == first.fingerprint


def test_a_failed_write_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metarl_envs.metaworld.goals.os.replace", full)
    MetaWorld("ML1", task="reach-v3")
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"benchmark": "ML11"}, "unknown Meta-World benchmark 'ML11'; did you mean 'ML1"),
        ({"benchmark": "ML1"}, "ML1 needs a task"),
        ({"benchmark": "ML1", "task": "reach"}, "unknown Meta-World task 'reach'; did you mean 'reach-v3'?"),
        ({"benchmark": "ML1", "task": "reach-v2"}, "did you mean 'reach-v3'?"),
        ({"benchmark": "ML10", "task": "reach-v3"}, "ML10 takes no task (got 'reach-v3'); only ML1 and MT1 do"),
        ({"benchmark": "ML45", "train": ["reach-v3"]}, "ML45 takes neither train nor test; only custom does"),
        ({"benchmark": "ML1", "task": "reach-v3", "test": ["push-v3"]}, "ML1 takes neither train nor test"),
        ({"benchmark": "custom", "train": ["reach-v3"]}, "custom needs train and test"),
        ({"benchmark": "custom", "train": ["reach-v3"], "test": ["psuh-v3"]}, "did you mean 'push-v3'?"),
        (
            {"benchmark": "custom", "train": ["reach-v3", "push-v3"], "test": ["push-v3"]},
            "push-v3 cannot be both in train and in test",
        ),
        ({"benchmark": "ML10", "horizon": 0}, "horizon must be 1 to 500 steps in Meta-World, not 0"),
        ({"benchmark": "ML10", "horizon": 501}, "horizon must be 1 to 500 steps in Meta-World, not 501"),
        ({"benchmark": "ML10", "seed": -1}, "seed must be 0 to 4294967294, not -1"),
        ({"benchmark": "ML10", "reward": "v1"}, "reward 'v1' needs engine='reference'"),
        ({"benchmark": "MT1"}, "MT1 needs a task, such as task='reach-v3'"),
        ({"benchmark": "ML10", "seed": 2**32 - 1}, "seed must be 0 to 4294967294, not 4294967295"),
    ],
)
def test_a_users_mistake_is_told_in_one_line(
    arguments: dict[str, Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metarl_envs.metaworld.benchmarks.benchmark_tasks", refuse)  # told before any work is done
    with pytest.raises(UserError) as error:
        MetaWorld(**arguments)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_names() -> None:
    assert len(TASK_NAMES) == len(set(TASK_NAMES)) == 50
    assert all(name.endswith("-v3") for name in TASK_NAMES)
    assert BENCHMARKS == ("ML1", "ML10", "ML25", "ML45", "custom", "MT1", "MT10", "MT25", "MT50")


def test_the_reference_engine_plays_either_version_of_the_rewards(cache: Path) -> None:
    rewards = {}
    for version in ("v1", "v2"):
        distribution = MetaWorld("ML1", task="push-v3", horizon=4, engine="reference", reward=version)
        task = distribution.train_tasks[0]
        own = ALL_V3_ENVIRONMENTS["push-v3"](reward_function_version=version)
        own.set_task(encode(task))
        own.reset()
        with closing(distribution.make_env(1)) as env:
            env.set_tasks([task])
            env.reset()
            rewards[version] = env.step(np.ones((1, 4)))[1][0]
        assert rewards[version] == own.step(np.ones(4))[1]
    assert rewards["v1"] != rewards["v2"]


def test_parallel_environments_play_like_the_reference(cache: Path) -> None:
    distribution = MetaWorld(
        "custom", train=["reach-v3", "push-v3"], test=["door-open-v3"], horizon=4, engine="reference"
    )
    tasks = [distribution.train_tasks[0], distribution.train_tasks[2], distribution.test_tasks[0]]
    reference, parallel = ReferenceVectorEnv(3, horizon=4), distribution.make_env(3)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    try:
        for env in (reference, parallel):
            env.set_tasks(tasks)
        assert np.array_equal(reference.reset()[0], parallel.reset()[0])
        for action in actions:
            *expected, expected_infos = reference.step(action)
            *got, infos = parallel.step(action)
            assert all(map(np.array_equal, got, expected))
            assert infos.keys() == expected_infos.keys()
            assert all(np.array_equal(infos[key], expected_infos[key]) for key in infos)
    finally:
        parallel.close()
        reference.close()


def test_the_contracts_are_kept(cache: Path) -> None:
    distribution = MetaWorld("custom", train=["reach-v3", "push-v3"], test=["door-open-v3"], horizon=4)
    check_distribution(distribution, num_envs=3, render=True)


def test_gymnasium_makes_it(cache: Path) -> None:
    env: Any = gym.make_vec("metarl/ML1-test-v0", num_envs=2, env_name="push-v3", horizon=3)
    try:
        assert set(env.unwrapped.tasks) <= set(MetaWorld("ML1", task="push-v3", horizon=3).test_tasks)
        assert env.reset(seed=0)[0].shape == (2, 39)
        assert [env.step(env.action_space.sample())[3].all() for _ in range(4)] == [False, False, True, False]
    finally:
        env.close()


def test_only_a_single_environment_is_drawn(cache: Path) -> None:
    distribution = MetaWorld("ML1", task="reach-v3")
    with pytest.raises(UserError, match="num_envs must be 1, not 2"):
        distribution.make_env(2, render_mode="rgb_array")


@pytest.mark.slow
@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_ml1_has_fifty_goals_in_each_split(task: Any) -> None:
    distribution = MetaWorld("ML1", task=task)
    assert len({*distribution.train_tasks, *distribution.test_tasks}) == 100


def test_a_user_without_a_home_has_no_cache_and_no_harm(monkeypatch) -> None:
    """As in a container with a user id of its own."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert MetaWorld("ML1", task="reach-v3").train_tasks
