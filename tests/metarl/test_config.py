import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from metarl.algorithms.maml.config import (
    InnerConfig,
    MAMLConfig,
    MAMLLinearBaselineConfig,
    MAMLPPOConfig,
    MAMLTRPOConfig,
    MAMLValueBaselineConfig,
    ProMPConfig,
    ReptileConfig,
    VPGConfig,
)
from metarl.algorithms.rl2.config import RL2Config
from metarl.config import (
    BanditTasks,
    CheckpointConfig,
    EvaluationConfig,
    LocomotionTasks,
    MetaWorldTasks,
    NavigationTasks,
    RegisteredTasks,
    RunConfig,
    TabularTasks,
    dump_config,
    load_config,
    override_config,
    parse_overrides,
)
from metarl.policies.config import GRUConfig
from metarl_envs.errors import UserError

MINIMAL = """
iterations: 5
tasks: {kind: navigation}
algorithm: {kind: maml}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_file(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write_file


def complaint(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


positive = st.integers(1, 10**6)
widths = st.lists(st.integers(1, 10_000), max_size=3).map(tuple)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    [
        "1e-4",
        "1.5",
        "None",
        "\x85",
        "é",
        "yes",
        "null",
        "~",
        "2024-01-01",
        "0x1f",
        "1:30",
        "-",
        "[",
        ".inf",
        "{a: 1}",
        "<<",
        "=",
    ]
)
numbers = st.floats(1e-300, 1000)
tasks = st.one_of(
    st.builds(
        MetaWorldTasks,
        benchmark=st.sampled_from(["ML1", "ML10", "ML25", "ML45", "custom"]),
        task=st.none() | text,
        train=st.lists(text, max_size=3).map(tuple),
        horizon=st.integers(1, 500),
        seed=st.integers(0, 2**63),
    ),
    st.builds(
        LocomotionTasks,
        family=st.sampled_from(["HalfCheetahDir", "AntGoal", "Walker2dRandParams"]),
        num_train_tasks=st.none() | positive,
        horizon=st.none() | positive,
    ),
    st.builds(NavigationTasks, num_train_tasks=positive, horizon=positive),
    st.builds(BanditTasks, arms=st.integers(2, 50)),
    st.builds(TabularTasks, states=st.integers(2, 20), horizon=positive),
    st.builds(
        RegisteredTasks,
        id=text,
        options=st.dictionaries(
            text,
            st.recursive(
                st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text | st.none(),
                lambda values: st.lists(values, max_size=3) | st.dictionaries(text, values, max_size=3),
                max_leaves=5,
            ),
        ),
    ),
)
algorithms = st.one_of(
    st.builds(
        MAMLConfig,
        meta_batch=positive,
        inner=st.builds(InnerConfig, steps=st.integers(1, 1000), lr=numbers, adapted=st.sampled_from(["all", "head"])),
        outer=st.sampled_from(
            [MAMLTRPOConfig(max_kl=0.02), MAMLPPOConfig(), ProMPConfig(), VPGConfig(), ReptileConfig()]
        ),
        baseline=st.sampled_from([MAMLLinearBaselineConfig(), MAMLValueBaselineConfig(hidden_sizes=(8,))]),
        hidden_sizes=widths,
        activation=st.sampled_from(["tanh", "relu"]),
    ),
    st.builds(RL2Config, meta_batch=positive, discount=st.floats(0, 1)),
)
configs = st.builds(
    RunConfig,
    seed=st.integers(0, 2**63),
    device=st.sampled_from(["auto", "cpu", "cuda"]),
    threads=st.none() | st.integers(1, 1024),
    iterations=positive,
    tasks=tasks,
    algorithm=algorithms,
    evaluation=st.builds(
        EvaluationConfig,
        share=st.floats(0.01, 1),
        every=st.none() | st.integers(0, 9),
        adaptation_episodes=st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True).map(tuple),
        tasks_per_name=st.none() | positive,
    ),
    checkpoint=st.builds(CheckpointConfig, every=positive, keep_last=positive),
)


@settings(deadline=None)
@given(config=configs)
def test_a_dumped_config_loads_back_equal(tmp_path_factory, config) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    loaded = load_config(path)
    assert loaded == config
    assert repr(loaded) == repr(config)  # 1 and 1.0 and true are equal in Python, but not the same option


def test_what_is_left_out_has_its_default(write) -> None:
    config = load_config(write(MINIMAL))
    assert config == RunConfig(iterations=5, tasks=NavigationTasks(), algorithm=MAMLConfig())
    assert (config.seed, config.device, config.threads) == (1, "auto", None)
    assert config.evaluation == EvaluationConfig(
        share=0.1, every=None, adaptation_episodes=(0, 10), episodes=1, tasks_per_name=10
    )
    assert config.checkpoint == CheckpointConfig(every=10, keep_last=2)


@pytest.mark.parametrize(("written", "value"), [("1e-4", 1e-4), ("1E5", 1e5), ("-.5e+1", -5.0), ("2.e3", 2000.0)])
def test_numbers_in_scientific_notation(write, written, value) -> None:
    path = write(
        f"iterations: 1\ntasks: {{kind: registered, id: x, options: {{y: {written}}}}}\nalgorithm: {{kind: rl2}}"
    )
    tasks = load_config(path).tasks
    assert isinstance(tasks, RegisteredTasks)
    assert tasks.options == {"y": value}


def test_words_with_an_e_stay_words(write) -> None:
    path = write(
        "iterations: 1\ntasks: {kind: registered, id: 1e, options: {a: e5, b: 1e5x, c: '1e5'}}\nalgorithm: {kind: rl2}"
    )
    assert load_config(path).tasks == RegisteredTasks(id="1e", options={"a": "e5", "b": "1e5x", "c": "1e5"})


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        NavigationTasks().horizon = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("iteratons: 3", "iteratons: unknown field 'iteratons'; did you mean 'iterations'?"),
        ("iterations: '3'", "iterations: expected a valid integer, got '3'"),
        ("iterations: 3.0", "iterations: expected a valid integer, got 3.0"),
        ("iterations: true", "iterations: expected a valid integer, got True"),
        ("iterations: 0", "iterations: expected greater than 0, got 0"),
        ("iterations:", "iterations: expected a valid integer, got None"),
        ("device: cuad", "device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', got 'cuad'; did you mean 'cuda'?"),
        ("tasks: {}", "tasks.kind: required, but missing"),
        ("tasks: 3", "tasks: expected a mapping of fields, got 3"),
        (
            "tasks: {kind: navgation}",
            "tasks.kind: expected 'metaworld' or 'locomotion' or 'navigation' or 'bandit' or 'tabular' or "
            "'registered' or 'demonstrations' or 'validation', got 'navgation'; did you mean 'navigation'?",
        ),
        (
            "tasks: {kind: metaworld, benchmark: ML11}",
            "tasks.benchmark: expected 'ML1', 'ML10', 'ML25', 'ML45', 'custom', 'MT1', 'MT10', 'MT25' or 'MT50', "
            "got 'ML11'; did you mean 'ML1'?",
        ),
        ("tasks: {kind: metaworld}", "tasks.benchmark: required, but missing"),
        (
            "tasks: {kind: locomotion, family: AntGaol}",
            "tasks.family: expected 'HalfCheetahDir', 'HalfCheetahVel', 'AntDir', 'AntGoal', 'HumanoidDir', "
            "'Walker2dVel', 'HopperRandParams' or 'Walker2dRandParams', got 'AntGaol'; did you mean 'AntGoal'?",
        ),
        (
            "tasks: {kind: metaworld, benchmark: ML10, horizon: 501}",
            "tasks.horizon: expected less than or equal to 500, got 501",
        ),
        ("tasks: {kind: metaworld, benchmark: ML10, train: x}", "tasks.train: expected a list, got 'x'"),
        ("tasks: {kind: metaworld, benchmark: ML10, train: [x, 3]}", "tasks.train.1: expected a valid string, got 3"),
        ("tasks: {kind: registered, id: x, options: 3}", "tasks.options: expected a mapping of fields, got 3"),
        (
            "algorithm: {kind: mamll}",
            "algorithm.kind: expected 'gradient' or 'imitation' or 'maml' or 'matching' or 'prototypical' or"
            " 'rl2' or 'siamese' or 'skills', got 'mamll'; did you mean 'maml'?",
        ),
        (
            "algorithm: {kind: maml, iner: {lr: 0.1}}",
            "algorithm.iner: unknown field 'iner'; did you mean 'inner'?",
        ),
        (
            "algorithm: {kind: maml, inner_lr: 0.1}",
            "algorithm.inner_lr: unknown field 'inner_lr'; did you mean 'inner'?",
        ),
        ("algorithm: {kind: maml, inner: {steps: 0}}", "algorithm.inner.steps: expected greater than 0, got 0"),
        (
            "algorithm: {kind: maml, outer: {kind: prompt}}",
            "algorithm.outer.kind: expected 'trpo' or 'ppo' or 'promp' or 'vpg' or 'reptile', got 'prompt'; "
            "did you mean 'promp'?",
        ),
        (
            "algorithm: {kind: maml, outer: {kind: reptile, clip: 0.1}}",
            "algorithm.outer.clip: unknown field 'clip'; known: kind, lr",
        ),
        (
            "algorithm: {kind: maml, outer: {kind: trpo, maxkl: 0.1}}",
            "algorithm.outer.maxkl: unknown field 'maxkl'; did you mean 'max_kl'?",
        ),
        ("algorithm: {kind: maml, inner: {lr: .nan}}", "algorithm.inner.lr: expected a finite number, got nan"),
        ("checkpoint: {every: 0}\nseed: -1", "seed: expected greater than or equal to 0, got -1 (and 1 more)"),
    ],
)
def test_mistakes_are_named(write, change, message) -> None:
    name = change.split(":")[0]
    kept = "".join(line + "\n" for line in MINIMAL.split("\n") if not line.startswith(name))
    path = write(kept + change)
    assert complaint(load_config, path) == f"{path}: {message}"


def test_missing_field_is_named(write) -> None:
    path = write("tasks: {kind: navigation}\nalgorithm: {kind: maml}")
    assert complaint(load_config, path) == f"{path}: iterations: required, but missing"


@pytest.mark.parametrize("content", ["", "3", "[1, 2]", "text"])
def test_not_a_mapping(write, content) -> None:
    path = write(content)
    assert complaint(load_config, path).startswith(f"{path}: top level: expected a mapping of fields, got ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: c: 2", ", line 2: not valid YAML: mapping values are not allowed here"),
        ("a: [1,", ", line 1: not valid YAML: "),
        ("a: !!python/object:os.system x", ", line 1: not valid YAML: could not determine a constructor"),
        ("a: \x00", ": not valid YAML: "),
        ("a: 2024-13-01", ": not valid YAML: month must be in 1..12"),
    ],
)
def test_not_yaml(write, content, message) -> None:
    path = write(content)
    assert complaint(load_config, path).startswith(f"{path}{message}")


def test_files_that_cannot_be_read(tmp_path) -> None:
    assert complaint(load_config, tmp_path / "none.yaml") == f"no configuration file '{tmp_path / 'none.yaml'}'"
    assert complaint(load_config, tmp_path).startswith("cannot read configuration file")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert complaint(load_config, tmp_path / "binary.yaml").startswith("cannot read configuration file")


def test_overrides(write) -> None:
    overrides = "--seed=3 --algorithm.inner.lr 1e-2 --evaluation.adaptation-episodes 0 1 3 --device cpu"
    overrides += " --threads None --iterations 2"
    overrides += (
        " --algorithm.hidden-sizes 32 --evaluation.tasks-per-name null --algorithm.normalize_observations false"
    )
    config = load_config(write(MINIMAL), overrides.split())
    assert config == RunConfig(
        seed=3,
        device="cpu",
        iterations=2,
        tasks=NavigationTasks(),
        algorithm=MAMLConfig(inner=InnerConfig(lr=0.01), hidden_sizes=(32,), normalize_observations=False),
        evaluation=EvaluationConfig(adaptation_episodes=(0, 1, 3), tasks_per_name=None),
    )


def test_another_kind_starts_from_its_defaults_whatever_the_order() -> None:
    config = RunConfig(
        iterations=1, tasks=NavigationTasks(horizon=7), algorithm=MAMLConfig(outer=MAMLTRPOConfig(max_kl=1))
    )
    for overrides in (
        "--algorithm.outer.kind ppo --algorithm.outer.clip 0.2",
        "--algorithm.outer.clip 0.2 --algorithm.outer.kind ppo",
    ):
        changed = override_config(config, overrides.split())
        assert isinstance(changed.algorithm, MAMLConfig)
        assert changed.algorithm.outer == MAMLPPOConfig(clip=0.2)
    assert override_config(config, ["--algorithm.outer.kind", "trpo"]) == config
    assert override_config(config, ["--tasks.kind", "bandit"]).tasks == BanditTasks()


def test_overrides_take_lists_and_options_as_yaml() -> None:
    config = RunConfig(iterations=1, tasks=RegisteredTasks(id="x"), algorithm=MAMLConfig())
    changed = override_config(config, ["--algorithm.hidden-sizes", "[8, 9]", "--tasks.options.height", "1.5"])
    assert isinstance(changed.algorithm, MAMLConfig)
    assert isinstance(changed.tasks, RegisteredTasks)
    assert changed.algorithm.hidden_sizes == (8, 9)
    assert changed.tasks.options == {"height": 1.5}
    assert override_config(config, []) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("--iteratons 3", "command line: iteratons: unknown field 'iteratons'; did you mean 'iterations'?"),
        ("--algorithm.inner.lrr 3", "command line: algorithm.inner.lrr: unknown field 'lrr'; did you mean 'lr'?"),
        ("--algoritm.inner.lr 3", "unknown section in --algoritm.inner.lr: 'algoritm'; did you mean 'algorithm'?"),
        (
            "--seed.x 3",
            "unknown section in --seed.x: 'seed'; known: algorithm, augmentation, checkpoint, evaluation, tasks",
        ),
        ("--algorithm.inner.lr x", "command line: algorithm.inner.lr: expected a valid number, got 'x'"),
        ("--seed 1 2", "command line: seed: expected a valid integer, got (1, 2)"),
        ("--algorithm maml", "command line: algorithm: expected a mapping of fields, got 'maml'"),
        ("--seed", "--seed needs a value, such as '--seed 1'"),
        ("--seed --device cpu", "--seed needs a value, such as '--seed 1'"),
        ("3 --seed 1", "unexpected argument '3'; fields are set by '--field value'"),
        ("-- 1", "command line: top level: unknown field ''"),
    ],
)
def test_mistaken_overrides_are_named(overrides, message) -> None:
    config = RunConfig(iterations=5, tasks=NavigationTasks(), algorithm=MAMLConfig())
    assert complaint(override_config, config, overrides.split()).startswith(message)


def test_override_that_is_not_yaml() -> None:
    config = RunConfig(iterations=5, tasks=NavigationTasks(), algorithm=MAMLConfig())
    assert complaint(override_config, config, ["--seed", "[1"]).startswith("--seed, line 1: not valid YAML: ")


def test_overrides_are_split_by_name() -> None:
    assert parse_overrides(["--a.b-c", "1", "-2", "--c="]) == {"a.b_c": ["1", "-2"], "c": [""]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--a.b 1 --c 2 --a.b 3", "--a.b is given twice: give it once"),
        ("--a_b 1 --a-b 1", "--a-b is given twice: give it once"),
        ("--a.b 1 --a {c: 2}", "--a sets all of --a.b, which is given too: give one of them"),
    ],
)
def test_overrides_that_say_two_things_are_refused(arguments, message) -> None:
    assert complaint(parse_overrides, arguments.split(" ", 5)) == message


def test_another_kind_tells_which_values_of_the_file_it_loses(write, caplog) -> None:
    path = write(
        """
        iterations: 5
        tasks: {kind: navigation}
        algorithm: {kind: maml, meta_batch: 7, episodes: 3, discount: 0.9, outer: {kind: ppo, lr: 0.01}}
        """
    )
    config = load_config(path, ["--algorithm.kind", "rl2", "--algorithm.episodes", "3"])
    assert config.algorithm == RL2Config(episodes=3)
    assert [record.message for record in caplog.records] == [
        "--algorithm.kind rl2 starts from its defaults, without meta_batch=7, discount=0.9 of before: give again what"
        " should stay, as in --algorithm.meta_batch 7"
    ]
    caplog.clear()
    given = ["--algorithm.kind=rl2", "--algorithm.episodes=3", "--algorithm.meta-batch=7", "--algorithm.discount=0.9"]
    assert load_config(path, given).algorithm == RL2Config(episodes=3, meta_batch=7, discount=0.9)
    assert not caplog.records


def test_fields_of_a_kind_are_set_with_it(write) -> None:
    config = load_config(write(MINIMAL), ["--algorithm.core.hidden-size", "9", "--algorithm.kind", "rl2"])
    assert config.algorithm == RL2Config(core=GRUConfig(hidden_size=9))
    arguments = "--tasks.options.a 1 2 --tasks.options.b [x] --tasks.id mine --tasks.kind registered"
    tasks = load_config(write(MINIMAL), arguments.split()).tasks
    assert tasks == RegisteredTasks(id="mine", options={"a": [1, 2], "b": ["x"]})


def test_options_may_be_lists_and_mappings(write) -> None:
    path = write(MINIMAL.replace("kind: navigation", "kind: registered, id: x, options: {y: [1, [2.5]], z: {a: [b]}}"))
    config = load_config(path)
    assert config.tasks == RegisteredTasks(id="x", options={"y": [1, [2.5]], "z": {"a": ["b"]}})
    assert load_config(write(dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a", 1),
        ("a: {b: 1, c: 2,\n b: 3}", 2, "b", 1),
        ("a:\n- {b: 1}\n- b: 1\n  c: 2\n  'b': 1", 5, "b", 3),
        ("a: &x {b: 1}\nc: {<<: *x, d: 1, d: 2}", 2, "d", 2),
    ],
)
def test_a_key_given_twice_is_named_with_both_lines(write, text, line, key, first) -> None:
    path = write(text)
    assert complaint(load_config, path) == f"{path}, line {line}: '{key}' is given twice, first in line {first}"


def test_a_merged_mapping_may_be_overridden(write) -> None:
    path = write(
        """
        iterations: 5
        tasks: &tasks {kind: navigation, horizon: 5}
        algorithm: {kind: maml}
        """
    )
    path.write_text(path.read_text().replace("tasks: &tasks", "tasks:\n  <<: &tasks").replace("5}", "5}\n  horizon: 6"))
    assert load_config(path).tasks == NavigationTasks(horizon=6)


@pytest.mark.parametrize(
    "config",
    [
        NavigationTasks(num_train_tasks=3, num_test_tasks=2, horizon=7),
        BanditTasks(arms=3),
        TabularTasks(num_train_tasks=3, num_test_tasks=2, horizon=7),
    ],
)
def test_tasks_are_built_as_configured(config) -> None:
    distribution = config.build()
    assert len(distribution.train_tasks) == config.num_train_tasks
    assert len(distribution.test_tasks) == config.num_test_tasks
    if not isinstance(config, BanditTasks):
        assert distribution.horizon == 7
