"""Bad inputs to every command and every field: one line that names the mistake, exit code 2, nothing written.

Each test is one distinct bad input, so that `pytest --collect-only` counts them.
"""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from refusing import refused

from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.config import RunConfig
from metarl.training import Training

MAML = """iterations: 1
device: cpu
tasks: {kind: navigation, num_train_tasks: 20, num_test_tasks: 3, horizon: 4}
algorithm: {kind: maml, meta_batch: 2, episodes: 2, hidden_sizes: [4]}
evaluation: {every: 0}
"""
RL2 = MAML.replace("kind: maml", "kind: rl2").replace("hidden_sizes: [4]", "core: {kind: gru, hidden_size: 4}")
TASKS = """import threading
import numpy as np
import gymnasium as gym
from metarl_envs import WrappedDistribution, Task
from metarl_envs.navigation import Navigation
lock = threading.Lock()
not_a_family = 3
def nothing(): return None
def fails(): return 1 / 0
def endless(horizon: int = 10**9): return Navigation(num_train_tasks=20, num_test_tasks=3, horizon=horizon)
def one_split(): return Navigation(num_train_tasks=20, num_test_tasks=0)
class Line(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)
def locked():
    tasks = [Task("line", [n]) for n in range(30)]
    return WrappedDistribution(
        "line", tasks[:20], tasks[20:], lambda mode: Line(), lambda env, task: lock.acquire(), horizon=3)
"""
LONG = "x" * 300
REGISTERED = "iterations: 1\ntasks: {kind: registered, id: navigation, options: {}}\nalgorithm: {kind: maml}\n"
KINDS: dict[str, list[str]] = {
    "metaworld": ["--tasks.benchmark", "ML10"],
    "locomotion": ["--tasks.family", "AntDir"],
    "registered": ["--tasks.id", "navigation"],
    "demonstrations": ["--tasks.dataset", "ml45-v0"],
    "validation": ["--tasks.of", "{kind: navigation}", "--tasks.count", "3"],
}
"""Fields that a family of tasks requires."""


pytestmark = pytest.mark.usefixtures("no_plug_ins")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two configurations, a file of task families, and the runs of both configurations."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "families.py").write_text(TASKS)
    (folder / "broken.py").write_text("raise RuntimeError('no robot')\n")
    for name, text in (("maml", MAML), ("rl2", RL2)):
        (folder / f"{name}.yaml").write_text(text)
        with Training.start(RunConfig.model_validate(yaml.safe_load(text)), folder / "runs" / name) as training:
            list(training)
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    return folder


Leaf = tuple[str, Any, list[str]]
"""Dotted name of a field, its type, and the arguments that it takes to have it."""


