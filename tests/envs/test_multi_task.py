"""Meta-World's multi-task benchmarks on the engine, held against Meta-World's own."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import metaworld
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from metaworld import env_dict

import metarl_envs
from metarl_envs.errors import UserError
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.parity import multi_task_differences, violations

CLASSES = ["reach-v3", "door-open-v3", "drawer-close-v3"]


@pytest.fixture(scope="module", autouse=True)
def _small_mt10(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An MT10 of three classes with four goals each, in Meta-World as well as here."""
    classes = env_dict._get_env_dict(CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(metaworld, "_N_GOALS", 4)
        patch.setattr(env_dict, "MT10_V3", classes)
        patch.setattr(env_dict, "MT10_V3_ARGS_KWARGS", env_dict._get_args_kwargs(env_dict.ALL_V3_ENVIRONMENTS, classes))
        yield


def test_goals_are_those_that_meta_world_draws() -> None:
    ours = MetaWorld("MT10", seed=7)
    theirs = MetaWorld("custom", train=CLASSES, test=["push-v3"], seed=7)  # held against `metaworld` elsewhere
    assert ours.train_tasks == ours.test_tasks == theirs.train_tasks
    assert (ours.name, ours.held_out, ours.classes) == ("MT10", False, tuple(CLASSES))
    assert ours.fingerprint != MetaWorld("MT10", seed=7, use_one_hot=True).fingerprint


def test_mt1_has_the_training_goals_of_ml1() -> None:
    mt1, ml1 = MetaWorld("MT1", task="reach-v3", seed=2), MetaWorld("ML1", task="reach-v3", seed=2)
    assert mt1.train_tasks == ml1.train_tasks
    assert mt1.name == "MT1-reach-v3"
    assert (mt1.observation_space.high[36:] == np.inf).all()


@pytest.mark.parametrize("use_one_hot", [False, True])
def test_a_vector_plays_what_meta_worlds_own_plays(use_one_hot) -> None:
    # three episodes and a half, each of another goal
    largest, classes = multi_task_differences("MT10", 14, horizon=4, seed=3, use_one_hot=use_one_hot)
    assert violations(largest) == []
    # Meta-World compares its vectors by place: `classes` are in its order
    assert classes == CLASSES


def test_the_class_is_appended_one_hot() -> None:
    env: Any = gymnasium.make_vec("metarl/MT10-v0", num_envs=6, use_one_hot=True, horizon=2)
    assert env.single_observation_space.shape == (42,)
    observations, _ = env.reset()
    np.testing.assert_array_equal(observations[:, 39:], np.tile(np.eye(3), (2, 1)))
    env.step(np.zeros((6, 4)))
    observations, *_, infos = env.step(np.zeros((6, 4)))
    np.testing.assert_array_equal(observations[:, 39:], infos["final_obs"][:, 39:])
    assert env.observation_space.contains(observations)
    env.close()


def test_tasks_are_what_is_played() -> None:
    env: Any = gymnasium.make_vec("metarl/MT1-v0", env_name="reach-v3", num_envs=2, horizon=1)
    observations, _ = env.reset(seed=5)
    drawn = set()
    for _ in range(12):
        goals = [task.parameters[-3:] for task in env.unwrapped.tasks]
        np.testing.assert_allclose(observations[:, 36:], goals)
        drawn |= set(env.unwrapped.tasks)
        observations, *_ = env.step(np.zeros((2, 4)))
    assert len(drawn) == 4
    again = [env.reset(seed=seed)[0] for seed in (5, 5, 6)]
    np.testing.assert_array_equal(again[0], again[1])
    assert (again[0][1] == again[2][0]).all()  # seeds count up from environment to environment
    env.close()


def test_one_environment_draws_a_goal_at_each_reset_as_meta_world_does() -> None:
    mine = gymnasium.make("metarl/MT1-v0", env_name="reach-v3", seed=3)
    theirs = metaworld.make_mt_envs("reach-v3", seed=3)
    for _ in range(5):
        np.testing.assert_array_equal(mine.reset()[0], theirs.reset()[0])
    mine.close()
    theirs.close()


@pytest.mark.filterwarnings("ignore:.*A Box observation space:UserWarning")
def test_one_environment_is_one_that_gymnasium_accepts() -> None:
    env = gymnasium.make("metarl/MT10-v0", env_name="door-open-v3", use_one_hot=True, horizon=4)
    check_env(env.unwrapped, skip_render_check=True)
    np.testing.assert_array_equal(env.reset()[0][39:], [0, 1, 0])
    env.close()


def test_one_goal_of_a_benchmark() -> None:
    family = metarl_envs.make("MT10", seed=2)
    env: Any = gymnasium.make("metarl/MT10-v0", env_name="door-open-v3", task=1, seed=2)
    assert env.unwrapped.task == family.train_tasks[5]
    first = env.reset()[0]
    np.testing.assert_array_equal(first, env.reset()[0])
    env.close()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        ("make_vec", {"num_envs": 4}, "^num_envs must be a multiple of the 3 classes of MT10: got 4$"),
        ("make_vec", {"env_name": "reach-v3"}, "^a vector of MT10 plays all its classes: leave out env_name"),
        (
            "make_vec",
            {"render_mode": "rgb_array"},
            "^a vector of MT10 does not render: use gymnasium.make with env_name",
        ),
        ("make", {}, "^MT10 needs env_name to make one environment, such as env_name='reach-v3'$"),
        ("make", {"env_name": "push-v3"}, "^unknown env_name of MT10 train 'push-v3'; known: door-open-v3, "),
        ("make", {"env_name": "reach-v3", "task": 4}, "^task must be from 0 to 3, as there are 4 tasks: got 4$"),
        ("make", {"env_name": "reach-v3", "engin": 1}, "unexpected keyword argument 'engin'"),
    ],
)
def test_what_a_benchmark_cannot_play_is_refused(make, options, message) -> None:
    with pytest.raises(UserError, match=message):
        getattr(gymnasium, make)("metarl/MT10-v0", **options)


def test_one_hot_belongs_to_benchmarks_that_hold_nothing_out() -> None:
    with pytest.raises(UserError, match=r"^ML10 takes no use_one_hot: its held-out classes have no index; MT10 does$"):
        MetaWorld("ML10", use_one_hot=True)


def test_tasks_cannot_be_set_where_goals_are_drawn() -> None:
    env: Any = gymnasium.make_vec("metarl/MT10-v0", horizon=2)
    assert env.num_envs == 3
    with pytest.raises(UserError, match=r"^these environments draw a goal per episode"):
        env.set_tasks(env.tasks)
    env.close()
