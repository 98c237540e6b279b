"""Which tasks are shown: by gain, spread over the task space, or as the user names them."""

import numpy as np
import pytest
from gains import stored_gains
from hypothesis import given
from hypothesis import strategies as st

from metarl.evaluation.stored import StoredEvaluation
from metarl.viewing.choice import pick_tasks, spread_tasks, telling_tasks
from metarl_envs.core import Task
from metarl_envs.errors import UserError


def stored(gains: list[float], ks: tuple[int, ...] = (0, 1, 10)) -> StoredEvaluation:
    return stored_gains([Task("a", [float(number)]) for number in range(len(gains))], gains, ks)


def test_tasks_near_the_percentiles_of_gain() -> None:
    # 21 tasks, gains 0 to 20 in mixed order: the 10th percentile is a gain of 2, the 50th 10, the 90th 18.
    gains = np.random.default_rng(0).permutation(21).astype(float).tolist()
    told = telling_tasks(stored(gains), 3)
    assert [label for label, _ in told] == [f"{p}th percentile of gain" for p in (10, 50, 90)]
    assert [gains[index] for _, index in told] == [2, 10, 18]
    ((label, index),) = telling_tasks(stored(gains), 1)
    assert (label, gains[index]) == ("50th percentile of gain", 10)
    some = [index for index, gain in enumerate(gains) if gain >= 10]
    assert [gains[index] for _, index in telling_tasks(stored(gains), 3, some)] == [11, 15, 19]


@given(count=st.integers(1, 12), tasks=st.integers(1, 12), seed=st.integers(0, 99))
def test_tasks_are_different_ones_in_order_of_gain(count, tasks, seed) -> None:
    gains = np.random.default_rng(seed).integers(0, 4, tasks).astype(float).tolist()
    indices = [index for _, index in telling_tasks(stored(gains), count)]
    assert len(set(indices)) == len(indices) == min(count, tasks)
    assert [gains[index] for index in indices] == sorted(gains[index] for index in indices)


@pytest.mark.parametrize("ks", [(0,), (1, 10)])
def test_without_a_gain_there_is_nothing_to_tell(ks) -> None:
    with pytest.raises(UserError, match="from an evaluation of k = 0 and another k"):
        telling_tasks(stored([1.0], ks), 1)


def test_tasks_are_spread_over_names_and_within_them() -> None:
    # Along the first parameter, 0 to 10; the second spans a thousandth of it, but counts as much.
    corners = [Task("a", [x, y]) for x in (0.0, 10.0) for y in (0.0, 0.01)]
    middle = [Task("a", [5.0, 0.005]), Task("a", [5.0, 0.004])]
    other = [Task("b", [1.0])]
    tasks = [corners[0], *middle, *corners[1:], *other]
    assert spread_tasks(tasks, 3) == [corners[0], other[0], corners[3]]
    assert set(spread_tasks(tasks, 5)) == {*corners, *other}
    assert set(spread_tasks(tasks, 99)) == set(tasks)
    with pytest.raises(UserError, match="number of tasks must be at least 1: got 0"):
        spread_tasks(tasks, 0)


def test_tasks_by_index_id_and_name() -> None:
    a, b = ([Task(name, [float(number)]) for number in range(3)] for name in "ab")
    tasks = [*a, *b]
    assert pick_tasks(tasks, ["4", a[2].id, a[0].id[:8], "4"]) == ([b[1], a[2], a[0]], [])
    assert pick_tasks(tasks, ["b", "0"]) == ([a[0]], b)


@pytest.mark.parametrize("wrong", ["6", "-1", "c", "", "abcdef"])
def test_an_unknown_task_is_told_with_what_there_is(wrong) -> None:
    tasks = [Task(name, [float(number)]) for number in range(3) for name in "ab"]
    with pytest.raises(UserError, match=f"no held-out task '{wrong}': give an index from 0 to 5, an id .*: a, b$"):
        pick_tasks(tasks, [wrong])
