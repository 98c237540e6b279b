"""The engine is Meta-World: the same numbers as its own environment objects, and a guard that they do not have."""

import gc
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError
from metarl_envs.metaworld import TASK_NAMES, MetaWorld
from metarl_envs.metaworld.classes import TASK_CLASSES
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.parity import compare, violations
from metarl_envs.metaworld.reference import ReferenceVectorEnv
from metarl_envs.simulation import STATE
from metarl_envs.testing import check_distribution


def tasks_of(name: str, count: int) -> list[Task]:
    return list(MetaWorld("ML1", task=name, seed=3).train_tasks[:count])


def test_all_classes_are_there() -> None:
    assert set(TASK_CLASSES) == set(TASK_NAMES)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_engine_equals_meta_world(name: str) -> None:
    largest, _ = compare(tasks_of(name, 1), steps=150, drives=("expert", "random"))
    assert violations(largest) == []


def play(env: TaskVectorEnv, tasks: Sequence[Task], steps: int, seed: int = 0) -> list[npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    with closing(env):
        env.set_tasks(tasks)
        rows = [env.reset()[0]]
        for _ in range(steps):
            observations, rewards, _, truncated, infos = env.step(rng.uniform(-1.5, 1.5, (len(tasks), 4)))
            rows.append(np.column_stack([observations, rewards, truncated, infos["success"]]))
            if "final_obs" in infos:
                rows.append(infos["final_obs"])
    return rows


def test_mixed_classes_on_several_threads_over_autoresets_equal_the_reference() -> None:
    tasks = [
        task for names in zip(*(tasks_of(n, 3) for n in ("push-v3", "door-open-v3")), strict=True) for task in names
    ]
    mine = play(MetaWorldEngine(6, horizon=12, threads=3), tasks, 30)
    theirs = play(ReferenceVectorEnv(6, horizon=12), tasks, 30)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12, rtol=1e-9)


def test_two_engines_stepping_at_once_do_what_each_does_alone() -> None:
    tasks = tasks_of("push-v3", 4), tasks_of("door-open-v3", 3)
    actions = [np.random.default_rng(0).uniform(-1, 1, (30, len(each), 4)) for each in tasks]
    with closing(MetaWorldEngine(4, 12, threads=3)) as first, closing(MetaWorldEngine(3, 12, threads=3)) as second:
        pairs = list(zip((first, second), tasks, strict=True))
        for env, each in pairs:
            env.set_tasks(each)
            env.reset()
        together: list[list[Any]] = [[], []]
        for now in zip(*actions, strict=True):
            for env, action in zip((first, second), now, strict=True):
                env.send(action)
            for env, results in zip((first, second), together, strict=True):
                results.append(np.column_stack(env.receive()[:4]))
        for (env, _), action, results in zip(pairs, actions, together, strict=True):
            env.reset()
            alone = [np.column_stack(env.step(now)[:4]) for now in action]
            np.testing.assert_array_equal(results, alone)


def test_environments_can_be_given_other_tasks_and_classes() -> None:
    first, second = tasks_of("push-v3", 4), tasks_of("drawer-open-v3", 2)
    with closing(MetaWorldEngine(4, horizon=10)) as env:
        env.set_tasks(first)
        env.reset()
        env.step(np.ones((4, 4)))
        mixed = [second[0], first[3], second[1], first[0]]
        env.set_tasks(mixed)
        observations, _ = env.reset()
    expected = play(ReferenceVectorEnv(4), mixed, 0)[0]
    np.testing.assert_array_equal(observations, expected)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_both_engines_keep_the_contract(engine: Any) -> None:
    check_distribution(MetaWorld("ML1", task="reach-v3", horizon=12, engine=engine))


def test_both_engines_give_the_same_tasks() -> None:
    native, reference = (MetaWorld("ML1", task="push-v3", engine=engine) for engine in ("native", "reference"))
    assert native.fingerprint == reference.fingerprint


