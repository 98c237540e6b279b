import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
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


# Two tasks a and b: twice Student's width, 2 t_1(97.5 %) |a - b| / 2, as half of the resamples have no spread.
WIDER = 2 * 12.7062
TWO = evaluation(["a-v3", "a-v3"], [[[-1, 1], [0, 0]], [[100, 300], [400, 600]]])


def test_summaries_by_hand() -> None:
    before, after = TWO.overall
    # Clopper and Pearson's of 1/2 of 2, 2 of 2 and 0 of 2: beta quantiles, 0.025^(1/2), and 1 - 0.025^(1/2)
    low, high = scipy.stats.beta.ppf([0.025, 0.975], [0.5, 1.5], [2.5, 1.5])
    assert before.success == pytest.approx((0.25, low, high))
    assert after.success == pytest.approx((1, 0.025**0.5, 1))
    assert after.success_last == pytest.approx((0, 0, 1 - 0.025**0.5))
    assert before.returns == pytest.approx((0, 0, 0))
    assert after.returns == pytest.approx((350, 350 - 150 * WIDER, 350 + 150 * WIDER), rel=1e-5)
    assert after.return_gain == after.returns
    assert after.success_gain == pytest.approx((0.75, -1, 1))
    assert before.return_gain is before.success_gain is None
    assert TWO.per_name == {"a-v3": TWO.overall}
    assert [each.mean for each in TWO.iqm] == pytest.approx([0, 350])


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
        "Success = solved at any step. IQM = middle half. [95% interval over tasks]",
        "k success % return its IQM gain in return over k = 0",
        "0 25 [0, 94] 0 [0, 0] 0",
        "10 100 [16, 100] 350 [-3462, 4162] 350 +350 [-3462, +4162]",
        "Adapting on 10 episodes changes return by +350 (95% interval -3462 to +4162):",
        "too few tasks to tell.",
        "Adapting on 10 episodes changes success by +75.0 points (95% interval -100.0 to",
        "+100.0): too few tasks to tell.",
    ]


def test_several_names_come_with_every_k_and_an_overall_table() -> None:
    ks = (0, 1, 3, 10)
    names = ["button-press-topdown-wall-v3", "button-press-topdown-wall-v3", "b", "b"]
    lines = rendered(evaluation(names, [[[1000 * k], [5000], [k], [k]] for k in ks], ks=ks))
    assert "button-press-topdown-wall-v3 0 50 [1, 99] 2500 [-61031, 66031]" in lines
    assert "b 0 0 [0, 84] 0 [0, 0]" in lines
    assert sum(line.split()[0] in "13" for line in lines) == 6  # twice per name, twice overall
    assert "All names, each with the same weight:" in lines


def test_many_names_show_the_first_and_the_last_k_only() -> None:
    names = [f"task-{index}" for index in range(11) for _ in range(2)]
    lines = rendered(evaluation(names, [[[k]] * 22 for k in (0, 1, 10)], ks=(0, 1, 10)))
    for index in range(11):
        start = lines.index(f"task-{index} 0 0 [0, 84] 0.0 [0.0, 0.0]")
        assert lines[start + 1] == "10 100 [16, 100] 10.0 [10.0, 10.0]"
    assert "1 100 [85, 100] 1.0 [1.0, 1.0] 1.0 +1.0 [+1.0, +1.0]" in lines  # overall, every k is shown


@pytest.mark.parametrize(
    ("gains", "sentence"),
    [
        ([1.4, 1.6] * 6, r"raises return by \+1\.50 \(95% interval \+1\.4\d to \+1\.5\d\): excludes zero\."),
        ([-1, 3] * 3, r"changes return by \+1\.00 \(95% interval -1\.\d\d to \+3\.\d\d\): does not exclude zero\."),
        ([-42, -38] * 5, r"lowers return by -40\.0 \(95% interval -4\d\.\d to -38\.\d\): excludes zero\."),
        ([0] * 6, r"changes return by \+0\.00 \(95% interval \+0\.00 to \+0\.00\): does not exclude zero\."),
        ([-0.001] * 6, r"lowers return by \+0\.00 \(95% interval \+0\.00 to \+0\.00\): excludes zero\."),
        ([1234] * 6, r"raises return by \+1234 \(95% interval \+1234 to \+1234\): excludes zero\."),
        ([1234] * 5, r"changes return by \+1234 \(95% interval \+1234 to \+1234\): too few tasks to tell\."),
    ],
)
def test_conclusions_say_whether_zero_is_excluded(gains, sentence) -> None:
    returns = np.array([np.zeros(len(gains)), gains])[:, :, None]
    found = evaluation(["a"] * len(gains), returns, ks=(0, 1))
    assert re.fullmatch(f"Adapting on 1 episode {sentence}", conclusions(found)[0])


