"""Whatever enters an agent or an exported file is sound, or refused by name; commands and memory stay sound."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch

from metarl.acting.actions import to_environment, to_vectors
from metarl.acting.agents import TrainedAgent
from metarl.acting.export import EnvironmentActions
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.data.steps import Timestep
from metarl.errors import RunFailure
from metarl.policies.config import GRUConfig, LSTMConfig, TransformerConfig
from metarl_envs.errors import UserError

SEEN = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
SPACES: dict[str, gym.spaces.Box | gym.spaces.Discrete] = {
    "box": gym.spaces.Box(-2, 3, (2,), np.float64),
    "integers": gym.spaces.Box(-2, 3, (2,), np.int64),
    "discrete": gym.spaces.Discrete(3),
}
CORES: dict[str, GRUConfig | LSTMConfig | TransformerConfig] = {
    "gru": GRUConfig(hidden_size=4),
    "lstm": LSTMConfig(hidden_size=4),
    "transformer": TransformerConfig(memory=4, model_size=4, layers=1, heads=1),
}
KINDS = ("maml", *CORES)
CPU = torch.device("cpu")
GOOD = np.array([[0.3, -0.2]])


def make_agent(kind: str, space: str = "box", mean: float = 0.0) -> TrainedAgent:
    torch.manual_seed(0)
    statistics = mean + torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), torch.ones(2, dtype=torch.bool)
    if kind == "maml":
        maml = MAML(MAMLConfig(meta_batch=1, hidden_sizes=(4,)), SEEN, SPACES[space], CPU)
        maml.policy.normalizer.update(*statistics)
        return maml.make_agent(0)
    rl2 = RL2(RL2Config(meta_batch=1, core=CORES[kind]), SEEN, SPACES[space], CPU)
    rl2.policy.observation_normalizer.update(*statistics)
    return rl2.make_agent(0)


def timestep(agent: TrainedAgent, **changes: Any) -> Timestep:
    """Step of one environment after an action was asked for."""
    action, auxiliary = agent.adapt_action(GOOD)
    no = np.zeros(1, np.bool_)
    return Timestep(GOOD, action, np.ones(1), no, no, auxiliary)._replace(**changes)


OBSERVATIONS: dict[str, tuple[Any, str]] = {
    "nan": ([[np.nan, 0]], r"observation must be finite: environment 0, number 0 is nan"),
    "inf": ([[0, np.inf]], r"observation must be finite: environment 0, number 1 is inf"),
    "minus inf": ([[0, -np.inf]], "number 1 is -inf"),
    "unbatched": ([0.3, -0.2], r"must have shape \(env, 2\): got \(2,\); of one, observation\[None\]"),
    "too narrow": ([[0.3]], r"must have shape \(env, 2\): got \(1, 1\)"),
    "too wide": ([[1, 2, 3]], r"must have shape \(env, 2\): got \(1, 3\)"),
    "transposed": ([[1], [2]], r"must have shape \(env, 2\): got \(2, 1\)"),
    "an axis too many": ([[[1, 2]]], r"got \(1, 1, 2\)"),
    "a number": (3.0, r"got \(\)"),
    "nothing": (np.zeros((0, 2)), r"got \(0, 2\)"),
    "none": (None, "observations must be an array of numbers"),
    "text": ([["a", "b"]], "observations must be an array of numbers"),
    "objects": (np.array([[None, 1]]), "observations must be an array of numbers"),
    "complex": ([[1j, 0]], "observations must be an array of numbers"),
    "rows of different lengths": ([[1, 2], [3]], "observations must be an array of numbers"),
    "dictionary": ({"observation": GOOD}, "observations must be an array of numbers"),
}
NO_NUMBERS = {"none", "text", "objects", "complex", "rows of different lengths", "dictionary"}
"""Faults that annotations rule out; in tests, which check annotations, they are given to the check itself."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", ["eval_action", "adapt_action"])
@pytest.mark.parametrize("fault", [name for name in OBSERVATIONS if name not in NO_NUMBERS])
def test_a_bad_observation_is_refused_and_leaves_nothing_behind(kind: str, act: str, fault: str) -> None:
    observations, message = OBSERVATIONS[fault]
    agent, untouched = make_agent(kind), make_agent(kind)
    with pytest.raises(UserError, match=message) as caught:
        getattr(agent, act)(np.asarray(observations, dtype=np.float64))
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(agent.eval_action(GOOD), untouched.eval_action(GOOD))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", sorted(NO_NUMBERS))
def test_what_is_no_array_of_numbers_is_refused(kind: str, fault: str) -> None:
    observations, message = OBSERVATIONS[fault]
    with pytest.raises(UserError, match=message):
        make_agent(kind)._check_observations(observations)


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_environments_is_refused(kind: str) -> None:
    agent = make_agent(kind)
    agent.step(timestep(agent))
    with pytest.raises(UserError, match="of the 1 environments that the agent acts in, not of 3"):
        agent.adapt_action(np.zeros((3, 2)))
    agent.init()
    assert len(agent.eval_action(np.zeros((3, 2)))) == 3