def test_diverged_physics_ends_the_episode_and_leaves_evidence(tmp_path: Path) -> None:
    tasks = tasks_of("push-v3", 3)
    with closing(MetaWorldEngine(3, horizon=20, threads=2)) as env:
        env.set_tasks(tasks)
        env.reset()
        actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 4))
        for action in actions[:3]:
            before, *_ = env.step(action)
        env.simulation(1).qvel[:] = 1e12
        observations, rewards, terminated, truncated, infos = env.step(actions[3])
        assert infos["diverged"].tolist() == truncated.tolist() == [False, True, False]
        assert not terminated.any()
        assert rewards[1] == 0
        np.testing.assert_array_equal(infos["final_obs"][1], before[1])
        with closing(MetaWorldEngine(1)) as fresh:
            fresh.set_tasks(tasks[1:2])
            np.testing.assert_array_equal(observations[1], fresh.reset()[0][0])  # a new episode, not MuJoCo's defaults
        (evidence,) = infos["divergences"]
        *_, later = env.step(actions[4])
        assert not later["diverged"].any()
        assert "divergences" not in later
    evidence.save(tmp_path / "evidence.npz")
    loaded = Divergence.load(tmp_path / "evidence.npz")
    assert loaded.task == tasks[1]
    np.testing.assert_array_equal(loaded.actions, actions[:4, 1])
    np.testing.assert_array_equal(loaded.initial_state, evidence.initial_state)


def test_evidence_plays_again_to_the_same_state() -> None:
    task = tasks_of("push-v3", 1)[0]
    actions = np.random.default_rng(1).uniform(-1, 1, (6, 4))
    with closing(MetaWorldEngine(1, horizon=20)) as env:
        env.set_tasks([task])
        env.reset()
        for action in actions[:5]:
            env.step(action[None])
        expected = env.simulation(0).qpos.copy()
        env.simulation(0).qpos[:] = np.nan
        (evidence,) = env.step(actions[5][None])[-1]["divergences"]
        env.reset()
        state = np.empty_like(evidence.initial_state)
        mujoco.mj_getState(env.simulation(0).model, env.simulation(0), state, STATE)
        np.testing.assert_array_equal(state, evidence.initial_state)
        for action in evidence.actions[:5]:
            env.step(action[None])
        np.testing.assert_array_equal(env.simulation(0).qpos, expected)


def test_tasks_out_of_range_are_refused_before_anything_changes() -> None:
    with closing(MetaWorldEngine(1)) as env:
        env.set_tasks(tasks_of("push-v3", 1))
        with pytest.raises(UserError, match="out of Meta-World's range"):
            env.set_tasks([Task("push-v3", np.full(6, 9.0))])
        with pytest.raises(UserError, match="did you mean 'push-v3'"):
            env.set_tasks([Task("pusch-v3", np.zeros(6))])


def test_threads_end_with_the_environment() -> None:
    import threading

    before = threading.active_count()
    envs = [MetaWorldEngine(2, threads=3) for _ in range(2)]
    for env in envs:
        env.set_tasks(tasks_of("reach-v3", 2))
        env.reset()
        env.step(np.zeros((2, 4)))
    assert threading.active_count() - before in (1, 2)  # shared, and begun when there is work
    envs[0].close()
    envs[0].close()
    envs[1].step(np.zeros((2, 4)))  # the threads are still there
    envs[1].close()
    gc.collect()
    assert threading.active_count() == before


def test_what_goes_wrong_on_another_thread_is_raised_when_the_step_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(MetaWorldEngine(2, threads=2)) as env:
        env.set_tasks(tasks_of("reach-v3", 2))
        env.reset()

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("no gravity today")

        monkeypatch.setattr(env.groups[0], "advance", broken)
        env.send(np.zeros((2, 4)))
        with pytest.raises(ZeroDivisionError, match="no gravity today"):
            env.receive()
