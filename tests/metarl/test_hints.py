"""Hints after an evaluation without gain: each for its cause, and none where adaptation helps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.config import RunConfig
from metarl.evaluation.hints import hints, print_hints
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, StoredEvaluation, write_evaluation
from metarl.runs import RunDirectory
from metarl_envs.navigation import Navigation

TASKS = 8
NO_GAIN = [0.0] * TASKS
CONFIG = RunConfig.model_validate({"iterations": 100, "tasks": {"kind": "navigation"}, "algorithm": {"kind": "maml"}})


def make(gains: list[float], success: tuple[float, float] = (0.5, 0.5), ks: tuple[int, ...] = (0, 10)) -> Evaluation:
    """Two k of eight tasks, one episode each: returns of 1 to 8, and gains on top; a share of the tasks is solved."""
    before = np.arange(1.0, TASKS + 1)
    solved = np.array([np.arange(TASKS) < share * TASKS for share in success])[..., None]
    return Evaluation(
        distribution="d",
        held_out=True,
        horizon=5,
        task_names=("a",) * TASKS,
        task_ids=tuple(map(str, range(TASKS))),
        adaptation_episodes=ks,
        adaptation_steps=1,
        seed=0,
        success=solved,
        success_last=solved,
        returns=np.stack([before, before + gains])[..., None],
    )


def test_a_gain_needs_no_hints() -> None:
    assert hints(make([3.0, 4.0] * 4), config=CONFIG, iteration=1) == []
    assert hints(make(NO_GAIN, success=(0, 1)), config=CONFIG, iteration=1) == []


def test_nothing_to_compare_with_needs_none() -> None:
    assert hints(make(NO_GAIN, ks=(1, 10)), config=CONFIG, iteration=1) == []


def test_at_the_ceiling_that_is_all_there_is_to_say() -> None:
    (found,) = hints(make(NO_GAIN, success=(1, 1)), config=CONFIG, iteration=1)
    assert "solved before any adaptation" in found


def test_one_episode_leaves_no_memory_to_choose() -> None:
    settings = {"iterations": 100, "tasks": {"kind": "navigation"}, "algorithm": {"kind": "rl2", "keeps": "best"}}
    config = RunConfig.model_validate(settings)
    (found,) = hints(make(NO_GAIN, ks=(0, 1)), config=config, iteration=1)
    assert "2 or more" in found
    assert "2 or more" not in hints(make(NO_GAIN), config=config, iteration=1)[0]


@pytest.mark.parametrize(
    ("gains", "success", "known", "expected"),
    [
        (NO_GAIN, (0.5, 0.5), {}, []),
        (NO_GAIN, (0.5, 0.5), {"config": CONFIG, "iteration": 100}, []),
        (NO_GAIN, (0.5, 0.5), {"config": CONFIG, "iteration": 7}, ["7 of 100 iterations; go on with: "]),
        (NO_GAIN, (0, 0), {}, ["No episode was solved"]),
        (NO_GAIN, (0, 0), {"config": CONFIG, "iteration": 7}, ["7 of 100", "No episode was solved"]),
        (NO_GAIN, (0.5, 0.5), {"distribution": Navigation()}, []),
        ([9.0, *[-1.0] * 7], (0.5, 0.5), {}, ["up by 0.25, which may be chance: more than 8 tasks"]),
        ([-3.0, -4.0] * 4, (0.5, 0.5), {"config": CONFIG}, ["lower algorithm.inner.lr"]),
        ([-3.0, -4.0] * 4, (0.5, 0.5), {}, ["has not learned to explore"]),
    ],
)
def test_each_cause_has_its_hint(
    gains: list[float], success: tuple[float, float], known: dict[str, Any], expected: list[str]
) -> None:
    found = hints(make(gains, success), **known)
    assert len(found) == len(expected)
    for hint, part in zip(found, expected, strict=True):
        assert part in hint


def test_a_task_that_may_be_seen() -> None:
    visible = Navigation()
    visible.task_visible = True
    (found,) = hints(make(NO_GAIN), distribution=visible)
    assert "task_visible" in found


def test_a_memory_that_is_not_used() -> None:
    worse = replace(make(NO_GAIN), returns=make(NO_GAIN).returns - np.array([2.0, 3.0] * 4)[:, None])
    assert hints(make(NO_GAIN), held=worse) == []
    (found,) = hints(make(NO_GAIN), held=make(NO_GAIN))
    assert "With its memory held" in found


ORIGIN = Origin(
    run="runs/a",
    checkpoint="c",
    iteration=7,
    env_steps=70,
    split="test",
    tasks_per_name=None,
    control=None,
    training_seed=1,
    task_fingerprint="",
    versions={},
)


def test_what_is_printed_knows_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    evaluation = make(NO_GAIN)
    (run.evaluations / "000000000070-state-held-0.json").write_text("damaged")
    other = StoredEvaluation(replace(evaluation, seed=4), replace(ORIGIN, control="state-held"))
    write_evaluation(run.evaluations / "000000000070-state-held-1.json", other)
    print_hints(StoredEvaluation(evaluation, ORIGIN), run, Navigation())
    assert capsys.readouterr().out == (
        "No adaptation for certain. Try this:\n"
        "- The policy has trained for 7 of 100 iterations; go on with: metarl train --resume runs/a.\n"
    )

    held = StoredEvaluation(evaluation, replace(ORIGIN, control="state-held"))
    write_evaluation(run.evaluations / "000000000070-state-held-2.json", held)
    print_hints(StoredEvaluation(evaluation, ORIGIN), run, Navigation())
    assert "\n- With its memory held" in capsys.readouterr().out

    print_hints(held, run, Navigation())
    print_hints(StoredEvaluation(make([3.0, 4.0] * 4), ORIGIN), run, Navigation())
    assert capsys.readouterr().out == ""
