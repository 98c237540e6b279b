"""ONNX files act as the agents they were written by."""

import json
import os
import sys
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import NoReturn, TypeVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch

from metarl import checkpoints
from metarl.acting.actions import to_environment
from metarl.acting.agents import Origin, TrainedAgent
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.checkpoints import Manifest
from metarl.cli import main
from metarl.config import NavigationTasks, RunConfig
from metarl.data.steps import Array, Timestep
from metarl.errors import RunFailure
from metarl.policies.config import (
    CoreConfig,
    GRUConfig,
    HeadConfig,
    HypernetworkHeadConfig,
    LinearHeadConfig,
    LSTMConfig,
    TransformerConfig,
)
from metarl.policies.inputs import PolicyInput
from metarl.policies.normalizer import Normalizer
from metarl.runs import RunDirectory
from metarl.versions import package_version
from metarl_envs.errors import UserError

AnyAlgorithm = TypeVar("AnyAlgorithm", MAML, RL2)
CPU = torch.device("cpu")
SEEN = gym.spaces.Box(np.array([-np.inf, -1, 0]), np.array([np.inf, 1, 2]), dtype=np.float64)
BOX = gym.spaces.Box(np.array([-2, 0, -np.inf]), np.array([1, 5, np.inf]), dtype=np.float64)
SPACES: list[gym.spaces.Box | gym.spaces.Discrete] = [BOX, gym.spaces.Discrete(4, start=2)]
ENVS = 2
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=8),
    "lstm": LSTMConfig(hidden_size=8),
    "transformer": TransformerConfig(memory=6, model_size=8, layers=2, heads=2),  # much shorter than the trials here
}
HEADS: dict[str, HeadConfig] = {"linear": LinearHeadConfig(), "hypernetwork": HypernetworkHeadConfig(hidden_size=4)}


