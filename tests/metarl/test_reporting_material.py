"""What a report is made of: which evaluation counts, which runs are seeds of one experiment, what is refused."""

import json

import numpy as np
import pytest
from reported_runs import HALF, TASKS, evaluation, make_run, store

from metarl.reporting.learning import read_metrics
from metarl.reporting.material import gather
from metarl_envs.errors import UserError

BETTER = evaluation(HALF.returns[..., 0] + 2, HALF.success[..., 0])


def never(run) -> None:
    raise AssertionError(f"{run.path} has been evaluated")


def test_the_evaluation_of_the_latest_checkpoint_counts(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    store(run, BETTER, env_steps=50)
    store(run, HALF, env_steps=200)
    store(run, evaluation([[1.0]], [[0]], ks=[0]), env_steps=200, name="fewer")
    store(run, BETTER, control="random")
    store(run, BETTER, control="shuffled", env_steps=50)  # of an earlier checkpoint
    [policy] = gather([run.path], never)
    assert policy.stored[0].origin.env_steps == 200
    assert policy.returns.tolist() == HALF.returns[..., 0].tolist()
    assert list(policy.controls) == ["random"]
    assert policy.label == "run"


def test_seeds_are_put_together_and_other_settings_are_not(tmp_path) -> None:
    for name, seed, result in (("reach-1", 1, HALF), ("reach-2", 2, BETTER)):
        store(make_run(tmp_path / name, seed), result)
    other = make_run(tmp_path / "other", 1, TASKS.model_copy(update={"num_train_tasks": 3}))
    store(other, HALF)
    both, alone = gather([tmp_path / name for name in ("reach-1", "other", "reach-2")], never)
    assert (both.label, alone.label) == ("reach (2 seeds)", "other")
    np.testing.assert_allclose(both.returns, HALF.returns[..., 0] + 1)
    assert both.result.overall[1].returns.mean == pytest.approx(HALF.returns[1].mean() + 1)


def test_two_runs_of_one_seed_are_not_two_seeds(tmp_path) -> None:
    for name, seed in (("a-1", 1), ("a-2", 2), ("again", 1)):
        store(make_run(tmp_path / name, seed), HALF)
    policies = gather([tmp_path / name for name in ("a-1", "again", "a-2")], never)
    assert [policy.label for policy in policies] == ["a (2 seeds)", "again"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path) -> None:
    for folder, horizon in (("a", 8), ("b", 9)):
        run = make_run(tmp_path / folder / "run", tasks=TASKS.model_copy(update={"horizon": horizon}))
        store(run, HALF)
    policies = gather([tmp_path / folder / "run" for folder in "ab"], never)
    assert [policy.label for policy in policies] == ["a/run", "b/run"]


def test_a_run_without_an_evaluation_is_evaluated(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    store(run, BETTER, control="random")
    [policy] = gather([run.path], lambda run: store(run, HALF))
    assert policy.evaluation.returns.tolist() == HALF.returns.tolist()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            evaluation(HALF.returns[:, :3, 0], HALF.success[:, :3, 0]),
            "other tasks, 6 of navigation and 3 of navigation",
        ),
        (
            evaluation(HALF.returns[..., 0], HALF.success[..., 0], ks=[0, 5]),
            r"adaptation_episodes \(0, 10\) and \(0, 5\)",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(other, message: str, tmp_path) -> None:
    store(make_run(tmp_path / "a"), HALF)
    store(make_run(tmp_path / "b", 2), other)
    with pytest.raises(UserError, match=f"a and .*b cannot be compared: .*{message}"):
        gather([tmp_path / "a", tmp_path / "b"], never)


def test_one_run_twice_is_refused(tmp_path) -> None:
    store(make_run(tmp_path / "a"), HALF)
    with pytest.raises(UserError, match="is given more than once"):
        gather([tmp_path / "a", tmp_path / "." / "a"], never)


def test_metrics_are_read_back(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    assert read_metrics(run) == {}
    run.log({"a": 1.0, "b": float("nan")}, iteration=0, env_steps=10)
    run.log({"a": 2.0}, iteration=1, env_steps=20)
    run.close()
    path = run.path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"iteration": 2, "env_st')  # a training that is writing
    metrics = read_metrics(run)
    assert list(metrics) == ["a"]
    steps, values = metrics["a"]
    assert (steps.tolist(), values.tolist()) == ([10, 20], [1, 2])


@pytest.mark.parametrize("line", ["nonsense", json.dumps({"a": 1}), "[]"])
def test_damaged_metrics_are_refused(line: str, tmp_path) -> None:
    run = make_run(tmp_path / "run")
    (run.path / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(UserError, match="line 1 is not one of metrics"):
        read_metrics(run)