NO = np.zeros(1, np.bool_)
OUTCOMES: dict[str, tuple[dict[str, Any], str]] = {
    "nan reward": ({"reward": np.array([np.nan])}, "reward must be finite: environment 0 is nan"),
    "inf reward": ({"reward": np.array([np.inf])}, "reward must be finite: environment 0 is inf"),
    "a number as reward": ({"reward": 1.0}, r"rewards must have shape \(1,\), one for each environment: got \(\)"),
    "reward of shape (1, 1)": ({"reward": np.ones((1, 1))}, r"rewards must have shape \(1,\)"),
    "two rewards": ({"reward": np.ones(2)}, r"rewards must have shape \(1,\)"),
    "no reward": ({"reward": None}, "rewards must be an array of numbers"),
    "numbers as terminated": ({"terminated": np.zeros(1)}, "terminated must be booleans"),
    "a flag as truncated": ({"truncated": False}, r"truncated must be booleans of shape \(1,\)"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", OUTCOMES)
def test_a_bad_outcome_is_refused_and_a_good_one_may_follow(kind: str, fault: str) -> None:
    changes, message = OUTCOMES[fault]
    agent, untouched = make_agent(kind), make_agent(kind)
    good = timestep(agent)
    with pytest.raises(UserError, match=message) as caught:
        agent.step(good._replace(**changes))
    assert "\n" not in str(caught.value)
    for each in (agent, untouched):
        each.step(good if each is agent else timestep(each))
        each.adapt()
        each.reset(np.ones(1, np.bool_))
    np.testing.assert_array_equal(agent.eval_action(GOOD), untouched.eval_action(GOOD))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [np.ones(2, np.bool_), np.ones(1), True, np.ones((1, 1), np.bool_)], ids=str)
def test_a_bad_mask_is_refused(kind: str, mask: Any) -> None:
    agent = make_agent(kind)
    agent.step(timestep(agent))
    with pytest.raises(UserError, match=r"env_mask must be booleans of shape \(1,\)"):
        agent._check_mask(mask)


@pytest.mark.parametrize("kind", list(CORES))
def test_an_outcome_without_an_action_is_refused(kind: str) -> None:
    agent = make_agent(kind)
    step = timestep(make_agent(kind))
    with pytest.raises(UserError, match="ask for the action first"):
        agent.step(step)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_that_are_not_finite_command_nothing(kind: str) -> None:
    agent = make_agent(kind)
    policy = agent._maml.policy if kind == "maml" else agent.policy  # type: ignore[attr-defined]
    next(iter(policy.parameters())).data.fill_(torch.nan)
    with pytest.raises(RunFailure, match="not finite"):
        agent.eval_action(GOOD)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("size", [1e3, 1e10, 1e38, 1e300])
def test_a_command_is_in_bounds_however_large_the_observation(kind: str, space: str, size: float) -> None:
    agent = make_agent(kind, space)
    for observation in (size * GOOD, GOOD):
        (command,) = agent.eval_action(observation)
        assert np.all(np.isfinite(command))
        assert SPACES[space].contains(command)


def run_file(agent: TrainedAgent, folder: Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Session of an agent's file and its inputs at the beginning."""
    agent.export(folder / "policy.onnx")
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    initial = json.loads(session.get_modelmeta().custom_metadata_map.get("initial_inputs", "{}"))
    inputs = {name: np.array(value, np.float32) for name, value in initial.items()}
    if inputs:
        inputs["episode_start"] = inputs["episode_start"].astype(np.bool_)
    return session, inputs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_a_file_commands_something_sound_for_a_lost_number_and_its_memory_survives(
    kind: str, space: str, lost: float, tmp_path: Path
) -> None:
    session, inputs = run_file(make_agent(kind, space), tmp_path)
    # one row with the lost number beside a sound one, and a sound pair
    sound = np.array([[0.0, 0.2], [0.3, -0.2]], np.float32)
    spoilt = np.array([[lost, 0.2], [0.3, -0.2]], np.float32)
    both = {name: np.concatenate([value, value]) for name, value in inputs.items()}
    action, *memory = session.run(None, {"observation": spoilt} | both)
    expected, *expected_memory = session.run(None, {"observation": sound} | both)
    # the mean of training, which is 0, stands in for what was lost
    np.testing.assert_array_equal(action, expected)
    for command in action:
        assert SPACES[space].contains(command.astype(SPACES[space].dtype))
    if memory:
        np.testing.assert_array_equal(memory[0][0], both["previous_action"][0])
        np.testing.assert_array_equal(memory[1][0], both["state"][0])
        for mine, right in zip(memory, expected_memory, strict=True):
            np.testing.assert_array_equal(mine[1], right[1])


@pytest.mark.parametrize("kind", list(CORES))
def test_a_lost_reward_leaves_nothing_in_a_files_memory(kind: str, tmp_path: Path) -> None:
    session, inputs = run_file(make_agent(kind), tmp_path)
    inputs["previous_reward"][:] = np.nan
    action, _, state = session.run(None, {"observation": GOOD.astype(np.float32)} | inputs)
    assert np.isfinite(action).all()
    np.testing.assert_array_equal(state, inputs["state"])


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_zero_agents_and_files_act_as_they_do_near_zero(kind: str, tmp_path: Path) -> None:
    north = 5.4e6  # map coordinates in metres; neighbouring float32 numbers are 0.5 apart
    near, far = make_agent(kind), make_agent(kind, mean=north)
    expected = near.eval_action(GOOD)
    np.testing.assert_allclose(far.eval_action(GOOD + north), expected, atol=1e-6)
    far.init()
    session, inputs = run_file(far, tmp_path)
    assert session.get_inputs()[0].type == "tensor(double)"
    action, *_ = session.run(None, {"observation": GOOD + north} | inputs)
    np.testing.assert_allclose(action, expected, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2, 2), (3, 3), (0, 255)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_have_equal_shares_and_survive_the_way_back(low: int, high: int, dtype: Any) -> None:
    if low < 0 and dtype is np.uint8:
        pytest.skip("no such box")
    space = gym.spaces.Box(low, high, (1,), dtype)
    count = high - low + 1
    # the middles of equal parts of -1 to 1, and far beyond
    middles = (2 * np.arange(count) + 1) / count - 1
    chosen = to_environment(np.array([*middles, -9, 9])[:, None], space)
    assert chosen.dtype == dtype
    assert chosen.ravel().tolist() == [*range(low, high + 1), low, high]
    np.testing.assert_allclose(to_vectors(chosen[:-2], space).ravel(), middles, atol=1e-6)
    exported = EnvironmentActions(space)(torch.tensor([*middles, -9, 9], dtype=torch.float32)[:, None])
    assert exported.ravel().tolist() == chosen.ravel().tolist()
