import copy
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv, draw_balanced
from metarl_envs.errors import UserError, unknown
from metarl_envs.navigation import NavigationVectorEnv

numbers = st.floats(allow_nan=False)
parameters = st.lists(numbers, max_size=4)


class Family(TaskDistribution):
    def __init__(
        self, train_tasks: Sequence[Task], test_tasks: Sequence[Task], horizon: int = 10, held_out: bool = True
    ) -> None:
        box = gym.spaces.Box(-1, 1, (2,), np.float64)
        super().__init__("family", train_tasks, test_tasks, box, box, horizon, held_out)

    def make_env(self, num_envs: int, render_mode: str | None = None) -> TaskVectorEnv:
        raise NotImplementedError


def tasks_of(sizes: Sequence[int]) -> list[Task]:
    return [Task(f"class-{name}", [goal]) for name, size in enumerate(sizes) for goal in range(size)]


HELD_OUT = [Task("held-out", [0])]


@given(st.text(max_size=5), parameters)
def test_equal_tasks_have_equal_ids_and_hashes(name: str, values: list[float]) -> None:
    one, other = Task(name, values), Task(name, np.array(values))
    assert one == other
    assert one.id == other.id
    assert len({one, other}) == 1
    assert copy.deepcopy(one) == one


@given(st.text(max_size=5), st.text(max_size=5), parameters, parameters)
def test_a_task_is_its_name_and_the_bits_of_its_parameters(
    name: str, other_name: str, values: list[float], other_values: list[float]
) -> None:
    same = name == other_name and struct.pack(f"{len(values)}d", *values) == struct.pack(
        f"{len(other_values)}d", *other_values
    )
    assert (Task(name, values) == Task(other_name, other_values)) == same


def test_task_id_is_the_documented_hash() -> None:
    expected = hashlib.sha256(b"reach-v3\x00(2,)" + struct.pack("<dd", 0.5, -1.0)).hexdigest()[:16]
    assert Task("reach-v3", [0.5, -1.0]).id == expected


def test_parameters_of_the_same_numbers_but_another_shape_are_another_task() -> None:
    assert Task("a", [1.0, 2.0]) != Task("a", np.array([[1.0, 2.0]]))
    assert Task("a", [1.0]) != "a"


def test_a_task_cannot_be_changed() -> None:
    values = np.array([1.0, 2.0])
    task = Task("a", values)
    values[0] = 9.0
    assert task.parameters.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        task.parameters[0] = 9.0


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_sample_is_without_repeats_balanced_and_from_training_only(sizes: list[int], data: st.DataObject) -> None:
    family = Family(tasks_of(sizes), HELD_OUT)
    count = data.draw(st.integers(0, sum(sizes)))
    seed = data.draw(st.integers(0, 2**32))
    drawn = family.sample(count, np.random.default_rng(seed))

    assert drawn == family.sample(count, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn)) == count
    assert set(drawn) <= set(family.train_tasks)
    counts = {f"class-{name}": 0 for name in range(len(sizes))}
    for task in drawn:
        counts[task.name] += 1
    most = max(counts.values())  # every class gives as many as any other up to one, or all that it has
    assert all(counts[f"class-{name}"] >= min(size, most - 1) for name, size in enumerate(sizes))


def test_sample_reaches_every_task() -> None:
    family = Family(tasks_of([3, 3]), HELD_OUT)
    rng = np.random.default_rng(0)
    drawn = {task for _ in range(50) for task in family.sample(2, rng)}
    assert drawn == set(family.train_tasks)


def test_sample_names_both_numbers_when_there_are_too_few_tasks() -> None:
    with pytest.raises(UserError, match="meta-batch of 4 is larger than the 3 training tasks of family"):
        Family(tasks_of([3]), HELD_OUT).sample(4, np.random.default_rng(0))


def test_draw_balanced_gives_all_when_there_are_fewer() -> None:
    tasks = tasks_of([2, 1])
    assert sorted(draw_balanced(tasks, 10, np.random.default_rng(0)), key=str) == sorted(tasks, key=str)


def test_splits_must_not_overlap_or_be_empty() -> None:
    tasks = tasks_of([3])
    with pytest.raises(UserError, match="1 tasks are both in training and in test"):
        Family(tasks, [tasks[1]])
    with pytest.raises(UserError, match="at least one"):
        Family(tasks, [])


def test_a_family_with_nothing_to_hold_out_says_so() -> None:
    tasks = tasks_of([2])
    family = Family(tasks, tasks, held_out=False)
    assert family.train_tasks == family.test_tasks
    assert not family.held_out
    assert Family(tasks, HELD_OUT).held_out
    with pytest.raises(UserError, match="at least one"):
        Family([], tasks)


def test_fingerprint_tells_splits_and_order() -> None:
    tasks = tasks_of([3])
    prints = {
        Family(tasks[:2], tasks[2:]).fingerprint,
        Family(tasks[:1], tasks[1:]).fingerprint,
        Family(tasks[1::-1], tasks[2:]).fingerprint,
    }
    assert len(prints) == 3
    assert Family(tasks[:2], tasks[2:]).fingerprint in prints


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(None, [None, None]), (7, [7, 8]), ([3, None], [3, None])],
)
def test_seeds_are_spread_over_environments(seed: Any, expected: Any) -> None:
    env = NavigationVectorEnv(2, horizon=1)
    env.set_tasks([Task("navigation", [0.0, 0.1])] * 2)
    assert env._seed_each(seed) == expected


def test_a_wrong_number_of_seeds_tasks_or_actions_is_refused() -> None:
    env = NavigationVectorEnv(2, horizon=5)
    task = Task("navigation", [0.0, 0.1])
    with pytest.raises(UserError, match="call set_tasks before reset"):
        env.reset()
    with pytest.raises(UserError, match="got 3 for 2"):
        env.set_tasks([task] * 3)
    env.set_tasks([task] * 2)
    with pytest.raises(UserError, match="got 1 for 2"):
        env.reset(seed=[1])
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(2, 2\), not \(2,\)"):
        env.step(np.zeros(2))


def test_unknown_suggests_the_nearest_or_lists_all() -> None:
    assert str(unknown("fruit", "aple", ["apple", "pear"])) == "unknown fruit 'aple'; did you mean 'apple'?"
    assert str(unknown("fruit", "xyz", ["pear", "apple"])) == "unknown fruit 'xyz'; known: apple, pear"