def prepare(algorithm: AnyAlgorithm, *normalizers: Normalizer, scale: float = 1.0) -> AnyAlgorithm:
    """Makes actions vary with what is seen, by default beyond the bounds too, and gives the normalisers statistics."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in algorithm.policy.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=rng) / parameter.shape[-1] ** 0.5)
    for normalizer in normalizers:
        size = len(normalizer.mean)
        normalizer.update(1 + 3 * torch.randn(50, size, generator=rng), torch.ones(50, dtype=torch.bool))
    return algorithm


def make_maml(space: gym.spaces.Box | gym.spaces.Discrete) -> MAML:
    torch.manual_seed(0)
    maml = MAML(MAMLConfig(meta_batch=ENVS, hidden_sizes=(6, 5)), SEEN, space, CPU)
    return prepare(maml, maml.policy.normalizer)


def make_rl2(
    space: gym.spaces.Box | gym.spaces.Discrete, core: str = "gru", head: str = "linear", scale: float = 1.0
) -> RL2:
    torch.manual_seed(0)
    config = RL2Config(meta_batch=ENVS, core=CORES[core], head=HEADS[head], observation_to_head=True)
    rl2 = RL2(config, SEEN, space, CPU)
    return prepare(rl2, rl2.policy.observation_normalizer, rl2.policy.reward_normalizer, scale=scale)


def play(agent: TrainedAgent, steps: int, rng: np.random.Generator) -> None:
    """One episode that both environments are told of."""
    for step in range(steps):
        observations = 2 * rng.normal(size=(ENVS, 3))
        actions, auxiliary = agent.adapt_action(observations)
        ended = np.full(ENVS, step == steps - 1)
        agent.step(Timestep(observations, actions, rng.normal(size=ENVS), ended & False, ended, auxiliary))
    agent.adapt()


def run_onnx(session: onnxruntime.InferenceSession, **inputs: Array) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def float32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("adapted", [False, True])
def test_maml(space, adapted) -> None:
    rng = np.random.default_rng(0)
    agent = make_maml(space).make_agent(seed=1)
    if adapted:
        play(agent, 12, rng)
    agent.export("policy.onnx", env=int(adapted))
    session = onnxruntime.InferenceSession("policy.onnx")
    observations = 6 * rng.normal(size=(200, 3))
    expected = np.array([agent.eval_action(np.tile(observation, (ENVS, 1)))[-1] for observation in observations])
    for batch in (observations, observations[:1]):
        found = run_onnx(session, observation=float32(batch))["action"]
        np.testing.assert_allclose(found, expected[: len(batch)], atol=1e-5, rtol=1e-5)
    if space is BOX:
        assert (expected[:, :2] == BOX.low[:2]).any()  # some are clipped, and most are not
        assert ((expected[:, :2] > BOX.low[:2]) & (expected[:, :2] < BOX.high[:2])).mean() > 0.2
    else:
        assert len(np.unique(expected)) > 1
    about = session.get_modelmeta().custom_metadata_map
    assert about["algorithm"] == "maml"
    assert about["adapted"] == str(adapted).lower()


def initial_inputs(session: onnxruntime.InferenceSession) -> dict[str, Array]:
    initial = json.loads(session.get_modelmeta().custom_metadata_map["initial_inputs"])
    inputs: dict[str, Array] = {name: float32(value) for name, value in initial.items()}
    return inputs | {"episode_start": np.array(initial["episode_start"])}


def follow(
    agent: RL2Agent,
    session: onnxruntime.InferenceSession,
    inputs: dict[str, Array],
    env: int,
    rng: np.random.Generator,
    steps: int = 25,
) -> dict[str, Array]:
    """Lets an agent and its file act side by side, several episodes long, comparing actions and memories."""
    actions = []
    for _ in range(steps):
        observations, rewards = 2 * rng.normal(size=(ENVS, 3)), rng.normal(size=ENVS)
        ended = rng.random(ENVS) < 0.3
        expected = agent.eval_action(observations)
        found = run_onnx(session, observation=float32(observations[env : env + 1]), **inputs)
        np.testing.assert_allclose(found["action"][0], expected[env], atol=1e-5, rtol=1e-5)
        assert agent._memory is not None
        np.testing.assert_allclose(found["next_state"][0], agent._memory.state[env], atol=1e-5, rtol=1e-5)
        inputs |= {name.removeprefix("next_"): value for name, value in found.items() if name != "action"}
        agent.step(Timestep(observations, expected, rewards, ended, ended & False, {}))
        inputs |= {"previous_reward": float32(rewards[env : env + 1]), "episode_start": ended[env : env + 1]}
        actions.append(expected[env])
    assert (np.array(actions).std(0) > 0.01).mean() > 0.5  # all but what is clipped throughout
    return inputs


# Each core, head and space is among these, and the rest is slow: each export traces a network.
QUICK = [("gru", "linear", True), ("lstm", "linear", False), ("transformer", "hypernetwork", True)]


@pytest.mark.parametrize(
    ("core", "head", "space"),
    [
        pytest.param(core, head, space, marks=() if (core, head, space is BOX) in QUICK else pytest.mark.slow)
        for core, head, space in product(CORES, HEADS, SPACES)
    ],
    ids=str,
)
def test_rl2_over_whole_trials(core, head, space) -> None:
    rng = np.random.default_rng(0)
    # Each action is an input of the next: with larger weights that would blow up what float32 rounds, step after step.
    agent = make_rl2(space, core, head, scale=0.3 if space is BOX else 1.0).make_agent(seed=1)
    play(agent, 4, rng)
    agent.export("policy.onnx", env=1)
    session = onnxruntime.InferenceSession("policy.onnx")
    adapted = initial_inputs(session)
    fresh = {name: np.zeros_like(value) for name, value in adapted.items()}
    fresh["episode_start"] = np.ones(1, bool)
    for inputs in (adapted, fresh):
        agent.reset(np.ones(ENVS, bool))
        inputs = follow(agent, session, inputs, 1, rng)
        agent.init()
    many = {name: np.repeat(value, 3, axis=0) for name, value in inputs.items()}
    found = run_onnx(session, observation=np.zeros((3, 3), np.float32), **many)
    assert found["action"].shape[0] == found["next_state"].shape[0] == 3
    shapes = [value.type.tensor_type.shape.dim for value in onnx.load("policy.onnx").graph.input]
    assert [shape[0].dim_param for shape in shapes] == ["batch"] * 5
    assert all(dim.dim_value > 0 for shape in shapes for dim in shape[1:])


@pytest.mark.parametrize(("core", "head"), [("gru", "linear"), ("transformer", "hypernetwork")])
def test_each_step_of_rl2_is_as_exact_as_the_agents(core, head) -> None:
    """With large random weights, which over a trial make any two float32 computations part; clipped actions too."""
    rl2 = make_rl2(BOX, core, head)
    agent, exact = rl2.make_agent(seed=1), deepcopy(rl2.policy).double()
    rng = np.random.default_rng(0)
    play(agent, 4, rng)
    agent.export("policy.onnx")
    session = onnxruntime.InferenceSession("policy.onnx")
    names = [given.name for given in session.get_inputs()]
    clipped = []
    for _ in range(25):
        observations, rewards, ended = 2 * rng.normal(size=(ENVS, 3)), rng.normal(size=ENVS), rng.random(ENVS) < 0.3
        assert agent._memory is not None
        previous = agent._memory.previous
        told = [previous.actions, torch.as_tensor(float32(previous.rewards)), torch.as_tensor(previous.episode_start)]
        seen = [torch.as_tensor(float32(observations)), *told, agent._memory.state]
        found = run_onnx(session, **{name: tensor.numpy() for name, tensor in zip(names, seen, strict=True)})
        *seen, state = (tensor.double() if tensor.is_floating_point() else tensor for tensor in seen)
        parameters, state = exact.step(PolicyInput(*seen), state)
        expected = to_environment(rl2.distribution.mode(parameters).detach().numpy(), BOX)
        np.testing.assert_allclose(found["action"], expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(found["next_state"], state.detach(), atol=1e-5, rtol=1e-5)
        actions = agent.eval_action(observations)
        np.testing.assert_allclose(actions, expected, atol=1e-5, rtol=1e-5)
        agent.step(Timestep(observations, actions, rewards, ended, ended & False, {}))
        clipped.append((expected == BOX.low) | (expected == BOX.high))
    assert 0 < np.mean(clipped) < 0.5


def test_the_file_tells_what_it_is() -> None:
    agent = make_maml(BOX).make_agent(seed=1)
    agent.origin = Origin("my tasks", "0123", 4500, SEEN)
    agent.export("policy.onnx")
    model = onnx.load("policy.onnx")
    onnx.checker.check_model(model, full_check=True)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about.pop("metarl_version") == (package_version("metarl-suite") or "unknown")
    assert json.loads(about.pop("observation")) == {"name": "observation", "low": [None, -1, 0], "high": [None, 1, 2]}
    assert json.loads(about.pop("action")) == {"name": "action", "low": [-2, 0, None], "high": [1, 5, None]}
    assert about == {
        "algorithm": "maml",
        "adapted": "false",
        "tasks": "my tasks",
        "task_fingerprint": "0123",
        "env_steps": "4500",
    }
    data = Path("policy.onnx").read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in data
    assert b"agent.py" not in data  # nothing of where the file was made


@pytest.mark.parametrize(
    ("path", "env"), [("missing/policy.onnx", 0), (".", 0), ("policy.onnx", 1), ("policy.onnx", -1)]
)
def test_a_file_or_environment_that_cannot_be_is_refused(path, env) -> None:
    with pytest.raises(UserError, match="env must be from 0 to 0" if env else "cannot export to") as caught:
        make_maml(BOX).make_agent(seed=1).export(path, env)
    assert "\n" not in str(caught.value)
    assert os.listdir() == []


def test_a_full_disk_leaves_the_file_that_was_there(monkeypatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    Path("policy.onnx").write_text("before")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunFailure, match=r"could not write policy.onnx: No space left"):
        make_maml(BOX).make_agent(seed=1).export("policy.onnx")
    assert os.listdir() == ["policy.onnx"]
    assert Path("policy.onnx").read_text() == "before"


@pytest.fixture
def run() -> RunDirectory:
    tasks = NavigationTasks(num_train_tasks=3, num_test_tasks=4, horizon=5)
    config = RunConfig(iterations=1, tasks=tasks, algorithm=RL2Config(meta_batch=2))
    run = RunDirectory.create(Path("run"), config)
    distribution = tasks.build()
    algorithm = config.algorithm.build(distribution, CPU)
    manifest = Manifest(iteration=7, env_steps=1200, config={}, task_fingerprint=distribution.fingerprint, versions={})
    checkpoints.save(run.checkpoints, algorithm.state_dict(), manifest)
    return run


def test_a_runs_export_tells_of_the_run(run, capsys) -> None:
    assert main(["export", "run"]) == 0
    path = run.path / "policy-000000001200.onnx"
    assert capsys.readouterr().out == f"policy: {path}\n"
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert about["task_fingerprint"] == run.config.tasks.build().fingerprint
    assert (about["algorithm"], about["tasks"], about["env_steps"]) == ("rl2", "navigation", "1200")
    initial = json.loads(about["initial_inputs"])
    assert not np.any(initial.pop("state"))
    assert initial == {"previous_action": [[0, 0]], "previous_reward": [0], "episode_start": [True]}


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_told_with_the_command_that_installs_it(run, capsys, monkeypatch, package) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", "run", "--to", "policy.onnx"]) == 2
    expected = f"metarl: error: export needs {package}, which is not installed: pip install 'metarl-suite[export]'\n"
    assert capsys.readouterr().err == expected
    assert os.listdir() == ["run"]
