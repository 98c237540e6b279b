"""Search spaces: what they reach, and that a mistake in one is told before anything is played."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import FixedTrial

from metarl.algorithms.maml.config import MAMLConfig, ProMPConfig
from metarl.config import RunConfig, ValidationTasks, load_config
from metarl.preset_files import find_search_space, preset_path
from metarl.tuning.dimensions import dump_dimensions, read_dimensions, validate_dimensions
from metarl.tuning.settings import StudySettings, default_hold_out
from metarl.tuning.space import Space
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation
from metarl_envs.validation import Validation
from metarl_envs.wrapping import VisibleTasks

PRESET = RunConfig.model_validate(
    {
        "iterations": 2,
        "device": "cpu",
        "tasks": {"kind": "navigation", "num_train_tasks": 20, "num_test_tasks": 3, "horizon": 4},
        "algorithm": {"kind": "maml", "meta_batch": 2, "episodes": 2, "hidden_sizes": [4]},
        "evaluation": {"adaptation_episodes": [0, 2]},
    }
)
STRATEGIES = """
algorithm.inner.lr: {low: 0.01, high: 1, log: true, steps: 3}
learner:
  options:
    trpo:
      set: {algorithm.outer: {kind: trpo}}
      search:
        algorithm.outer.max_kl: {low: 0.01, high: 0.03, steps: 3}
        inner rule: {options: {maml: {}, anil: {set: {algorithm.inner.adapted: head}}}}
    promp:
      set: {algorithm.outer: {kind: promp}, algorithm.inner.estimator: likelihood_ratio}
      search: {algorithm.outer.epochs: {low: 1, high: 4, steps: 4}}
"""
RL2 = """
learner:
  options:
    maml: {search: {algorithm.inner.lr: {low: 0.01, high: 1, log: true}}}
    rl2:
      set: {algorithm: {kind: rl2, meta_batch: 2, episodes: 2, core: {kind: gru, hidden_size: 4}}}
      search: {algorithm.core.hidden_size: {values: [4, 8]}, algorithm.chunk: {values: [null, 2]}}
