"""Learning from scratch: what is evaluated when, the cache, processes, and the command's sentences."""

from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from metarl.baselines import processes, single_tasks
from metarl.baselines.callbacks import EvaluateAt
from metarl.baselines.learners import check_learner, learner_settings, make_learner
from metarl.baselines.single_tasks import Lesson, TaskCurve, learn_task, learn_tasks, play_mean_action
from metarl.config import NavigationTasks
from metarl.errors import RunFailure
from metarl.evaluation import from_scratch
from metarl.evaluation.from_scratch import FromScratch, learn_from_scratch
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.single import SingleTaskEnv

CONFIG = NavigationTasks(num_train_tasks=2, num_test_tasks=4, horizon=5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_each_point_is_evaluated_after_its_episodes_and_learning_ends_with_the_last() -> None:
    played: list[int] = []
    callback = EvaluateAt([0, 2, 3, 7], lambda: played.append(callback._played), lambda count: None)
    callback._on_training_start()
    goes_on = []
    for ended in ([0, 0], [1, 1], [0, 0], [1, 0], [1, 1], [1, 1]):
        callback.locals = {"dones": np.array(ended, dtype=bool)}
        goes_on.append(callback._on_step())
    assert played == [0, 2, 3, 7]
    assert goes_on == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("budget", "points"),
    [(1, (0, 1)), (3, (0, 1, 2, 3)), (40, tuple(range(0, 41, 2))), (1000, tuple(range(0, 1001, 50)))],
)
def test_points_are_spread_over_the_budget(budget, points) -> None:
    assert FromScratch(("ppo",), budget=budget).lesson("ppo", seed=1).points == points


def test_the_first_tasks_of_the_names_asked_for_are_learned() -> None:
    tasks = [Task(name, [number]) for number in range(3) for name in ("reach", "push")]
    assert FromScratch(("ppo",), tasks=2, names=("push",)).choose(tasks) == [tasks[1], tasks[3]]
    assert FromScratch(("ppo",), tasks=1).choose(tasks) == [tasks[0], tasks[1]]


def test_a_task_is_learned_and_evaluated_by_the_mean_action() -> None:
    """One rollout of PPO's default length: what is learned in it changes the last point, and no point before."""
    family = CONFIG.build()
    told: list[int] = []
    lesson = Lesson("ppo", (0, 200, 420), episodes=2, seed=1)
    curve = learn_task(family, family.test_tasks[0], lesson, told.append)
    assert sum(told) == 420
    assert len(curve.returns) == len(curve.success) == 3
    assert curve.returns[0] == curve.returns[1] != curve.returns[2]  # 2048 steps are 409.6 episodes


def test_the_seed_decides_what_is_learned() -> None:
    family = CONFIG.build()
    seeds = []
    for seed in (1, 1, 2):
        with closing(SingleTaskEnv(family, family.test_tasks[0])) as env:
            model = make_learner("ppo", env, seed)
            seeds.append(torch.cat([each.detach().flatten() for each in model.policy.parameters()]).tolist())
    assert seeds[0] == seeds[1] != seeds[2]


def test_the_mean_actions_return_is_counted_in_full() -> None:
    class Right:
        def predict(self, observation: Any, deterministic: bool) -> tuple[Any, None]:
            assert deterministic
            return np.array([0.1, 0.0]), None

    family = CONFIG.build()
    task = family.test_tasks[0]
    points = np.stack([0.1 * np.arange(1, 6), np.zeros(5)], axis=1)
    expected = -np.linalg.norm(points - task.parameters, axis=1).sum()
    model: Any = Right()
    solved, returned = play_mean_action(model, SingleTaskEnv(family, task), [1, 2])
    assert (solved, pytest.approx(returned)) == (0.0, expected)


