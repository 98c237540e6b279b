import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.evaluation.comparison import describe
from metarl.evaluation.result import Evaluation
from metarl.evaluation.scratch import KIND, LearningCurve, _median, _order_statistics, read_curve, worth, write_curve
from metarl.evaluation.stored import write_result
from metarl_envs.errors import UserError

EPISODES = (0, 10, 20, 40)


def curve(returns: Any, success: Any = None, **changes: Any) -> LearningCurve:
    returns = np.array(returns, dtype=np.float64)
    solved = np.zeros_like(returns) if success is None else np.array(success, dtype=np.float64)
    fields: dict[str, Any] = {
        "learner": "ppo",
        "settings": {"gamma": 0.99},
        "distribution": "lanes",
        "task_names": ("lane",) * len(returns),
        "task_ids": tuple(f"{task:016x}" for task in range(len(returns))),
        "episodes": np.array(EPISODES, dtype=np.int64),
        "success": solved,
        "returns": returns,
        "horizon": 5,
        "seed": 1,
    }
    return LearningCurve(**fields | changes)


def evaluation(returns: Any, success: Any = None, ids: Any = None) -> Evaluation:
    """An evaluation with k = 0 and 3 and two episodes, whose returns at k = 3 are 1 below and above those given."""
    adapted = np.array(returns, dtype=np.float64)
    tasks = len(adapted)
    solved = np.zeros((2, tasks, 2), dtype=bool)
    if success is not None:
        solved[1] = np.array(success, dtype=bool)
    return Evaluation(
        distribution="lanes",
        held_out=True,
        horizon=5,
        task_names=("lane",) * tasks,
        task_ids=tuple(f"{task:016x}" for task in (range(tasks) if ids is None else ids)),
        adaptation_episodes=(0, 3),
        adaptation_steps=1,
        seed=1,
        success=solved,
        success_last=solved,
        returns=np.stack([np.full((tasks, 2), -100.0), np.stack([adapted - 1, adapted + 1], axis=1)]),
    )


def test_worth_of_hand_made_curves() -> None:
    """Reached at 20, at 10 although lost again, at the start, and never."""
    learned = curve([[0, 1, 5, 6], [0, 7, 3, 3], [4, 0, 0, 0], [0, 1, 2, 3]])
    found = worth(evaluation([5, 6, 2, 9]), learned, 3)
    assert (found.median, found.reached, found.tasks, found.budget) == (10, 3, 4, 40)
    assert (found.low, found.high, found.has_interval) == (0, math.inf, False)
    assert found.sentence() == (
        "Adaptation in 3 episodes is worth 10 episodes of PPO from scratch by return (median over 4 tasks, too few"
        " tasks for an interval; reached on 3 of 4 within 40)."
    )


def test_worth_where_most_tasks_are_never_reached() -> None:
    learned = curve([[0, 0, 9, 9]] * 3 + [[0, 0, 0, 0]] * 5)
    found = worth(evaluation([9] * 8), learned, 3)
    assert (found.median, found.low, found.high, found.reached) == (math.inf, 20, math.inf, 3)
    assert "worth more than 40 episodes of PPO" in found.sentence()
    assert "95% interval 20 to more than 40" in found.sentence()


def test_a_policy_that_is_worse_than_an_untrained_one_is_worth_nothing() -> None:
    found = worth(evaluation([-50] * 6), curve([[0, 1, 2, 3]] * 6), 3)
    assert (found.median, found.low, found.high, found.reached) == (0, 0, 0, 6)
    assert "is worth 0 episodes" in found.sentence()


def test_worth_by_success() -> None:
    """Solved half of the time at 10, always at 40; a policy that never solves its task is worth nothing."""
    learned = curve(np.zeros((3, 4)), [[0, 0.5, 0.5, 1]] * 3)
    solved = evaluation([0, 0, 0], [[1, 0], [1, 1], [0, 0]])
    found = worth(solved, learned, 3, "success")
    assert found.median == 10
    assert worth(evaluation([0] * 3, [[1, 1]] * 3), learned, 3, "success").median == 40
    assert "by success" in found.sentence()


