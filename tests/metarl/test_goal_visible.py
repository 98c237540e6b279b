"""Training with visible goals, and what a policy trained so is refused on."""

from pathlib import Path
from typing import Any

import metaworld
import pytest

import metarl
from metarl.config import RunConfig
from metarl.evaluation.protocol import evaluate
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl.training import Training
from metarl_envs.errors import UserError

TASKS: list[dict[str, Any]] = [
    {"kind": "navigation", "num_train_tasks": 4, "num_test_tasks": 2, "horizon": 3},
    {"kind": "bandit", "num_train_tasks": 4, "num_test_tasks": 2},
    {"kind": "tabular", "num_train_tasks": 4, "num_test_tasks": 2},
    {"kind": "locomotion", "family": "HalfCheetahVel", "num_train_tasks": 4, "num_test_tasks": 2, "horizon": 3},
    {"kind": "metaworld", "benchmark": "ML1", "task": "reach-v3", "horizon": 3},
    {"kind": "registered", "id": "navigation", "options": {"num_train_tasks": 4, "num_test_tasks": 2}},
]


def make_config(**tasks: Any) -> RunConfig:
    algorithm = {"kind": "maml", "meta_batch": 2, "episodes": 2, "hidden_sizes": [4]}
    evaluation = {"every": 0, "adaptation_episodes": [0], "tasks_per_name": None}
    settings = {"iterations": 1, "threads": 1, "device": "cpu", "algorithm": algorithm, "evaluation": evaluation}
    return RunConfig.model_validate(settings | {"tasks": tasks if "kind" in tasks else {**TASKS[0], **tasks}})


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run in which goals were hidden."""
    path = tmp_path_factory.mktemp("runs") / "hidden"
    with Training.start(make_config(), path) as training:
        list(training)
    return RunDirectory.open(path)


@pytest.mark.parametrize("tasks", TASKS, ids=lambda tasks: tasks["kind"])
def test_every_kind_of_tasks_can_be_shown(tasks, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metaworld, "_N_GOALS", 2)
    plain, shown = (make_config(**{**tasks, "goal_visible": visible}).tasks.build() for visible in (False, True))
    assert plain.train_tasks == shown.train_tasks
    assert plain.fingerprint != shown.fingerprint
    assert (plain.shown, bool(shown.shown)) == ("", True)


def test_a_policy_trains_on_what_it_is_shown(tmp_path: Path) -> None:
    with Training.start(make_config(goal_visible=True), tmp_path / "run") as training:
        list(training)
    agent = metarl.load(tmp_path / "run")
    assert agent.observation_size == 4
    family = make_config(goal_visible=True).tasks.build()
    assert evaluate(agent, family, family.test_tasks, adaptation_episodes=[0], episodes=1, seed=0).distribution == (
        "navigation-goal-visible"
    )


def test_a_checkpoint_of_hidden_goals_is_refused_where_they_are_visible(hidden: RunDirectory) -> None:
    config = make_config(goal_visible=True)
    message = r"was trained on other tasks than navigation-goal-visible as configured \(fingerprint \w+, not \w+\)$"
    with pytest.raises(UserError, match=message):
        load_agent(hidden.checkpoint("last"), config, config.tasks.build())


def test_an_agent_of_hidden_goals_is_not_evaluated_where_they_are_visible(hidden: RunDirectory) -> None:
    family = make_config(goal_visible=True).tasks.build()
    message = (
        r"^the agent was trained on navigation, whose observations show no goal; those of navigation-goal-visible show"
        r" the task parameters$"
    )
    with pytest.raises(UserError, match=message):
        evaluate(metarl.load(hidden.path), family, family.test_tasks, adaptation_episodes=[0], episodes=1, seed=0)


def test_a_multi_task_benchmark_is_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metaworld, "_N_GOALS", 2)
    tasks = {"kind": "metaworld", "benchmark": "MT1", "task": "reach-v3", "use_one_hot": True}
    family = make_config(**tasks).tasks.build()
    assert (family.name, family.held_out, family.observation_space.shape) == ("MT1-reach-v3", False, (40,))