@pytest.fixture
def lessons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Learning that tells the task by its return, and takes no time."""
    learned: list[str] = []

    def learn(distribution: Any, task: Any, lesson: Lesson, tell: Any) -> TaskCurve:
        learned.append(task.id)
        tell(lesson.points[-1])
        return TaskCurve([0.0, 1.0], [0.0, float(task.parameters[0])])

    monkeypatch.setattr(single_tasks, "learn_task", learn)
    return learned


LESSON = Lesson("ppo", (0, 6), episodes=3, seed=1)


def test_a_finished_task_is_never_paid_again(lessons, cache: Path) -> None:
    family = CONFIG.build()
    first, taken = learn_from_scratch(CONFIG, family, family.test_tasks[:2], LESSON, 1)
    assert (taken, len(lessons)) == (0, 2)
    both, taken = learn_from_scratch(CONFIG, family, family.test_tasks, LESSON, 1)
    assert (taken, lessons[2:]) == (2, [task.id for task in family.test_tasks[2:]])
    assert both.task_ids == tuple(task.id for task in family.test_tasks)
    assert both.returns[:, 1].tolist() == [task.parameters[0] for task in family.test_tasks]
    assert np.array_equal(first.returns, both.returns[:2])
    assert both.settings["evaluation_episodes"] == 3
    for good, damaged in (('"returns"', '"turns"'), ("1.0", "NaN")):
        for entry in cache.iterdir():
            assert good in entry.read_text()
            entry.write_text(entry.read_text().replace(good, damaged))
        assert learn_from_scratch(CONFIG, family, family.test_tasks, LESSON, 1)[1] == 0


def test_what_was_learned_before_a_failure_is_kept(lessons, monkeypatch: pytest.MonkeyPatch) -> None:
    family = CONFIG.build()
    learn = single_tasks.learn_task

    def fail(distribution: Any, task: Any, *rest: Any) -> TaskCurve:
        if task == family.test_tasks[2]:
            raise RunFailure("no")
        return learn(distribution, task, *rest)

    monkeypatch.setattr(single_tasks, "learn_task", fail)
    with pytest.raises(RunFailure, match="no"):
        learn_from_scratch(CONFIG, family, family.test_tasks, LESSON, 1)
    monkeypatch.setattr(single_tasks, "learn_task", learn)
    assert learn_from_scratch(CONFIG, family, family.test_tasks, LESSON, 1)[1] == 2


def test_a_cache_that_cannot_be_written_is_said_and_nothing_is_lost(lessons, cache: Path, capsys) -> None:
    cache.write_text("in the way")
    family = CONFIG.build()
    curve, taken = learn_from_scratch(CONFIG, family, family.test_tasks, LESSON, 1)
    assert (taken, curve.returns.shape) == (0, (4, 2))
    assert "metarl: not kept in the cache" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_learn_what_one_does() -> None:
    family = CONFIG.build()
    lesson = Lesson("ppo", (0, 4), episodes=1, seed=1)
    told: list[int] = []
    parallel = dict(learn_tasks(CONFIG, family.test_tasks[:2], lesson, 2, told.append))
    alone = dict(learn_tasks(CONFIG, family.test_tasks[:2], lesson, 1, told.append))
    assert parallel == alone
    assert sum(told) == 16


@pytest.mark.slow
def test_a_process_that_dies_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_begin", int)  # fails, and with it the process
    family = CONFIG.build()
    with pytest.raises(RunFailure, match="a process that learns from scratch died"):
        list(learn_tasks(CONFIG, family.test_tasks[:2], LESSON, 2, lambda count: None))


def test_learners_are_checked_and_their_settings_told() -> None:
    with pytest.raises(UserError, match="unknown learner 'pop'"):
        check_learner("pop", gym.spaces.Box(-1, 1))
    with pytest.raises(UserError, match="sac learns continuous actions only"):
        check_learner("sac", gym.spaces.Discrete(2))
    check_learner("ppo", gym.spaces.Discrete(2))
    told = learner_settings("ppo")
    assert (told["n_steps"], told["gamma"], told["policy"]) == (2048, 0.99, "MlpPolicy")
    assert told["package"].startswith("stable-baselines3 2")
    assert from_scratch.MOST_POINTS == 20
