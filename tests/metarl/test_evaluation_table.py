import io
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from metarl.evaluation import Evaluation
from metarl.evaluation.table import conclusions, evaluation_table


def evaluation(
    names: Sequence[str], returns: npt.ArrayLike, ks: Sequence[int] = (0, 10), held_out: bool = True
) -> Evaluation:
    """An evaluation with the returns `[k][task][episode]`; an episode is solved where its return is positive."""
    earned = np.array(returns, dtype=float)
    success = earned > 0
    ids = tuple(f"id{task}" for task in range(len(names)))
    return Evaluation("ML", held_out, 500, tuple(names), ids, tuple(ks), 1, 3, success, success & False, earned)


def rendered(found: Evaluation) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=80, no_color=True)
    console.print(evaluation_table(found))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    return [" ".join(line.split()) for line in lines if line.strip(" ─")]


# For two tasks a bootstrap spans from the one to the other. It is widened by sqrt(n / (n - 1)) = sqrt(2), and by the
# 97.5 % quantile of Student's t with one degree of freedom over that of the normal distribution.
WIDER = 2**0.5 * 12.7062 / 1.95996
TWO = evaluation(["a-v3", "a-v3"], [[[-1, 1], [0, 0]], [[100, 300], [400, 600]]])


def test_summaries_by_hand() -> None:
    before, after = TWO.overall
    assert before.success == pytest.approx((0.25, 0, 1))  # 0.25 - 0.25 WIDER and 0.25 + 0.25 WIDER, as far as shares go
    # Wilson's intervals of 2 of 2 and 0 of 2: n / (n + z^2) to 1, and 0 to z^2 / (n + z^2)
    assert after.success == pytest.approx((1, 2 / (2 + 1.95996**2), 1), rel=1e-5)
    assert after.success_last == pytest.approx((0, 0, 1.95996**2 / (2 + 1.95996**2)), rel=1e-5)
    assert before.returns == pytest.approx((0, 0, 0))
    assert after.returns == pytest.approx((350, 350 - 150 * WIDER, 350 + 150 * WIDER), rel=1e-5)
    assert after.return_gain == after.returns
    assert after.success_gain == pytest.approx((0.75, -1, 1))
    assert before.return_gain is before.success_gain is None
    assert TWO.per_name == {"a-v3": TWO.overall}


def test_gain_is_paired_by_task() -> None:
    returns = np.array([[[-500.0]] * 5 + [[700.0]] * 5, [[-497.0]] * 5 + [[703.0]] * 5])
    gain = evaluation(["a"] * 10, returns).overall[1].return_gain
    assert gain == pytest.approx((3, 3, 3))


def test_intervals_follow_from_the_seed() -> None:
    returns = np.random.default_rng(0).normal(size=(1, 30, 1))
    first, again = (evaluation(["a"] * 30, returns, ks=[0]) for _ in range(2))
    assert first.overall == again.overall
    assert replace(first, seed=first.seed + 1).overall != first.overall


def test_names_weigh_the_same() -> None:
    found = evaluation(["a", "a", "a", "b"], [[[0]] * 3 + [[1]]], ks=[0])
    assert found.overall[0].returns.mean == 0.5
    assert [rows[0].returns.mean for rows in found.per_name.values()] == [0, 1]


def test_to_dict_is_plain_json_with_every_number() -> None:
    found = json.loads(json.dumps(TWO.to_dict(), allow_nan=False))
    assert found["tasks"][0] == {
        "name": "a-v3",
        "id": "id0",
        "success": [[False, True], [True, True]],
        "success_last": [[False, False], [False, False]],
        "return": [[-1, 1], [100, 300]],
    }
    assert found["tasks"][1]["success"] == [[False, False], [True, True]]
    assert found["tasks"][1]["return"] == [[0, 0], [400, 600]]
    assert found["overall"][1]["return_gain"] == pytest.approx(
        {"mean": 350, "low": 350 - 150 * WIDER, "high": 350 + 150 * WIDER}, rel=1e-5
    )
    assert found["overall"] == found["per_name"]["a-v3"]
    assert "return_gain" not in found["overall"][0]
    assert found["held_out"] is True
    assert found["protocol"]["seed"] == 3
    assert found["protocol"]["adaptation_episodes"] == [0, 10]
    assert found["protocol"]["episodes_per_task"] == 2


