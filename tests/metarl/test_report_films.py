"""Films of a report: which tasks they show, what is written under them, and what is said where there are none."""

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest
from reported_runs import HALF, TASKS, make_run, store
from rich.progress import Progress

from metarl.errors import RunFailure
from metarl.reporting import films
from metarl.reporting.films import make_films
from metarl.reporting.material import gather
from metarl.viewing.worker import Film
from metarl_envs.errors import UserError

GAINS = HALF.returns[1, :, 0] - HALF.returns[0, :, 0]


@pytest.fixture
def filmed(monkeypatch: pytest.MonkeyPatch) -> list[Film]:
    """The films asked for, each of which holds its label."""
    asked: list[Film] = []

    def film(run, checkpoint: Path, wanted: Sequence[Film], shot, processes: int, advance) -> None:
        assert shot.adaptation_episodes == 10
        assert checkpoint.parent == run.checkpoints
        for each in wanted:
            Path(each.path).write_bytes(each.label.encode())
        asked.extend(wanted)

    monkeypatch.setattr(films, "film_in_processes", film)
    return asked


def make_runs(folder: Path, count: int) -> list[Path]:
    """Runs that differ in their settings, and so in more than their seed."""
    paths = []
    for number in range(count):
        run = make_run(folder / f"run{number}", tasks=TASKS.model_copy(update={"num_train_tasks": 3 + number}))
        store(run, HALF)
        (run.checkpoints / "000000000100").mkdir()
        paths.append(run.path)
    return paths


def test_tasks_of_a_poor_a_middling_and_a_good_gain_are_shown(filmed, tmp_path) -> None:
    made, problems = make_films(gather(make_runs(tmp_path, 1), lambda run: None), Progress())
    assert not problems
    assert [film.title for film in made] == [f"{n}th percentile of gain" for n in (10, 50, 90)]
    tasks = TASKS.build().test_tasks
    shown = [HALF.task_ids.index(tasks[film.task].id) for film in filmed]
    assert [GAINS[index] for index in shown] == [-1, 1, 3]  # of -1, 0, 1, 2, 3, 4
    assert made[0].caption == (
        f"navigation, task {HALF.task_ids[5][:6]}. Evaluated: return 10.0 before, 9.0 after (-1.0);"
        " success 0 % before, 0 % after."
    )
    assert base64.b64decode(made[0].data) == b"10th percentile of gain"


def test_all_policies_are_filmed_on_the_tasks_of_the_first(filmed, tmp_path) -> None:
    made, problems = make_films(gather(make_runs(tmp_path, 3), lambda run: None), Progress())
    assert not problems
    assert len(made) == 6
    assert made[0].title == "run0: 10th percentile of gain"
    assert made[2].title == "run1: 10th percentile of run0's gain"
    assert [film.task for film in filmed[:2]] == [film.task for film in filmed[2:4]]


@pytest.mark.parametrize("error", [UserError("nothing draws here"), RunFailure("the disk is full")])
def test_a_report_without_films_says_why(error: Exception, tmp_path, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(films, "film_in_processes", fail)
    made, problems = make_films(gather(make_runs(tmp_path, 1), lambda run: None), Progress())
    assert made == []
    assert problems == [f"No films of run0: {error}."]


def test_a_film_that_is_too_large_is_left_out_and_named(filmed, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(films, "_MOST_BYTES", len("10th percentile of gain") - 1)
    made, problems = make_films(gather(make_runs(tmp_path, 1), lambda run: None), Progress())
    assert made == []
    assert problems[0] == "The film of the task at the 10th percentile of gain was left out: it has 23 bytes."


def test_a_checkpoint_that_has_gone_is_named(filmed, tmp_path) -> None:
    [path] = make_runs(tmp_path, 1)
    (path / "checkpoints" / "000000000100").rmdir()
    made, [problem] = make_films(gather([path], lambda run: None), Progress())
    assert made == []
    assert "no checkpoint at 100" in problem