def leaves(model: type[BaseModel], section: str, arguments: list[str]) -> Iterator[Leaf]:
    """Yields the fields of a model and of all models that its sections may be."""
    for name, field in model.model_fields.items():
        path = f"{section}{name}"
        models = [each for each in parts(field.annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
        if name == "algorithm":
            models = [MAMLConfig, RL2Config]
        elif name == "of":  # families, which are all tried as `tasks`
            models = []
        for each in models:
            kind = each.model_fields["kind"].default if "kind" in each.model_fields else None
            chosen = [] if kind is None else [f"--{path}.kind", kind, *(KINDS.get(kind, []) if path == "tasks" else [])]
            yield from leaves(each, f"{path}.", [*arguments, *chosen])
        if not models:
            yield path, field.annotation, arguments


def parts(annotation: Any) -> list[Any]:
    """Returns the members of a union, or the annotation alone."""
    if get_origin(annotation) is Annotated:
        return parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for each in get_args(annotation) for part in parts(each)]
    return [annotation]


def bad_values(annotation: Any) -> list[str]:
    """Returns values that no field of a type takes."""
    kinds = parts(annotation)
    if any(get_origin(kind) is tuple for kind in kinds):
        kinds = ["tuple", *parts(get_args(kinds[0])[0])]
    if int in kinds:
        return ["-1", "2.5", "1000000000000000000000"]
    if float in kinds:
        return ["-1", "1e300", ".nan"]
    if bool in kinds:
        return ["2", "maybe"]
    return ["[1]", "3"] if str in kinds or any(get_origin(kind) is Literal for kind in kinds) else ["3"]


def field_cases() -> Iterator[Any]:
    for name, annotation, arguments in leaves(RunConfig, "", []):
        if name.endswith("kind"):
            continue
        others = [
            part
            for pair in zip(arguments[::2], arguments[1::2], strict=True)
            if pair[0] != f"--{name}"
            for part in pair
        ]
        kinds = "".join(
            f"{value}:" for option, value in zip(arguments[::2], arguments[1::2], strict=True) if "kind" in option
        )
        for value in bad_values(annotation):
            yield pytest.param(name, value, others, id=f"{kinds}{name}={value}")


@pytest.mark.parametrize(("name", "value", "others"), list(field_cases()))
def test_a_bad_value_of_a_field(
    name: str,
    value: str,
    others: list[str],
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(workspace)
    line = refused(capsys, workspace, ["train", "maml.yaml", *others, f"--{name}", value])
    assert line.startswith(f"command line: {name}")


YAML = [
    ("empty", "", "top level: expected a mapping"),
    ("number", "3", "top level: expected a mapping"),
    ("list", "[1]", "top level: expected a mapping"),
    ("twice", MAML + "seed: 1\nseed: 2\n", "line 7: 'seed' is given twice, first in line 6"),
    ("section-twice", MAML + "tasks: {kind: bandit}\n", "line 6: 'tasks' is given twice, first in line 3"),
    ("nested-twice", MAML.replace("horizon: 4", "horizon: 4, horizon: 5"), "line 3: 'horizon' is given twice"),
    ("twice-in-quotes", MAML + "seed: 1\n'seed': 2\n", "line 7: 'seed' is given twice"),
    ("twice-in-options", "tasks: {kind: registered, id: x, options: {a: 1, a: 1}}", "line 1: 'a' is given twice"),
    ("two-documents", MAML + "---\n" + MAML, "line 6: not valid YAML: but found another document"),
    ("tab", "a:\n\tb: 1", "line 2: not valid YAML"),
    ("unclosed", "a: [1", "not valid YAML"),
    ("tag", "a: !!python/object:os.system x", "not valid YAML: could not determine a constructor"),
    ("date", MAML + "seed: 2024-13-01", "not valid YAML: month must be in 1..12"),
    ("list-as-key", MAML + "? [1]\n: 2", "not valid YAML: found unhashable key"),
    ("deep", "[" * 5000, "not valid YAML"),
    ("digits", f"{MAML}seed: {'1' * 5000}", "not valid YAML"),
    ("recursive", MAML.replace("tasks: {", "tasks: &a {seed: *a, "), "tasks.seed: "),
    ("unknown-field", MAML + "sead: 1", "sead: unknown field 'sead'; did you mean 'seed'?"),
    ("numeric-field", MAML + "3: 1", "3: unknown field '3'"),
    ("null-section", MAML.replace("{every: 0}", "null"), "evaluation: expected a mapping of fields"),
    ("no-kind", MAML.replace("kind: maml, ", ""), "algorithm.kind: required, but missing"),
    ("no-iterations", MAML.partition("\n")[2], "iterations: required, but missing"),
    ("kind-of-list", MAML.replace("kind: maml", "kind: [maml]"), "algorithm.kind: "),
    ("k-twice", MAML.replace("{every: 0}", "{adaptation_episodes: [1, 1]}"), "a number is in it twice"),
    ("no-k", MAML.replace("{every: 0}", "{adaptation_episodes: []}"), "evaluation.adaptation_episodes: "),
    ("options-date", REGISTERED.replace("{}", "{a: 2024-01-01}"), "tasks.options.a: "),
    ("heads", RL2.replace("kind: gru, hidden_size: 4", "kind: transformer, model_size: 10"), "not an even multiple"),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(*rest, id=name) for name, *rest in YAML])
def test_a_bad_configuration(
    text: str, message: str, workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    path = workspace / "bad.yaml"
    path.write_text(text)
    assert message in refused(capsys, workspace, ["train", "bad.yaml"])


COMMANDS = [
    ("", "the following arguments are required: COMMAND"),
    ("trian maml.yaml", "unknown command 'trian'; did you mean 'train'?"),
    ("--versoin", "required: COMMAND"),
    ("train", "train needs either a configuration file or --resume RUN"),
    ("train none.yaml", "unknown preset 'none.yaml'"),
    ("train none/none.yaml", "no configuration file 'none/none.yaml'"),
    ("train ml10-rl", "did you mean 'ml10-rl2'?"),
    ("train folder", "unknown preset 'folder'"),
    ("train ./folder/", "unknown preset 'folder'"),
    ("train bytes.yaml", "cannot read configuration file 'bytes.yaml'"),
    ("train empty", "top level: expected a mapping of fields"),
    (f"train {LONG}", "cannot be a path: File name too long"),
    ("train maml.yaml rl2.yaml", "unknown argument 'rl2.yaml'"),
    ("train maml.yaml -x", "unknown argument '-x'"),
    ("train maml.yaml --seed", "--seed needs a value"),
    ("train maml.yaml --seed 1 --seed 2", "--seed is given twice"),
    ("train maml.yaml --seed=1 --seed=1", "--seed is given twice"),
    ("train maml.yaml --algorithm.meta-batch 2 --algorithm.meta_batch 3", "--algorithm.meta_batch is given twice"),
    ("train maml.yaml --tasks {kind:bandit} --tasks.horizon 3", "--tasks sets all of --tasks.horizon"),
    ("train maml.yaml --run a --run b", "--run is given 2 times"),
    ("train maml.yaml --processes 0", "expected a whole number of at least 1, got '0'"),
    ("train maml.yaml --processes two", "expected a whole number of at least 1, got 'two'"),
    ("train maml.yaml --processes 100000", "--processes: 100000 is more than the "),
    ("train maml.yaml --processes 2 --processes 2", "--processes is given 2 times"),
    ("train maml.yaml --algorithm.meta-batch 1 --processes 2", "2 processes are more than algorithm.meta_batch = 1"),
    ("train maml.yaml --algorithm.meta-batch 3 --processes 2", "take 2 or 4 tasks, or 1 or 3 processes"),
    ("train --resume runs/none --processes 2", "no run at "),
    ("train maml.yaml --algorithm.mta-batch 3 --processes 2", "unknown field"),
    ("train maml.yaml --run a --run=b", "--run is given 2 times"),
    ("train maml.yaml --seed 1 2", "seed: expected a valid integer, got (1, 2)"),
    ("train maml.yaml --=3", "unknown field ''"),
    ("train maml.yaml --algorithm..lr 3", "unknown section in --algorithm..lr"),
    ("train maml.yaml --algorithm. 3", "unknown field ''"),
    ("train maml.yaml --algoritm.inner.lr 3", "did you mean 'algorithm'?"),
    ("train maml.yaml --algorithm.inner.lrr 3", "did you mean 'lr'?"),
    ("train maml.yaml --algorithm.inner.lr.x 3", "unknown section"),
    ("train maml.yaml --algorithm maml", "algorithm: expected a mapping of fields"),
    ("train maml.yaml --algorithm.kind rl3", "'rl2' or 'siamese' or 'skills', got 'rl3'"),
    ("train maml.yaml --algorithm.kind rl2 --algorithm.inner.lr 3", "unknown section in --algorithm.inner.lr: 'inner'"),
    ("train maml.yaml --algorithm.outer.kind reptile --algorithm.outer.clip 3", "unknown field 'clip'"),
    ("train maml.yaml --algorithm.outer.kind promp", "promp needs algorithm.inner.estimator"),
    ("train maml.yaml --algorithm.expert.weight 1", "unknown section in --algorithm.expert.weight: 'expert'"),
    ("train rl2.yaml --algorithm.expert.weight 0", "algorithm.expert.weight: expected greater than 0, got 0"),
    ("train rl2.yaml --tasks.kind bandit --algorithm.expert.weight 1", "has no scripted expert; set it to None"),
    ("train rl2.yaml --algorithm.outer.kind trpo --algorithm.expert.weight 1", "a term of PPO's loss, not of TRPO's"),
    ("train rl2.yaml --algorithm.chunk.weight 1", "algorithm.chunk: expected"),
    ("train maml.yaml --algorithm.parallel_episodes 3", "3 does not divide algorithm.episodes = 2"),
    ("train maml.yaml --algorithm.meta_batch 21", "algorithm.meta_batch: meta-batch of 21 is larger than the 20"),
    ("train maml.yaml --tasks.horizon 0", "tasks.horizon: expected greater than 0, got 0"),
    ("train maml.yaml --tasks.horizon 1000000000", "tasks.horizon: expected less than or equal to 1000000"),
    ("train maml.yaml --tasks.kind metaworld", "tasks.benchmark: required, but missing"),
    ("train maml.yaml --tasks.kind metaworld --tasks.benchmark ML1", "ML1 needs a task"),
    ("train maml.yaml --tasks.kind metaworld --tasks.benchmark ML10 --tasks.task reach-v3", "ML10 takes no task"),
    ("train maml.yaml --tasks.kind metaworld --tasks.benchmark custom", "custom needs train and test"),
    ("train maml.yaml --tasks.kind metaworld --tasks.benchmark ML1 --tasks.task pich-v3", "unknown Meta-World task"),
    ("train maml.yaml --tasks.kind locomotion --tasks.family AntDri", "tasks.family: expected 'HalfCheetahDir'"),
    ("train maml.yaml --tasks.kind registered --tasks.id navgation", "did you mean 'navigation'?"),
    (
        "train maml.yaml --tasks.kind registered --tasks.id navigation --tasks.options.horizn 3",
        "it takes num_train_tasks",
    ),
    ("train maml.yaml --tasks.kind registered --tasks.id navigation --tasks.options.horizon [3]", "option 'horizon'"),
    ("train maml.yaml --tasks.kind registered --tasks.id navigation --tasks.options.horizon 2.5", "option 'horizon'"),
    ("train maml.yaml --tasks.kind registered --tasks.id navigation --tasks.options.horizon 1e9", "option 'horizon'"),
    ("train maml.yaml --tasks.kind registered --tasks.id none.py:make", "no file '"),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:mke", "unknown class or function in "),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:not_a_family", "unknown class or function in "),
    ("train maml.yaml --tasks.kind registered --tasks.id 'families.py:'", "unknown class or function in "),
    ("train maml.yaml --tasks.kind registered --tasks.id broken.py:make", "does not load: RuntimeError: no robot"),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:nothing", "must return a TaskDistribution"),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:endless", "horizon must be a whole number"),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:one_split", "num_test_tasks must be a whole"),
    ("train maml.yaml --tasks.kind registered --tasks.id families.py:locked", "cannot be sent to worker processes"),
    ("train maml.yaml --tasks.kind tabular --tasks.states 900 --tasks.actions 900", "numbers each take"),
    ("train maml.yaml --run runs/maml", "run directory runs/maml already exists; name another, or go on with: metarl"),
    ("train maml.yaml --run empty", "run directory empty already exists; name another"),
    ("train maml.yaml --run empty/a", "cannot make run directory empty/a: Not a directory"),
    (f"train maml.yaml --run {LONG}", "cannot be a path: File name too long"),
    ("train maml.yaml --run=", "a path cannot be empty"),
    ("train --resume none", "no run at none"),
    ("train --resume runs/mamml", "did you mean runs/maml?"),
    ("train --resume maml", "no run at maml; did you mean runs/maml?"),
    ("train --resume maml.yaml", "no run at maml.yaml"),
    ("train --resume runs/maml --seed 3", "--seed cannot go with --resume"),
    ("train --resume runs/maml --run b", "--run cannot go with --resume"),
    ("train --resume runs/maml --iterations 0", "iterations: expected greater than 0, got 0"),
    ("train --resume runs/maml --iterations 2 --iterations 3", "--iterations is given twice"),
    ("train maml.yaml --resume runs/maml", "train needs either a configuration file or --resume RUN"),
    ("evaluate", "the following arguments are required: RUN"),
    ("evaluate none", "no run at none"),
    ("evaluate rl2", "no run at rl2; did you mean runs/rl2?"),
    ("evaluate demo", "'demo' is a preset: train it first with: metarl train demo"),
    ("evaluate runs", "runs is not a run"),
    ("evaluate runs/maml/checkpoints", "is not a run"),
    ("evaluate runs/maml/checkpoints/000000000032", "is a checkpoint: give the run, runs/maml, and --checkpoint"),
    ("evaluate maml.yaml", "no run at maml.yaml"),
    (f"evaluate {LONG}", "cannot be a path: File name too long"),
    ("evaluate a\0b", "cannot be a path: embedded null byte"),
    ("evaluate runs/maml --checkpoint lst", "no checkpoint at lst; give 'last', 'best' or a directory"),
    ("evaluate runs/maml --checkpoint 7", "no checkpoint at 7"),
    (f"evaluate runs/maml --checkpoint {LONG}", "no checkpoint at xxx"),
    ("evaluate runs/maml --checkpoint folder", "checkpoint folder belongs to no run"),
    ("evaluate runs/maml --checkpoint last --checkpoint best", "--checkpoint is given 2 times"),
    ("evaluate runs/maml --episodes 0", "expected a whole number of at least 1, got '0'"),
    ("evaluate runs/maml --episodes 2.5", "expected a whole number of at least 1, got '2.5'"),
    ("evaluate runs/maml --episodes 1000000000", "expected a whole number of at most 1000000"),
    ("evaluate runs/maml --adaptation-episodes", "expected at least one argument"),
    ("evaluate runs/maml --adaptation-episodes -1", "--adaptation-episodes"),
    ("evaluate runs/maml --adaptation-episodes 1 1", "adaptation_episodes must be different numbers"),
    ("evaluate runs/maml --adaptation-episodes 1 x", "expected a whole number of at least 0, got 'x'"),
    ("evaluate runs/maml --tasks-per-name 4", "tasks_per_name must be at most 3"),
    ("evaluate runs/maml --tasks-per-name 0", "expected a whole number of at least 1, got '0'"),
    ("evaluate runs/maml --split tset", "invalid choice: 'tset'"),
    ("evaluate runs/maml --seed -1", "--seed"),
    ("evaluate runs/maml --controls state-held", "no recurrent state to hold"),
    ("evaluate runs/maml --controls none", "unknown control 'none'"),
    ("evaluate runs/maml --controls expert", "there is no scripted expert for navigation"),
    ("evaluate runs/maml --controls shuffled --tasks-per-name 1", "shuffled needs at least two tasks of each name"),
    ("evaluate runs/maml --oracle-steps 10", "--oracle-steps is for --controls oracle"),
    ("evaluate runs/maml --controls oracle --oracle-steps 0", "expected a whole number of at least 1, got '0'"),
    ("evaluate runs/maml --gail-steps 10", "--gail-steps is for --controls gail"),
    ("evaluate runs/maml --controls gail", "only those that imitate can be held against gail"),
    ("evaluate runs/maml --from-scratch pppo", "unknown learner 'pppo'; did you mean 'ppo'?"),
    ("evaluate runs/maml --from-scratch ppo --scratch-tasks 4", "scratch_tasks must be at most 3"),
    ("evaluate runs/maml --from-scratch ppo --scratch-episodes 0", "expected a whole number of at least 1, got '0'"),
    ("evaluate runs/maml --from-scratch ppo --scratch-names goal", "unknown task 'goal'"),
    ("evaluate runs/maml --scratch-names navigation", "--scratch-names is for --from-scratch"),
    ("evaluate runs/maml --scratch-episodes 5", "--scratch-episodes is for --from-scratch"),
    ("evaluate runs/maml --protocol meta-world", "protocol meta-world is for Meta-World's tasks"),
    ("evaluate runs/maml --protocol mine", "invalid choice: 'mine'"),
    ("evaluate runs/maml --epsodes 3", "did you mean '--episodes'?"),
    ("evaluate runs/maml runs/rl2", "cannot put runs/maml and runs/rl2 together: algorithm.kind is maml and rl2"),
    ("evaluate runs/maml runs/maml", "both were trained with seed 1"),
    ("evaluate runs/maml runs/none", "no run at runs/none"),
    ("evaluate runs/maml runs/rl2 --output e.json", "--output names the file of a single run"),
    ("evaluate runs/maml --output runs/maml/config.yaml", "cannot write runs/maml/config.yaml: the run"),
    ("evaluate runs/maml --output runs/rl2/checkpoints/e.json", "cannot write runs/rl2/checkpoints/e.json: the run"),
    ("report", "the following arguments are required: RUN"),
    ("report runs/maml --output runs/maml/metrics.jsonl", "cannot write runs/maml/metrics.jsonl: the run"),
    ("report none", "no run at none"),
    ("report runs/maml runs/maml", "is given more than once"),
    ("report runs/maml --films", "unknown argument '--films'; did you mean '--no-films'?"),
    ("plot runs/maml --format pdf", "unknown format 'pdf'; known: png, svg"),
    ("plot runs/maml --output runs/maml/checkpoints", "the run"),
    ("watch", "the following arguments are required: RUN"),
    ("watch none", "no run at none"),
    ("watch runs/maml --tasks 0", "expected a whole number of at least 1, got '0'"),
    ("watch runs/maml --adaptation-episodes 0", "expected a whole number of at least 1, got '0'"),
    ("watch runs/maml --live 3", "unknown argument '3'"),
    ("watch runs/maml --checkpoint none", "no checkpoint at none"),
    ("export", "the following arguments are required: RUN"),
    ("export none", "no run at none"),
    ("export runs/maml --to folder", "cannot export to folder"),
    ("export runs/maml --to none/a.onnx", "cannot export to none/a.onnx"),
    ("export runs/maml --to runs/maml/config.yaml", "cannot write runs/maml/config.yaml: the run"),
    ("export runs/maml --to=", "a path cannot be empty"),
    ("export runs/maml --checkpoint none", "no checkpoint at none"),
    ("strategies", "the following arguments are required: family"),
    ("strategies bandits", "invalid choice: 'bandits'"),
    ("strategies tabular --arms 3", "--arms is for bandits"),
    ("strategies bandit --arms 0", "expected a whole number of at least 1, got '0'"),
    ("strategies bandit --tasks 1000000 --arms 1000000", "numbers each take"),
    ("strategies bandit --episodes x", "expected a whole number of at least 1, got 'x'"),
    ("strategies bandit --run runs/maml", "run runs/maml is of maml: only rl2 learns"),
    ("strategies bandit --run runs/rl2", "which is not compared here"),
    ("strategies bandit --run none", "no run at none"),
    ("strategies bandit --tasks 2 --output folder", "folder: it is a directory"),
    ("strategies bandit --tasks 2 --output empty/a", "cannot make directory empty"),
    ("tasks navgation", "did you mean 'navigation'?"),
    ("tasks pich-place-v3", "did you mean 'pick-place-v3'?"),
    ("tasks navigation bandit", "unknown argument 'bandit'"),
    ("train maml.yaml --algorithm.init_std 0.1 --algorithm.min_std 0.2", "init_std: 0.1 is below algorithm.min_std"),
    ("train rl2.yaml --algorithm.init_std 0.1 --algorithm.min_std 0.2", "init_std: 0.1 is below min_std"),
    (
        "train maml.yaml --tasks.kind registered --tasks.id families.py:fails",
        "ZeroDivisionError: division by zero (fam",
    ),
    (
        "train maml.yaml --tasks.kind metaworld --tasks.benchmark custom --tasks.train reach-v3 reach-v3 --tasks.test"
        " push-v3",
        "reach-v3 is in a split twice",
    ),
    ("strategies bandit --arms 5 5", "--arms: the same is given twice: 5, 5"),
    ("strategies bandit --episodes 1 1", "--episodes: the same is given twice: 1, 1"),
    ("strategies bandit --run runs/rl2 runs/rl2", "--run: the same is given twice"),
    ("presets demo", "unknown argument 'demo'"),
    ("demos", "the following arguments are required: COMMAND"),
    ("demos colect", "invalid choice: 'colect'"),
    ("demos collect", "the following arguments are required: --tasks"),
    ("demos collect --tasks", "expected at least one argument"),
    ("demos collect --tasks reach-v2", "did you mean 'reach-v3'?"),
    ("demos collect --tasks AntDir", "nobody can demonstrate AntDir"),
    ("demos collect --tasks navigation ML10", "navigation and Meta-World have other spaces"),
    ("demos collect --tasks navigation --goals 0", "expected a whole number of at least 1, got '0'"),
    ("demos collect --tasks navigation --noise 2", "expected a share from 0 to 1, got '2'"),
    ("demos collect --tasks navigation --noise 0", "the 2 episodes of a goal would be equal"),
    ("demos collect --tasks navigation --split tset", "invalid choice: 'tset'"),
    ("demos collect --tasks navigation --horizont 3", "did you mean '--horizon'?"),
    ("demos collect --tasks navigation --seed 1 --seed 2", "--seed is given 2 times"),
    ("demos collect --tasks navigation --cameras view", "--cameras are of frames: add --frames"),
    ("demos collect --tasks navigation --frame-every 5", "--frame-every is of frames: add --frames"),
    ("demos collect --tasks navigation --output walks", "'walks' is no name for demonstrations"),
    ("demos collect --tasks navigation --output empty/walks-v0", "cannot write to empty"),
    ("demos list folder maml.yaml", "unknown argument 'maml.yaml'"),
    ("demos inspect", "the following arguments are required: DATASET"),
    ("demos inspect none", "no demonstrations at 'none'"),
    ("demos inspect runs/maml", "no demonstrations at 'runs/maml'"),
    ("demos inspect none --output film.mp4", "--output is of a film: add --film N"),
    ("demos inspect none --film -1", "--film"),
    ("presets --all", "unknown argument '--all'"),
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(arguments, message, id=(arguments[:80] or "nothing").replace("\0", "NUL"))
        for arguments, message in COMMANDS
    ],
)
def test_a_bad_command_line(
    arguments: str, message: str, workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    assert message in refused(capsys, workspace, arguments.split())