def test_one_name_is_one_compact_table() -> None:
    assert rendered(TWO) == [
        "ML: 2 held-out tasks, 2 episodes each after k adaptation episodes.",
        "Success = solved at any step. [95% bootstrap interval over tasks]",
        "k success % return gain in return over k = 0",
        "0 25 [0, 100] 0 [0, 0]",
        "10 100 [34, 100] 350 [-1025, 1725] +350 [-1025, +1725]",
        "Adapting on 10 episodes raises return by +350 (95% interval -1025 to +1725):",
        "does not exclude zero.",
        "Adapting on 10 episodes raises success by +75.0 points (95% interval -100.0 to",
        "+100.0): does not exclude zero.",
    ]


def test_several_names_come_with_every_k_and_an_overall_table() -> None:
    ks = (0, 1, 3, 10)
    names = ["button-press-topdown-wall-v3", "button-press-topdown-wall-v3", "b", "b"]
    lines = rendered(evaluation(names, [[[1000 * k], [5000], [k], [k]] for k in ks], ks=ks))
    assert "button-press-topdown-wall-v3 0 50 [0, 100] 2500 [-20420, 25420]" in lines
    assert "b 0 0 [0, 66] 0 [0, 0]" in lines
    assert sum(line.split()[0] in "13" for line in lines) == 6  # twice per name, twice overall
    assert "All names, each with the same weight:" in lines


def test_many_names_show_the_first_and_the_last_k_only() -> None:
    names = [f"task-{index}" for index in range(11) for _ in range(2)]
    lines = rendered(evaluation(names, [[[k]] * 22 for k in (0, 1, 10)], ks=(0, 1, 10)))
    for index in range(11):
        start = lines.index(f"task-{index} 0 0 [0, 66] 0.0 [0.0, 0.0]")
        assert lines[start + 1] == "10 100 [34, 100] 10.0 [10.0, 10.0]"
    assert "1 100 [85, 100] 1.0 [1.0, 1.0] +1.0 [+1.0, +1.0]" in lines  # overall, every k is shown


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ([[1.4], [1.6]], "raises return by +1.50 (95% interval +0.58 to +2.42): excludes zero."),
        ([[-1], [3]], "raises return by +1.0 (95% interval -17.3 to +19.3): does not exclude zero."),
        ([[-42], [-38]], "changes return by -40.0 (95% interval -58.3 to -21.7): excludes zero."),
        ([[0], [0]], "changes return by +0.00 (95% interval +0.00 to +0.00): does not exclude zero."),
        ([[-0.001], [-0.001]], "changes return by +0.00 (95% interval +0.00 to +0.00): excludes zero."),
        ([[1234], [1234]], "raises return by +1234 (95% interval +1234 to +1234): excludes zero."),
    ],
)
def test_conclusions_say_whether_zero_is_excluded(after, sentence) -> None:
    found = evaluation(["a", "a"], [[[0], [0]], after], ks=(0, 1))
    assert conclusions(found)[0] == f"Adapting on 1 episode {sentence}"


def test_without_zero_shot_there_is_no_conclusion() -> None:
    found = evaluation(["a", "a"], [[[1], [2]], [[3], [4]]], ks=(1, 3))
    assert conclusions(found) == []
    assert all(summary.return_gain is None for summary in found.overall)
    assert rendered(found)[-1] == "3 100 [34, 100] 3.50 [-1.08, 8.08]"


@pytest.mark.parametrize("name", ["[red]goal[/red]", "goal [1]", "[/]", ":smile:", "über-v3", "[link=x]", "\\[x"])
def test_a_name_is_printed_as_it_is(name) -> None:
    lines = rendered(evaluation([name, name, "b", "b"], np.zeros((2, 4, 1))))
    assert f"{name} 0 0 [0, 66] 0.00 [0.00, 0.00]" in lines


def test_a_long_name_is_printed_whole() -> None:
    lines = rendered(evaluation(["x" * 70, "b"], np.zeros((2, 2, 1))))
    assert sum(line.count("x") for line in lines) == 70


def test_a_single_task_proves_nothing() -> None:
    (sentence,) = conclusions(evaluation(["a", "a", "b"], [[[0]] * 3, [[5]] * 3]))
    assert sentence == "With a single task of a name there is no interval to tell a gain from chance."


def test_training_tasks_are_not_passed_off_as_held_out() -> None:
    assert rendered(evaluation(["a"], [[[0]]], ks=[0], held_out=False))[0] == (
        "ML: 1 not held-out task, 1 episode each after k adaptation episodes."
    )