"""


def space(text: str, preset: RunConfig = PRESET) -> Space:
    return Space(preset, validate_dimensions(yaml.safe_load(text), "space.yaml"), "space.yaml", preset.tasks.build())


def test_conditional_fields_belong_to_their_option() -> None:
    chosen = space(STRATEGIES).suggest(
        FixedTrial({"algorithm.inner.lr": 0.5, "learner": "promp", "promp/algorithm.outer.epochs": 3})
    )
    assert isinstance(chosen.algorithm, MAMLConfig)
    assert isinstance(chosen.algorithm.outer, ProMPConfig)
    assert (chosen.algorithm.outer.epochs, chosen.algorithm.inner.lr) == (3, 0.5)
    assert chosen.algorithm.inner.estimator == "likelihood_ratio"
    assert chosen.algorithm.hidden_sizes == (4,)  # what is not searched is the preset's


def test_the_whole_algorithm_may_be_chosen() -> None:
    labels = {"learner": "rl2", "rl2/algorithm.core.hidden_size": "8", "rl2/algorithm.chunk": "null"}
    algorithm = space(RL2).config_of(labels).algorithm.model_dump()
    assert (algorithm["kind"], algorithm["core"]["hidden_size"], algorithm["chunk"]) == ("rl2", 8, None)
    maml = space(RL2).config_of({"learner": "maml", "maml/algorithm.inner.lr": 0.2}).algorithm
    assert isinstance(maml, MAMLConfig)
    assert maml.inner.lr == 0.2


def test_what_a_trial_is_told_makes_the_same_configuration_again() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    both = space(STRATEGIES)
    rules = set()
    for _ in range(20):
        trial = study.ask()
        assert both.suggest(trial) == both.config_of(json.loads(json.dumps(trial.params)))
        rules.add(trial.params["learner"])
    assert rules == {"trpo", "promp"}


def test_ranges_of_whole_fields_are_whole_and_others_are_not() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    text = "{algorithm.meta_batch: {low: 1, high: 4}, algorithm.inner.lr: {low: 1, high: 2}}"
    drawn = [space(text).suggest(study.ask()).algorithm for _ in range(30)]
    assert {algorithm.meta_batch for algorithm in drawn} == {1, 2, 3, 4}
    assert all(isinstance(each, MAMLConfig) and 1 <= each.inner.lr <= 2 for each in drawn)
    assert len({each.inner.lr for each in drawn if isinstance(each, MAMLConfig)}) == 30


def test_a_grid_has_every_combination_once() -> None:
    # 3 step sizes x (3 bounds x 2 inner rules + 4 epochs) = 30
    grid = space(STRATEGIES).grid()
    assert len(grid) == len({json.dumps(point, sort_keys=True) for point in grid}) == 30
    steps = sorted({point["algorithm.inner.lr"] for point in grid})
    assert steps == pytest.approx([0.01, 0.1, 1.0])
    assert {point["promp/algorithm.outer.epochs"] for point in grid if point["learner"] == "promp"} == {1, 2, 3, 4}
    assert all("trpo/algorithm.outer.max_kl" not in point for point in grid if point["learner"] == "promp")


def test_a_space_is_read_back_from_json() -> None:
    dimensions = validate_dimensions(yaml.safe_load(STRATEGIES), "")
    assert validate_dimensions(json.loads(json.dumps(dump_dimensions(dimensions))), "") == dimensions


def test_the_shipped_space_fits_its_preset() -> None:
    path = find_search_space(Path("navigation"))
    config = load_config(preset_path("navigation-maml"))
    shipped = Space(config, read_dimensions(path), str(path), config.tasks.build())
    # 5 x 4 x (4 bounds x 4 inner rules + 4 x 4 + 4)
    assert len(shipped.grid()) == 720


BAD = [
    ("{}", "an empty search space"),
    ("3", "top level: expected "),
    ("{algorithm.inner.lrr: {low: 0.1, high: 1}}", "algorithm.inner.lrr: unknown field 'lrr'; did you mean 'lr'?"),
    ("{algoritm.inner.lr: {low: 0.1, high: 1}}", "unknown section in algoritm.inner.lr: 'algoritm'; did you mean"),
    ("{algorithm.inner.lr: {low: 0.1, hihg: 1}}", "algorithm.inner.lr.hihg: unknown field 'hihg'; did you mean"),
    ("{algorithm.inner.lr: {low: 0.1}}", "algorithm.inner.lr.high: required, but missing"),
    ("{algorithm.inner.lr: [0.1, 1]}", "expected {low: ..., high: ...}, {values: [...]} or {options: {...}}"),
    ("{algorithm.inner.lr: {low: 1, high: 1}}", "an empty range: low must be below high, got 1 and 1"),
    ("{algorithm.inner.lr: {low: 0, high: 1, log: true}}", "algorithm.inner.lr: low must be above 0 where log is true"),
    ("{algorithm.inner.lr: {low: 0.1, high: 5000}}", "inner.lr: expected less than or equal to 1000, got 5000"),
    ("{algorithm.inner.lr: {low: 0, high: 1}}", "algorithm.inner.lr: expected greater than 0, got 0"),
    ("{algorithm.inner.lr: {low: 0.1, high: .inf}}", "inner.lr.high: expected a valid integer or a finite number"),
    ("{algorithm.meta_batch: {low: 1.5, high: 4}}", "algorithm.meta_batch: expected a valid integer, got 1.5"),
    ("{algorithm.activation: {low: 0.1, high: 1}}", "algorithm.activation: expected 'tanh' or 'relu', got 0.1"),
    ("{algorithm.activation: {values: [tanh, rleu]}}", "algorithm.activation: expected 'tanh' or 'relu', got 'rleu'"),
    ("{algorithm.activation: {values: []}}", "algorithm.activation.values: "),
    ("{algorithm.activation: {values: [tanh, tanh]}}", "a value is in it twice"),
    ("{algorithm.outer: {low: 0.1, high: 1}}", "algorithm.outer: expected a mapping of fields, got 0.1"),
    ("{rule: {options: {}}}", "rule.options: "),
    ("{rule: {options: {a/b: {}}}}", "a name of an option has neither slashes nor only spaces: got 'a/b'"),
    ("{rule: {options: {a: {sets: {}}}}}", "rule.options.a.sets: unknown field 'sets'; did you mean 'set'?"),
    ("{rule: {options: {promp: {set: {algorithm.outer: {kind: promp}}}}}}", "algorithm.outer.kind: promp needs"),
    (
        "{rule: {options: {promp: {set: {algorithm.outer: {kind: prmp}}}}}}",
        "rule = promp: algorithm.outer.kind: expected 'trpo' or 'ppo' or 'promp'",
    ),
    (
        "{algorithm.inner.lr: {values: [1]}, learner: {options: {b: {set: {algorithm: {kind: rl2, meta_batch: 2}}}}}}",
        "learner = b: unknown section in algorithm.inner.lr: 'inner'",
    ),
    (
        "{algorithm.outer.lr: {low: 0.1, high: 1}, rule: {options: {a: {set: {algorithm.outer.lr: 1}}}}}",
        "algorithm.outer.lr: set twice",
    ),
    ("{tasks.num_test_tasks: {values: [1]}}", "tasks.num_test_tasks: a search cannot vary tasks, evaluation, seed or"),
    ("{all: {options: {a: {set: {tasks: {kind: bandit}}}}}}", "tasks: a search cannot vary tasks"),
    ("{evaluation.episodes: {low: 1, high: 9}}", "evaluation.episodes: a search cannot vary"),
    ("{large: {options: {a: {set: {algorithm.meta_batch: 21}}}}}", "large = a: meta-batch of 21 is larger than the 20"),
    ("{seed: {low: 1, high: 9}}", "seed: a search cannot vary"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_space_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(text)
    line = str(caught.value)
    assert line.startswith("space.yaml")
    assert message in line
    assert "\n" not in line


def test_a_grid_needs_steps_and_an_end() -> None:
    with pytest.raises(UserError, match=r"algorithm\.inner\.lr: a grid needs the number of steps"):
        space("{algorithm.inner.lr: {low: 0.1, high: 1}}").grid()
    many = {
        f"algorithm.{name}": {"low": 0.1, "high": 0.9, "steps": 100} for name in ("discount", "gae_lambda", "min_std")
    }
    with pytest.raises(UserError, match="a grid of 1000000 settings"):
        space(yaml.safe_dump(many)).grid()


def settings(preset: RunConfig, asked: str | None = None) -> ValidationTasks:
    by, count = default_hold_out(preset.tasks, asked)
    fields: dict[str, Any] = {"preset": {}, "space": {}, "sampler": "random", "pruner": "off", "metric": "return"}
    held = StudySettings(**fields, adaptation_episodes=1, hold_out=by, count=count, seed=1, keep=1)
    return held.tasks(preset)


def preset_with(**tasks: Any) -> RunConfig:
    return RunConfig.model_validate({"iterations": 1, "tasks": tasks, "algorithm": {"kind": "maml"}})


@pytest.mark.parametrize(
    ("tasks", "asked", "by", "aside", "left"),
    [
        ({"kind": "navigation"}, None, "tasks", 40, 960),
        ({"kind": "navigation", "num_train_tasks": 20}, None, "tasks", 4, 16),
        ({"kind": "bandit", "num_train_tasks": 9}, "tasks=3", "tasks", 3, 6),
        ({"kind": "tabular", "num_train_tasks": 9}, "tasks=3", "tasks", 3, 6),
        ({"kind": "locomotion", "family": "AntDir", "num_train_tasks": 9}, None, "tasks", 2, 7),
        ({"kind": "metaworld", "benchmark": "ML1", "task": "reach-v3"}, None, "tasks", 10, 40),
        ({"kind": "metaworld", "benchmark": "ML10"}, None, "classes", 100, 400),
        ({"kind": "metaworld", "benchmark": "ML10"}, "tasks=5", "tasks", 50, 450),
        ({"kind": "metaworld", "benchmark": "ML10"}, "classes=3", "classes", 150, 350),
        ({"kind": "registered", "id": "navigation", "options": {"num_train_tasks": 10}}, None, "tasks", 2, 8),
    ],
)
def test_every_family_has_training_tasks_put_aside(
    tasks: dict[str, Any], asked: str | None, by: str, aside: int, left: int
) -> None:
    config = preset_with(**tasks)
    held = settings(config, asked)
    family, split = config.tasks.build(), held.build()
    assert held.by == by
    assert (len(split.test_tasks), len(split.train_tasks)) == (aside, left)
    assert {*split.train_tasks, *split.test_tasks} == set(family.train_tasks)
    assert not {*split.train_tasks, *split.test_tasks} & set(family.test_tasks)
    shared = {task.name for task in split.train_tasks} & {task.name for task in split.test_tasks}
    assert bool(shared) == (by == "tasks")
    assert split.fingerprint not in (family.fingerprint, settings(config, "tasks=1").build().fingerprint)
    assert split.fingerprint == held.build().fingerprint


@pytest.mark.parametrize(
    ("tasks", "asked", "message"),
    [
        ({"kind": "navigation"}, "goals", "--hold-out: expected tasks, classes, tasks=N or classes=N, got 'goals'"),
        ({"kind": "navigation"}, "tasks=0", "--hold-out: expected"),
        ({"kind": "navigation"}, "classes=1", "has 1 classes of training tasks, so that 1 put aside leave none"),
        ({"kind": "navigation", "num_train_tasks": 5}, "tasks=5", "put aside at most 4"),
        ({"kind": "locomotion", "family": "HalfCheetahDir"}, None, "its test tasks are its training tasks"),
        ({"kind": "metaworld", "benchmark": "MT10"}, None, "its test tasks are its training tasks"),
        ({"kind": "validation", "of": {"kind": "navigation"}, "count": 3}, None, "what a search sets itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_put_aside_is_told(tasks: dict[str, Any], asked: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(preset_with(**tasks), asked).build()


def test_a_family_with_a_sample_of_its_own_draws_no_task_put_aside() -> None:
    """Families that show their tasks pass `sample` on; the split must not."""
    split = Validation(VisibleTasks(Navigation(num_train_tasks=10)), "tasks", 5)
    assert set(split.sample(5, np.random.default_rng(1))) == set(split.train_tasks)
    assert split.shown == "task parameters"
    with pytest.raises(UserError, match="larger than the 5 training tasks"):
        split.sample(6, np.random.default_rng(1))