def test_a_run_is_described_by_what_can_be_compared() -> None:
    learned = curve([[0, 1, 5, 6], [0, 7, 3, 3]], [[0, 0, 1, 1], [0, 0, 0, 0]])
    first, by_return, by_success = describe(learned, evaluation([5, 6], [[1, 1], [0, 0]]))
    assert first == "PPO from scratch, 40 episodes on each of 2 tasks: return 0 to 4.5, success 0% to 50%."
    assert "is worth 10 episodes of PPO from scratch by return" in by_return
    assert "is worth 0 episodes of PPO from scratch by success" in by_success
    *_, nothing = describe(learned, evaluation([5, 6]))
    assert nothing == "By success there is nothing to compare: the policy solves none of these tasks after 3."


def test_only_common_tasks_are_compared_and_by_their_identity() -> None:
    learned = curve([[0, 1, 1, 1], [0, 0, 0, 1]])  # tasks 0 and 1
    found = worth(evaluation([1, 1], ids=(7, 1)), learned, 3)
    assert (found.median, found.tasks) == (40, 1)
    with pytest.raises(UserError, match="have no task in common"):
        worth(evaluation([1, 1], ids=(7, 8)), learned, 3)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="k = 10 was not evaluated: known: 0, 3"):
        worth(evaluation([1]), curve([[0, 1, 1, 1]]), 10)
    with pytest.raises(UserError, match="episodes differ: 5 steps adapted, 6 from scratch"):
        worth(evaluation([1]), curve([[0, 1, 1, 1]], horizon=6), 3)


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(1, None), (5, None), (6, (0, 5)), (8, (0, 7)), (9, (1, 7)), (10, (1, 8)), (20, (5, 14)), (50, (17, 32))],
)
def test_ranks_of_the_interval_are_those_of_published_tables(count, ranks) -> None:
    assert _order_statistics(count) == ranks


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    """Of 20 values the interval covers in 95.9 % of cases, whatever their distribution, censored values included."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        values = rng.exponential(1.0, 20)
        values[values > 1.0] = math.inf  # P(X > 1) = 37 %
        _, low, high = _median(values)
        hits += low <= math.log(2) <= high
    assert hits / 2000 == pytest.approx(0.959, abs=0.015)


@given(st.lists(st.one_of(st.integers(0, 100), st.just(math.inf)), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_median_lies_in_its_interval_and_is_one_of_the_values(values) -> None:
    median, low, high = _median(np.array(values, dtype=np.float64))
    assert low <= median <= high
    assert median in values
    assert sum(value <= median for value in values) * 2 >= len(values)


def test_a_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = curve([[0, 1.5, 5, 6]], [[0, 0, 0.5, 1]])
    write_curve(tmp_path / "a.json", written)
    assert read_curve(tmp_path / "a.json").to_dict() == written.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": []}, "tasks: List should have at least 1 item"),
        ({"tasks": [{"name": "a", "id": "b", "success": [0], "return": [1]}]}, "task b must have 4 points"),
        ({"tasks": [{}]}, r"tasks\.0\.name: missing"),
        ({"horizon": None}, "horizon: Input should be a valid integer"),
        ({"episodes": [0, 10, 10, 40]}, "episodes must ascend"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, change, message) -> None:
    path = tmp_path / "a.json"
    write_result(path, KIND, curve([[0, 1, 2, 3]]).to_dict() | change)
    with pytest.raises(UserError, match=message) as caught:
        read_curve(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path) -> None:
    write_result(tmp_path / "a.json", "stress", {})
    with pytest.raises(UserError, match="is of the kind 'stress', not 'learning_curve'"):
        read_curve(tmp_path / "a.json")
