"""Recombined tasks: an object's place of one training task with the goal of another."""

import numpy as np
import pytest

from metarl_envs.core import Task
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.recombining import recombine


def task(*numbers: float, name: str = "push-v3") -> Task:
    return Task(name, numbers)


TASKS = [task(0, 0, 9, 0.2, 0, 1), task(0, 1, 9, 0, 1.1, 2), task(5, 5, 9, 0.05, 0, 3)]
OTHER = task(0, 0, 9, 7, 7, 7, name="reach-v3")


def test_a_task_keeps_its_object_and_gets_a_goal_that_is_no_nearer_than_any_was() -> None:
    rng = np.random.default_rng(0)
    made = [recombine(TASKS[0], [*TASKS, OTHER], rng) for _ in range(100)]
    assert {each.name for each in made} == {"push-v3"}
    # least distance 0.1, of the second; the third goal is 0.05 from the first object, the other class's is not asked
    assert {tuple(each.parameters) for each in made} == {(0, 0, 9, 0.2, 0, 1), (0, 0, 9, 0, 1.1, 2)}


def test_a_task_of_other_numbers_stays() -> None:
    plain = task(0.1, 0.2, 0.3)
    assert recombine(plain, [plain, task(1, 2, 3)], np.random.default_rng(0)) is plain


@pytest.mark.parametrize("name", ["push-v3", "pick-place-v3"])
def test_training_tasks_are_new_pairs_of_what_training_tasks_have(name: str) -> None:
    family = MetaWorld("ML1", name, recombined=True)
    drawn = family.sample(50, np.random.default_rng(1))
    known = [each.parameters for each in family.train_tasks]
    for part in (slice(3), slice(3, 6)):
        assert all(any(np.array_equal(each.parameters[part], of[part]) for of in known) for each in drawn)
    assert sum(each in family.train_tasks for each in drawn) < 10
    assert family.test_tasks == MetaWorld("ML1", name).test_tasks
    env = family.make_env(2)
    env.set_tasks(drawn[:2])  # the engine takes them as it takes others
    env.reset(seed=[0, 0])
    env.close()
