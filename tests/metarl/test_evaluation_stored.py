import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.algorithms.maml.config import MAMLConfig
from metarl.config import NavigationTasks, RunConfig
from metarl.evaluation import Evaluation
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.stored import (
    Origin,
    StoredEvaluation,
    file_name,
    read_evaluation,
    read_evaluations,
    write_evaluation,
    write_result,
)
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

CONFIG: dict[str, Any] = {
    "seed": 1,
    "tasks": {"kind": "navigation"},
    "algorithm": {"kind": "maml", "inner": {"lr": 0.1}},
}


def evaluation(returns: Any, ks: tuple[int, ...] = (0, 10), names: str = "aabb") -> Evaluation:
    """An evaluation with the returns `[k][task][episode]`; an episode is solved where its return is positive."""
    earned = np.array(returns, dtype=float)
    ids = tuple(f"id{task}" for task in range(len(names)))
    return Evaluation("ML", True, 500, tuple(names), ids, ks, 1, 3, earned > 0, earned > 5, earned, 2)


def origin(seed: int = 1, **changes: Any) -> Origin:
    made = Origin(
        run=f"runs/{seed}",
        checkpoint=f"runs/{seed}/checkpoints/1",
        iteration=7,
        env_steps=1200,
        split="test",
        tasks_per_name=None,
        control=None,
        training_seed=seed,
        task_fingerprint="f",
        versions={"numpy": "2"},
        config=CONFIG | {"seed": seed},
    )
    return replace(made, **changes)


FOUND = evaluation(np.random.default_rng(0).normal(size=(2, 4, 3)) * 10)


def same(one: Evaluation, other: Evaluation) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Evaluation))


def test_what_is_written_is_read_back(tmp_path) -> None:
    path = tmp_path / "e.json"
    stored = StoredEvaluation(FOUND, origin(control="random", tasks_per_name=2))
    write_evaluation(path, stored)
    found = read_evaluation(path)
    assert found.origin == stored.origin
    assert same(found.evaluation, FOUND)
    assert found.evaluation.overall == FOUND.overall
    write_evaluation(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_numbers_that_any_evaluation_may_have_are_read_back(tmp_path) -> None:
    large = replace(FOUND, seed=2**63, env_steps=3_250_000, divergences=2_000_000)
    write_evaluation(tmp_path / "e.json", StoredEvaluation(large, origin(training_seed=2**63, env_steps=90_000_000)))
    assert same(read_evaluation(tmp_path / "e.json").evaluation, large)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.floats(-1e100, 1e100))
def test_any_shape_is_read_back(ks: int, tasks: int, episodes: int, value: float) -> None:
    made = evaluation(np.full((ks, tasks, episodes), value), tuple(range(1, ks + 1)), "a" * tasks)
    assert same(Evaluation.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))), made)


def written(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    write_evaluation(path, StoredEvaluation(FOUND, origin()))
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(format=3), "has format 3, but this metarl reads 2 only: update metarl"),
        (lambda data: data.pop("format"), "has format 1, but this metarl reads 2 only: evaluate anew, and delete it"),
        (lambda data: data.update(format="new"), "has format new, but"),
        (lambda data: data.update(kind="stress"), "is of the kind 'stress', not 'evaluation'"),
        (lambda data: data.pop("kind"), "is damaged: it does not say of what kind it is"),
        (lambda data: data.pop("origin"), "is damaged: not an evaluation: origin: missing"),
        (lambda data: data["origin"].pop("env_steps"), "not an evaluation: origin.env_steps: missing"),
        (lambda data: data["origin"].update(env_steps="many"), "origin.env_steps: Input should be a valid integer"),
        (lambda data: data.pop("tasks"), "not an evaluation: tasks: missing"),
        (lambda data: data.update(tasks=[]), "tasks: List should have at least 1 item"),
        (lambda data: data["tasks"][1].pop("return"), "tasks.1.return: missing"),
        (lambda data: data["tasks"][1]["return"][0].pop(), "task id1 must have 2 rows of 3 episodes"),
        (lambda data: data["tasks"][2]["success"].pop(), "task id2 must have 2 rows of 3 episodes"),
        (lambda data: data["tasks"][2].update(acted_as=["a", "b"]), "task id2 must have 2 names in acted_as"),
        (lambda data: data["tasks"][0]["return"][0].__setitem__(0, None), "tasks.0.return.0.0: Input should be"),
        (lambda data: data["tasks"][0]["success"][0].__setitem__(0, 1), "tasks.0.success.0.0: Input should be"),
        (lambda data: data["protocol"].update(adaptation_episodes=[10, 0]), "adaptation_episodes must ascend"),
    ],
)
def test_what_is_not_an_evaluation_is_refused_in_one_line(tmp_path, change, message) -> None:
    path = written(tmp_path / "e.json", change)
    with pytest.raises(UserError) as caught:
        read_evaluation(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '"a"', "\0", '{"format": 2, "kind": "evaluation"'])
