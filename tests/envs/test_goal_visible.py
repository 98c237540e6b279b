"""Observations that show the task, for oracles and multi-task learners."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting_env import Counting

import metarl_envs
from metarl_envs import registry
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.parity import compare, violations
from metarl_envs.testing import check_distribution
from metarl_envs.wrapping import VisibleTasks

FAMILIES: dict[str, dict[str, Any]] = {
    "navigation": {"num_train_tasks": 5, "num_test_tasks": 2, "horizon": 3},
    "bandit": {"num_train_tasks": 5, "num_test_tasks": 2},
    "tabular": {"num_train_tasks": 5, "num_test_tasks": 2, "states": 3, "actions": 2, "horizon": 3},
    "HalfCheetahVel": {"num_train_tasks": 5, "num_test_tasks": 2, "horizon": 3},
}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def play(family: TaskDistribution, steps: int) -> list[np.ndarray]:
    with closing(family.make_env(2)) as env:
        env.set_tasks(family.test_tasks[:2])
        seen = [env.reset(seed=3)[0]]
        env.single_action_space.seed(0)
        for _ in range(steps):
            action: Any = env.single_action_space.sample()
            observations, *_, infos = env.step(np.array([action] * 2))
            seen += [observations, *([infos["final_obs"]] if "final_obs" in infos else [])]
    return seen


@pytest.mark.parametrize("name", FAMILIES)
def test_the_parameters_follow_what_is_observed_anyway(name) -> None:
    hidden = metarl_envs.make(name, **FAMILIES[name])
    visible = metarl_envs.make(name, **FAMILIES[name], goal_visible=True)
    parameters = np.stack([task.parameters.ravel() for task in hidden.test_tasks[:2]])
    one, other = play(hidden, 5), play(visible, 5)
    assert len(one) == len(other) > 5  # with the final observations
    for plain, shown in zip(one, other, strict=True):
        np.testing.assert_array_equal(shown, np.concatenate([plain, parameters], axis=1))
    assert visible.test_tasks == hidden.test_tasks
    assert visible.fingerprint != hidden.fingerprint
    assert visible.name == f"{hidden.name}-goal-visible"
    assert (visible.held_out, visible.renderable, visible.horizon) == (
        hidden.held_out,
        hidden.renderable,
        hidden.horizon,
    )


@pytest.mark.parametrize("name", ["navigation", "HalfCheetahVel"])
def test_families_that_show_their_tasks_keep_the_contract(name) -> None:
    check_distribution(metarl_envs.make(name, **FAMILIES[name], goal_visible=True))


def test_other_tasks_are_shown_from_the_next_reset_on() -> None:
    family = metarl_envs.make("navigation", **FAMILIES["navigation"], goal_visible=True)
    env = family.make_env(1)
    for task in family.train_tasks[:2]:
        env.set_tasks([task])
        np.testing.assert_array_equal(env.reset()[0][0, 2:], task.parameters)


def test_tasks_of_a_family_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    registry.register("counting", Counting)
    family = metarl_envs.make("counting", goal_visible=True)
    task = family.train_tasks[0]
    env = family.make_env(1)
    env.set_tasks([task])
    np.testing.assert_array_equal(env.reset()[0][0, -task.parameters.size :], task.parameters)


def test_what_cannot_be_shown_is_refused() -> None:
    family = metarl_envs.make("navigation", **FAMILIES["navigation"])
    with pytest.raises(
        UserError, match=r"^navigation-goal-visible: its observations show the task parameters already$"
    ):
        VisibleTasks(VisibleTasks(family))
    family.test_tasks = (Task("navigation", [1.0]),)
    with pytest.raises(UserError, match=r"so all tasks must have equally many; they have 1 to 2$"):
        VisibleTasks(family)
    with pytest.raises(UserError, match=r"^task distribution 'navigation': option 'goal_visible' is 'maybe': "):
        metarl_envs.make("navigation", goal_visible="maybe")


@pytest.mark.parametrize("name", ["drawer-open-v3", "bin-picking-v3"])  # all are compared by `make parity`
def test_meta_world_shows_the_goal_where_it_shows_it_itself(name) -> None:
    tasks = MetaWorld("ML1", task=name, seed=3).train_tasks[1:2]
    largest, _ = compare(tasks, steps=30, drives=("random",), goal_visible=True)
    assert violations(largest) == []


def test_both_engines_show_the_same() -> None:
    options: dict[str, Any] = {"task": "push-v3", "horizon": 3}
    hidden = MetaWorld("ML1", **options)
    fast, slow = (MetaWorld("ML1", engine=engine, goal_visible=True, **options) for engine in ("native", "reference"))
    assert fast.observation_space == slow.observation_space != hidden.observation_space
    assert fast.fingerprint == slow.fingerprint != hidden.fingerprint
    assert fast.name == "ML1-push-v3-goal-visible"
    for mine, theirs, none in zip(*(play(family, 4) for family in (fast, slow, hidden)), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
        np.testing.assert_array_equal(mine[:, :36], none[:, :36])
        assert (mine[:, 36:] != 0).all()
        assert (none[:, 36:] == 0).all()


def test_a_picture_of_a_family_that_shows_its_tasks(tmp_path: Path) -> None:
    family = metarl_envs.make("navigation", **FAMILIES["navigation"], goal_visible=True)
    env = family.make_env(1, render_mode="rgb_array")
    env.set_tasks(family.test_tasks[:1])
    env.reset()
    assert env.render()[0].shape == (480, 480, 3)