def test_at_the_ceiling_success_cannot_rise() -> None:
    found = evaluation(["a"] * 6, [[[1]] * 6, [[2]] * 6])
    assert conclusions(found)[1] == "At the ceiling: every episode is solved without adapting, so success cannot rise."


def test_controls_have_rows_of_their_own() -> None:
    random = evaluation(["a"] * 6, [[[-3]] * 6, [[-3]] * 6, [[-3]] * 6], ks=(0, 1, 10))
    expert = evaluation(["a"] * 6, [[[500]] * 6], ks=(0,))
    file = io.StringIO()
    Console(file=file, width=80).print(evaluation_table(TWO, {"random": random, "expert": expert}))
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    start = lines.index("Controls, on the same tasks:")
    assert [line for line in lines[start + 1 :] if line.strip(" ─")][:4] == [
        "control k success % return gain in return",
        "random 0 0 [0, 46] -3 [-3, -3]",
        "10 0 [0, 46] -3 [-3, -3] +0 [+0, +0]",
        "expert 0 100 [54, 100] 500 [500, 500]",
    ]


def test_without_zero_shot_there_is_no_conclusion() -> None:
    found = evaluation(["a", "a"], [[[1], [2]], [[3], [4]]], ks=(1, 3))
    assert conclusions(found) == []
    assert all(summary.return_gain is None for summary in found.overall)
    assert rendered(found)[-1] == "3 100 [16, 100] 3.5 [-9.2, 16.2] 3.5"


@pytest.mark.parametrize("name", ["[red]goal[/red]", "goal [1]", "[/]", ":smile:", "über-v3", "[link=x]", "\\[x"])
def test_a_name_is_printed_as_it_is(name) -> None:
    lines = rendered(evaluation([name, name, "b", "b"], np.zeros((2, 4, 1))))
    assert f"{name} 0 0 [0, 84] 0.00 [0.00, 0.00]" in lines


def test_a_long_name_is_printed_whole() -> None:
    lines = rendered(evaluation(["x" * 70, "b"], np.zeros((2, 2, 1))))
    assert sum(line.count("x") for line in lines) == 70


def test_a_single_task_proves_nothing() -> None:
    found = evaluation(["a", "a", "b"], [[[0]] * 3, [[5]] * 3])
    assert "b 0 0 [0, 98] 0.00" in rendered(found)  # a share has an interval, a return has none
    (sentence,) = conclusions(found)
    assert sentence == "With a single task of a name there is no interval to tell a gain from chance."


def test_training_tasks_are_not_passed_off_as_held_out() -> None:
    assert rendered(evaluation(["a"], [[[0]]], ks=[0], held_out=False))[0] == (
        "ML: 1 not held-out task, 1 episode each after k adaptation episodes."
    )


def test_what_tasks_are_played_as() -> None:
    after = np.array([[1.0, 1, -1], [-1, -1, 1], [1, 1, 1], [1, 1, 1], [-1, -1, -1]])
    named = (("x",) * 5, ("door", "drawer", "door", "sweep", "sweep"))
    found = replace(evaluation(["a", "a", "a", "b", "b"], [after * 0, after]), acted_as=named)
    assert found.solved_as() == {"a": {"door": (2, 2), "drawer": (1, 0)}, "b": {"sweep": (2, 1)}}
    lines = rendered(found)
    start = lines.index("Played as, after 10 episodes:")
    assert lines[start + 1 : start + 5] == ["task played as tasks solved", "a door 2 2", "drawer 1 0", "b sweep 2 1"]
    back = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back.acted_as == named
    assert evaluation(["a"], [[[0]]], ks=[0]).solved_as() == {"a": {}}
