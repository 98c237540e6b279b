"""How often a training evaluates: within its share, at both ends, and the same after an interruption."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metarl.config import EvaluationConfig, RunConfig, load_config
from metarl.devices import resolve_device
from metarl.evaluation.result import Evaluation
from metarl.evaluation.schedule import count_episodes, evaluation_interval
from metarl.evaluation.tasks import select_tasks
from metarl.preset_files import preset_path
from metarl.progress import describe
from metarl.training import Training

# 4 tasks in at most 4 environments, k = 0 and 1, one episode each: 4 * (1 + 2) = 12 episodes of 5 steps, 60 steps.
# An iteration: 2 tasks, 3 episodes before and 3 after the inner step, 5 steps: 60 steps.
SETTINGS: dict[str, Any] = {
    "iterations": 12,
    "device": "cpu",
    "threads": 1,
    "tasks": {"kind": "navigation", "num_train_tasks": 5, "num_test_tasks": 4, "horizon": 5},
    "algorithm": {"kind": "maml", "meta_batch": 2, "episodes": 3, "parallel_episodes": 3, "hidden_sizes": [4]},
    "evaluation": {"adaptation_episodes": [0, 1], "share": 0.5},
    "checkpoint": {"every": 1},
}


def lines(run: Path) -> list[dict[str, Any]]:
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in logged]


def evaluated(run: Path) -> list[int]:
    return [line["iteration"] for line in lines(run) if "eval/env_steps" in line]


def test_episodes_of_an_evaluation_by_hand() -> None:
    assert count_episodes(50, 50, (0, 10), 1) == 600
    assert count_episodes(50, 20, (0, 10), 1) == 720  # the third batch is filled up with ten more
    assert count_episodes(3, 3, (0, 1, 3, 10), 3) == 3 * (3 + 4 + 6 + 13)


def test_intervals_by_hand() -> None:
    # ML10: 100 iterations of 200,000 steps; a tenth pays for 6 evaluations of 300,000: at 0, 20, 40, 60, 80 and 100
    assert evaluation_interval(0.1, 100, Fraction(200_000), 300_000) == 20
    assert evaluation_interval(0.1, 100, Fraction(200_000), 2_000_000) == 100  # only one is paid for: both ends
    assert evaluation_interval(0.1, 100, Fraction(200_000), 1) == 5  # 20 after the first are enough
    assert evaluation_interval(0.1, 3, Fraction(10), 1) == 2  # three: at 0, 2 and 3


@example(share=0.1, iterations=100, steps=30, cost=50)
@given(
    share=st.floats(0.001, 1),
    iterations=st.integers(1, 500),
    steps=st.integers(1, 10_000),
    cost=st.integers(1, 100_000),
)
def test_evaluations_cost_no_more_than_their_share(share: float, iterations: int, steps: int, cost: int) -> None:
    interval = evaluation_interval(share, iterations, Fraction(steps), cost)
    assert 1 <= interval <= iterations
    count = 1 + len({*range(interval, iterations + 1, interval), iterations})
    assert count <= 21
    assert count == 2 or count * cost <= Fraction(str(share)) * iterations * steps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    with Training.start(RunConfig.model_validate(SETTINGS), path) as training:
        list(training)
    return path


def test_a_training_is_evaluated_before_at_even_distances_and_at_its_end(run: Path) -> None:
    # half of 12 * 60 steps pays for 6 evaluations: at 0, 3, 6, 9, 12
    assert evaluated(run) == [-1, 2, 5, 8, 11]
    first, *others = lines(run)
    assert [line["iteration"] for line in others] == list(range(12))
    assert first.keys() - {"iteration", "env_steps"} == {name for name in others[2] if name.startswith("eval/")}
    assert first["env_steps"] == 0
    assert others[0]["env_steps"] == 60  # of training alone
    assert first["eval/env_steps"] == others[11]["eval/env_steps"] == 60


def test_an_interrupted_training_is_evaluated_when_an_uninterrupted_one_would_be(run: Path, tmp_path: Path) -> None:
    with Training.start(RunConfig.model_validate(SETTINGS), tmp_path / "parts") as training:
        for iteration in training:
            if iteration.iteration == 4:
                training.stop()
    with Training.resume(tmp_path / "parts") as training:
        assert training.evaluate_untrained() is None
        list(training)
    assert lines(tmp_path / "parts") == lines(run)


def test_a_training_killed_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    with Training.start(RunConfig.model_validate(SETTINGS), tmp_path / "run") as training:
        first = training.evaluate_untrained()
        assert isinstance(first, Evaluation)
        assert first is not None
        assert first.env_steps == 60
        assert training.evaluate_untrained() is None
    before = lines(tmp_path / "run")
    assert len(before) == 1
    with Training.resume(tmp_path / "run") as training:
        next(training)
    assert lines(tmp_path / "run")[:-1] == before


@pytest.mark.parametrize(("every", "expected"), [(0, []), (5, [-1, 4, 5])])
def test_every_takes_the_place_of_the_share(tmp_path: Path, every: int, expected: list[int]) -> None:
    evaluation = SETTINGS["evaluation"] | {"every": every}
    config = RunConfig.model_validate(SETTINGS | {"iterations": 6, "evaluation": evaluation})
    with Training.start(config, tmp_path / "run") as training:
        found = [iteration.evaluation is not None for iteration in training]
    assert evaluated(tmp_path / "run") == expected
    assert [number for number, due in enumerate(found) if due] == [number for number in expected if number >= 0]


def test_a_training_too_short_for_its_share_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = RunConfig.model_validate(SETTINGS | {"iterations": 3, "evaluation": {"adaptation_episodes": [0, 1]}})
    with Training.start(config, tmp_path / "run") as training:
        list(training)
    # 2 * 60 steps of 3 * 60
    (message,) = [record.getMessage() for record in caplog.records]
    assert "so short a training costs 67 % of its steps, above evaluation.share" in message
    assert evaluated(tmp_path / "run") == [-1, 2]


@pytest.mark.parametrize("share", [0, -0.1, 1.5, "much"])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    with pytest.raises(ValueError, match="share"):
        EvaluationConfig.model_validate({"share": share})


# One preset of each way to count; the cost of the others differs in numbers only.
@pytest.mark.parametrize("name", ["demo", "bandit-maml", "tabular-rl2", "halfcheetah-dir-maml", "navigation-rl2"])
def test_presets_evaluate_within_a_tenth(name: str) -> None:
    config = load_config(preset_path(name))
    distribution = config.tasks.build()
    algorithm = config.algorithm.build(distribution, resolve_device("cpu"))
    settings = config.evaluation
    held_out = len(select_tasks(distribution.test_tasks, settings.tasks_per_name, or_all=True))
    episodes = count_episodes(
        held_out, min(algorithm.num_envs, held_out), settings.adaptation_episodes, settings.episodes
    )
    plays = config.algorithm.inner.steps + 1 if config.algorithm.kind == "maml" else 1  # type: ignore[attr-defined]
    trained = config.algorithm.meta_batch * config.algorithm.episodes * plays  # type: ignore[attr-defined]
    interval = evaluation_interval(settings.share, config.iterations, Fraction(trained), episodes)
    assert settings.every is None
    assert (1 + math.ceil(config.iterations / interval)) * episodes <= 0.1 * config.iterations * trained


def make_evaluation(success: list[list[float]], returns: list[list[float]], ks: tuple[int, ...]) -> Evaluation:
    """An evaluation of two tasks, one episode each: `[k][task]`."""
    solved = np.array(success, dtype=bool)[..., None]
    return Evaluation(
        distribution="d",
        held_out=True,
        horizon=5,
        task_names=("a", "a"),
        task_ids=("1", "2"),
        adaptation_episodes=ks,
        adaptation_steps=1,
        seed=0,
        success=solved,
        success_last=solved,
        returns=np.array(returns, dtype=float)[..., None],
    )


def test_an_evaluation_is_one_line() -> None:
    found = describe(make_evaluation([[0, 0], [1, 0]], [[10, 20], [15, 25]], (0, 10)))
    assert found == "held-out: k=0 0 % -> k=10 50 %; return 15.0 -> 20.0, gain +5.0 [+5.0, +5.0]"
    assert describe(make_evaluation([[1, 1]], [[1, 2]], (3,))) == "held-out: k=3 100 %; return 1.5"
