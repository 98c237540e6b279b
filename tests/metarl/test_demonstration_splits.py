"""Splits of demonstrations by class and by goal."""

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.demonstrations import Demonstration, Demonstrations
from metarl.demonstrations.splits import split_classes, split_goals
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.metaworld import TASK_NAMES, MetaWorld

TEST = [
    "basketball-v3",
    "button-press-wall-v3",
    "coffee-button-v3",
    "door-unlock-v3",
    "lever-pull-v3",
    "peg-unplug-side-v3",
    "soccer-v3",
    "stick-push-v3",
    "window-close-v3",
    "window-open-v3",
]
"""Held-out classes of 30/10/10, written down since results on one split are compared for years."""
SPACE = gym.spaces.Box(-1, 1, (1,), np.float32)


def shown(*tasks: Task) -> Demonstrations:
    zeros = np.zeros((2, 1), dtype=np.float32)
    return Demonstrations([Demonstration(task, zeros, zeros[:1]) for task in tasks], SPACE, SPACE, name="d")


def test_ml45_is_that_of_meta_world() -> None:
    split = split_classes(TASK_NAMES, "ML45")
    family = MetaWorld("ML45")
    assert set(split.train) == {task.name for task in family.train_tasks}
    assert set(split.test) == {task.name for task in family.test_tasks}
    assert (len(split.train), len(split.validation), len(split.test)) == (45, 0, 5)


def test_thirty_ten_ten_is_one_split_for_everybody() -> None:
    split = split_classes(TASK_NAMES, "30/10/10")
    assert [len(part) for part in split] == [30, 10, 10]
    assert sorted(name for part in split for name in part) == sorted(TASK_NAMES)
    assert split == split_classes(tuple(reversed(TASK_NAMES)), "30/10/10")
    assert list(split.test) == TEST


@given(
    classes=st.sets(st.text(min_size=1), min_size=2, max_size=20),
    cut=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)),
)
def test_no_class_is_in_two_parts(classes: set[str], cut: tuple[int, int, int]) -> None:
    train, _, test = cut
    name = "/".join(map(str, cut))
    if not train or not test or sum(cut) > len(classes):
        with pytest.raises(UserError, match=f"split '{name}' of {len(classes)} classes"):
            split_classes(sorted(classes), name)
        return
    parts = split_classes(sorted(classes), name)
    together = [each for part in parts for each in part]
    assert len(together) == len(set(together)) == sum(cut)
    assert classes.issuperset(together)


@given(
    goals=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=1, max_size=40),
    share=st.floats(0.01, 0.99),
)
def test_goals_are_on_one_side_and_classes_on_both(goals: list[tuple[str, int]], share: float) -> None:
    demonstrations = shown(*(Task(name, [goal]) for name, goal in goals))
    if any(len({goal for name, goal in goals if name == each}) < 2 for each in demonstrations.classes):
        with pytest.raises(UserError, match="d shows one goal of"):
            split_goals(demonstrations, share)
        return
    train, test = split_goals(demonstrations, share)
    assert len(train) + len(test) == len(goals)
    assert not set(train.tasks) & set(test.tasks)
    assert train.classes == test.classes == demonstrations.classes


def test_a_fifth_of_ten_goals_is_two_the_same_in_any_order() -> None:
    tasks = [Task("a", [goal]) for goal in range(10)]
    train, test = split_goals(shown(*tasks, *tasks))
    assert (len(train), len(test)) == (16, 4)
    assert set(split_goals(shown(*reversed(tasks)))[1].tasks) == set(test.tasks)


def test_unknown_and_impossible_splits_are_refused() -> None:
    for split in ("ML46", "30", "30/10", "a/b/c", "-1/2/3", ""):
        with pytest.raises(UserError, match=f"unknown split '{split}'"):
            split_classes(TASK_NAMES, split)
    with pytest.raises(UserError, match="needs demonstrations of assembly-v3 and 48 more, of which there are none"):
        split_classes(["reach-v3"], "ML45")
    with pytest.raises(UserError, match="test must be a share between 0 and 1"):
        split_goals(shown(Task("a", [1]), Task("a", [2])), 1.0)


def test_ml25_shares_no_class() -> None:
    split = split_classes(TASK_NAMES, "ML25")
    assert not set(split.train) & set(split.test)