def test_what_is_not_json_is_refused(tmp_path, content) -> None:
    path = tmp_path / "e.json"
    path.write_text(content)
    with pytest.raises(UserError, match="is damaged: not a JSON object"):
        read_evaluation(path)
    with pytest.raises(UserError, match="no file"):
        read_evaluation(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot read"):
        read_evaluation(tmp_path)


def test_a_runs_evaluations_are_those_of_their_kind(tmp_path) -> None:
    run = RunDirectory.create(
        tmp_path / "run", RunConfig(iterations=1, tasks=NavigationTasks(), algorithm=MAMLConfig())
    )
    write_evaluation(run.evaluations / "b.json", StoredEvaluation(FOUND, origin(control="random")))
    write_evaluation(run.evaluations / "a.json", StoredEvaluation(FOUND, origin()))
    write_result(run.evaluations / "c.json", "stress", {"strengths": [1]})
    assert [each.origin.control for each in read_evaluations(run)] == [None, "random"]
    (run.evaluations / "d.json").write_text("{")
    with pytest.raises(UserError, match=r"d\.json is damaged"):
        read_evaluations(run)


def test_names_of_files_tell_settings_apart() -> None:
    protocol: dict[str, Any] = {"adaptation_episodes": [0, 10], "episodes": 3, "seed": 1, "actions": "likeliest"}
    name = file_name(origin(), **protocol)
    assert name.startswith("000000001200-policy-")
    assert file_name(origin(seed=2, run="elsewhere"), **protocol) == name
    assert file_name(origin(), **protocol | {"adaptation_episodes": (10, 0)}) == name
    others = {
        file_name(origin(), **protocol | {"seed": 2}),
        file_name(origin(), **protocol | {"actions": "sampled"}),
        file_name(origin(), **protocol | {"episodes": 1}),
        file_name(origin(split="train"), **protocol),
        file_name(origin(tasks_per_name=3), **protocol),
        file_name(origin(env_steps=1201), **protocol),
        file_name(origin(control="random"), **protocol),
    }
    assert len(others | {name}) == 8


def test_an_experiment_is_the_mean_over_seeds() -> None:
    returns = [np.arange(24.0).reshape(2, 4, 3), np.arange(24.0).reshape(2, 4, 3) + 10]
    experiment = Experiment.of(
        [StoredEvaluation(evaluation(returns[seed]), origin(seed)) for seed in (1, 0)]  # in any order
    )
    assert [each.training_seed for each in experiment.origins] == [0, 1]
    first, second = (summary.returns.mean for summary in experiment.overall)
    assert (first, second) == pytest.approx((5.5 + 5, 17.5 + 5))
    assert experiment.overall[1].return_gain is not None
    assert experiment.overall[1].return_gain.mean == pytest.approx(12)
    # of 8 pairs per k, means over episodes 1, 4, 7, 10 and 11, 14, 17, 20: the middle four are 7, 10, 11, 14
    assert experiment.iqm[0].mean == pytest.approx(10.5)
    assert [each.mean for each in experiment.profile(0, [0.0, 10.5, 30.0])] == pytest.approx([1, 0.5, 0])
    with pytest.raises(UserError, match="k = 3 was not played, only 0, 10"):
        experiment.profile(3, [0.0])


def test_an_experiment_of_one_run_is_its_evaluation() -> None:
    experiment = Experiment.of([StoredEvaluation(FOUND, origin())])
    assert experiment.overall == FOUND.overall
    assert experiment.per_name == FOUND.per_name
    assert experiment.iqm == FOUND.iqm


def test_experiments_are_compared_task_by_task() -> None:
    one, other = (Experiment.of([StoredEvaluation(FOUND, origin(config=CONFIG | {"algorithm": {}}))]) for _ in range(2))
    assert one.probability_of_improvement(other, 10).mean == 0.5
    on_others = Experiment.of([StoredEvaluation(FOUND, origin(task_fingerprint="g"))])
    with pytest.raises(UserError, match="cannot be compared: task_fingerprint is f and g"):
        one.probability_of_improvement(on_others, 10)


SLOWER = CONFIG | {"seed": 2, "algorithm": {"kind": "maml", "inner": {"lr": 0.2}}}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (StoredEvaluation(FOUND, origin(1)), "both were trained with seed 1"),
        (StoredEvaluation(FOUND, origin(2, config=SLOWER)), "algorithm.inner.lr is 0.1 and 0.2"),
        (StoredEvaluation(FOUND, origin(2, split="train")), "split is test and train"),
        (StoredEvaluation(FOUND, origin(2, control="random")), "control is None and random"),
        (StoredEvaluation(replace(FOUND, horizon=9), origin(2)), "horizon is 500 and 9"),
        (StoredEvaluation(replace(FOUND, task_ids=("x", "y", "z", "w")), origin(2)), "task_ids differs"),
        (
            StoredEvaluation(evaluation(np.zeros((2, 4, 3)), (0, 1)), origin(2)),
            r"adaptation_episodes is \[0, 10\] and \[0, 1\]",
        ),
        (StoredEvaluation(evaluation(np.zeros((2, 4, 1))), origin(2)), "episodes is 3 and 1"),
    ],
)
def test_runs_that_are_no_seeds_of_one_experiment_are_refused(other, message) -> None:
    with pytest.raises(UserError, match=f"cannot put runs/1 and runs/[12] together: {message}") as caught:
        Experiment.of([StoredEvaluation(FOUND, origin(1)), other])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="at least one"):
        Experiment.of([])


def test_an_origin_is_plain() -> None:
    assert json.loads(json.dumps(asdict(origin()))) == asdict(origin())
