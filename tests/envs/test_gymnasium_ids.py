import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import metarl_envs
from metarl_envs import registry
from metarl_envs.core import TaskVectorEnv
from metarl_envs.errors import UserError


def make(name: str, **options: Any) -> Any:
    env = gymnasium.make_vec(name, **options)
    assert isinstance(env.unwrapped, TaskVectorEnv)
    return env


def test_every_family_has_both_splits() -> None:
    ids = {name for name in gymnasium.registry if name.startswith("metarl/")}
    families = ("ML1", "ML10", "ML25", "ML45", "Navigation", "Bandit", "Tabular", *registry.LOCOMOTION)
    multi_task = {f"metarl/{benchmark}-v0" for benchmark in ("MT1", "MT10", "MT25", "MT50")}
    split_ids = {f"metarl/{family}-{split}-v0" for family in families for split in ("train", "test")}
    assert ids == split_ids | multi_task


@pytest.mark.parametrize("split", ["train", "test"])
def test_tasks_are_those_of_the_split_and_set_already(split: str) -> None:
    env = make(f"metarl/Navigation-{split}-v0", num_envs=3)
    family = metarl_envs.make("navigation")
    assert set(env.unwrapped.tasks) <= set(family.train_tasks if split == "train" else family.test_tasks)
    assert len(set(env.unwrapped.tasks)) == 3
    observations, _ = env.reset(seed=1)
    assert env.observation_space.contains(observations)
    assert env.spec.id == f"metarl/Navigation-{split}-v0"


def test_the_seed_chooses_the_tasks() -> None:
    tasks = [make("metarl/Navigation-test-v0", num_envs=4, seed=seed).unwrapped.tasks for seed in (3, 3, 4)]
    assert tasks[0] == tasks[1] != tasks[2]


def test_tasks_repeat_when_there_are_more_environments() -> None:
    counts = Counter(make("metarl/Navigation-test-v0", num_envs=50).unwrapped.tasks)
    assert sorted(counts.values()) == [1] * 30 + [2] * 10


def test_options_reach_the_distribution() -> None:
    assert make("metarl/Bandit-train-v0", num_envs=2, arms=3).single_action_space.n == 3
    assert make("metarl/Navigation-train-v0", num_envs=2, horizon=9).unwrapped.horizon == 9
    with pytest.raises(UserError, match="unexpected keyword argument 'arm'"):
        make("metarl/Bandit-train-v0", num_envs=2, arm=3)


def test_gymnasium_imports_the_package_named_in_front() -> None:
    program = "import gymnasium; print(gymnasium.make_vec('metarl_envs:metarl/Bandit-train-v0', num_envs=2))"
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "BanditVectorEnv(metarl/Bandit-train-v0, num_envs=2)"


def test_gymnasiums_statistics_wrapper_works_on_top() -> None:
    env: Any = RecordEpisodeStatistics(make("metarl/Navigation-train-v0", num_envs=3, horizon=4))
    env.reset(seed=0)
    goals = np.array([task.parameters for task in env.unwrapped.tasks])
    for _ in range(8):
        *_, infos = env.step(np.zeros((3, 2)))
    assert infos["episode"]["l"].tolist() == [4, 4, 4]
    np.testing.assert_allclose(infos["episode"]["r"], -4 * np.linalg.norm(goals, axis=1))
    assert list(env.length_queue) == [4] * 6
    env.close()


def test_render_mode_reaches_the_environment() -> None:
    env = make("metarl/Navigation-test-v0", num_envs=2, render_mode="rgb_array")
    env.reset(seed=0)
    assert len(env.render()) == 2


def test_locomotion_by_the_name_of_its_family() -> None:
    env = make("metarl/HalfCheetahDir-test-v0", num_envs=3, horizon=2)
    try:
        assert sorted(task.parameters[0] for task in env.unwrapped.tasks)[1:] != [-1.0, -1.0]  # both are played
        assert env.reset(seed=0)[0].shape == (3, 17)
        assert [env.step(np.zeros((3, 6)))[3].all() for _ in range(2)] == [False, True]
    finally:
        env.close()


def test_meta_world_by_the_name_of_its_environment() -> None:
    env = make("metarl/ML1-test-v0", num_envs=2, env_name="push-v3", horizon=3)
    try:
        assert [task.name for task in env.unwrapped.tasks] == ["push-v3", "push-v3"]
        observations, _ = env.reset(seed=0)
        assert observations.shape == (2, 39)
        with_end = [env.step(np.zeros((2, 4)))[3].tolist() for _ in range(3)]
        assert with_end == [[False, False], [False, False], [True, True]]
    finally:
        env.close()


def test_a_single_task() -> None:
    env: Any = gymnasium.make("metarl/Navigation-test-v0", task=2, horizon=3)
    family = metarl_envs.make("navigation", horizon=3)
    assert env.unwrapped.task == family.test_tasks[2]
    vector = family.make_env(1)
    vector.set_tasks([family.test_tasks[2]])
    expected, _ = vector.reset(seed=[4])
    observation, _ = env.reset(seed=4)
    np.testing.assert_array_equal(observation, expected[0])
    for step in range(3):
        action = np.full(2, 0.05, dtype=env.action_space.dtype)
        observation, reward, terminated, truncated, info = env.step(action)
        following, rewards, _, ends, infos = vector.step(action[None])
        np.testing.assert_array_equal(observation, infos["final_obs"][0] if step == 2 else following[0])
        assert (reward, truncated, info["success"]) == (rewards[0], ends[0], infos["success"][0])
        assert not terminated
    assert truncated
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step(action)
    env.close()


def test_a_single_task_that_is_not_there() -> None:
    with pytest.raises(UserError, match="task must be from 0 to 39"):
        gymnasium.make("metarl/Navigation-test-v0", task=40)


def test_a_seed_of_numpy() -> None:
    program = """
import gymnasium, numpy, metarl_envs
env = gymnasium.make_vec("metarl/Navigation-train-v0", num_envs=2)
one, other, plain = (env.reset(seed=seed)[0].tolist() for seed in (numpy.int64(5), [numpy.int64(5), 6], 5))
print(one == other == plain)
"""
    # in a process of its own, since this one checks annotations, which Gymnasium's own interface gives as int
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_single_bandit_brings_no_warning() -> None:
    env = gymnasium.make("metarl/Bandit-test-v0")
    env.reset(seed=0)
    env.step(0)
    env.close()


def test_a_vector_of_one_task() -> None:
    tasks = make("metarl/Navigation-test-v0", num_envs=3, task=2).unwrapped.tasks
    assert tasks == (metarl_envs.make("navigation").test_tasks[2],) * 3


def test_tasks_are_shown_on_request() -> None:
    env = make("metarl/Navigation-test-v0", num_envs=2, goal_visible=True)
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations[:, 2:], [task.parameters for task in env.unwrapped.tasks])


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # from Python 3.12 on
def test_gymnasiums_own_vectors(mode) -> None:
    options: dict[str, Any] = {"horizon": 2, "task": 1}
    plain = make("metarl/HalfCheetahVel-test-v0", num_envs=2, **options)
    plain.reset(seed=3)
    expected = plain.step(np.full((2, 6), 0.5))[1]  # by threads of this process, which a forked one does not have
    env = gymnasium.make_vec("metarl/HalfCheetahVel-test-v0", num_envs=2, vectorization_mode=mode, **options)
    env.reset(seed=3)
    np.testing.assert_array_equal(env.step(np.full((2, 6), 0.5, dtype=np.float32))[1], expected)
    env.close()
    plain.close()
