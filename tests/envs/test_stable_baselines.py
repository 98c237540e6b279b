"""stable-baselines3 on this package's environments, one by one and as a vector."""

import sys
from typing import Any

import gymnasium
import metaworld
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import metarl_envs
from metarl_envs import registry
from metarl_envs.errors import UserError
from metarl_envs.stable_baselines import StableBaselinesVecEnv

SMALL: dict[str, Any] = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "device": "cpu", "seed": 0}


def make_vec(**options: Any) -> Any:
    return gymnasium.make_vec("metarl/Navigation-test-v0", **options)


def test_an_episode_is_the_one_of_the_vector() -> None:
    plain, wrapped = (make_vec(num_envs=2, horizon=3, task=1) for _ in range(2))
    env = StableBaselinesVecEnv(wrapped)
    env.seed(7)
    np.testing.assert_array_equal(env.reset(), plain.reset(seed=7)[0])
    # The first environment steps on its goal once, and leaves; the second never gets there.
    goal = wrapped.tasks[0].parameters
    assert np.abs(goal).max() > 0.1
    for step in range(3):
        actions = np.full((2, 2), 0.01)
        observations, rewards, ended, infos = env.step(actions)
        expected, expected_rewards, _, truncated, expected_infos = plain.step(actions)
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(rewards, expected_rewards)
        assert ended.tolist() == truncated.tolist() == [step == 2] * 2
    for env_index, info in enumerate(infos):
        np.testing.assert_array_equal(info["terminal_observation"], expected_infos["final_obs"][env_index])
        assert info["TimeLimit.truncated"] is True
        assert info["is_success"] is False


def test_success_at_any_step_of_an_episode_is_told_at_its_end() -> None:
    vector = make_vec(num_envs=2, horizon=12, task=1)
    env = StableBaselinesVecEnv(vector)
    goal = vector.tasks[0].parameters
    position: Any = env.reset()
    told = []
    for step in range(24):  # two episodes; in the first, environment 0 goes to the goal and then away
        target = goal if step < 8 else -goal
        actions = np.clip(np.stack([target, -goal]) - position, -0.1, 0.1)
        position, _, _, infos = env.step(actions)
        told += [[info["is_success"] for info in infos if "is_success" in info]]
    assert told[11] == [True, False]
    assert told[23] == [False, False]
    assert sum(map(len, told)) == 4


@pytest.mark.parametrize("name", ["Navigation", "HalfCheetahVel"])
@pytest.mark.filterwarnings("ignore:.*We recommend you to use a symmetric and normalized Box:UserWarning")
def test_ppo_learns_a_step_on_a_single_task(name) -> None:
    env = gymnasium.make(f"metarl/{name}-train-v0", task=3, horizon=4)
    model = PPO("MlpPolicy", env, **SMALL)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(8)
    changed = [bool((one != other).any()) for one, other in zip(before, model.policy.parameters(), strict=True)]
    assert any(changed)
    env.close()


def test_ppo_learns_a_step_on_a_vector_and_logs_returns_and_successes() -> None:
    env = VecMonitor(StableBaselinesVecEnv(make_vec(num_envs=4, horizon=4, goal_visible=True)))
    model: Any = PPO("MlpPolicy", env, **SMALL).learn(32)
    assert model.observation_space.shape == (4,)
    assert len(model.ep_info_buffer) == 8
    assert list(model.ep_success_buffer) == [False] * 8
    assert model.ep_info_buffer[0]["l"] == 4
    results: Any = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert results[1] == [4] * 4
    assert max(results[0]) < 0
    env.close()


def test_what_is_no_vector_with_tasks_is_refused() -> None:
    init: Any = StableBaselinesVecEnv.__init__
    unchecked = getattr(init, "__wrapped__", init)  # else the wrong type is found before
    family = metarl_envs.make("navigation", horizon=3)
    for env, message in (
        (family.make_env(2), r"^StableBaselinesVecEnv takes a vector whose tasks are set: call set_tasks first$"),
        (gymnasium.make("metarl/Navigation-test-v0"), r"^StableBaselinesVecEnv takes vectors of gymnasium.make_vec"),
    ):
        with pytest.raises(UserError, match=message):
            unchecked(object.__new__(StableBaselinesVecEnv), env)
    vector = StableBaselinesVecEnv(make_vec(num_envs=2))
    assert vector.get_attr("horizon", [0]) == [100]
    assert vector.env_is_wrapped(VecMonitor) == [False, False]
    with pytest.raises(UserError, match="set 'horizon' on `env` instead"):
        vector.set_attr("horizon", 3)
    with pytest.raises(UserError, match="call 'render' of `env` instead"):
        vector.env_method("render")


def test_a_missing_stable_baselines3_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "metarl_envs.stable_baselines")
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.vec_env", None)
    with pytest.raises(UserError, match=r"needs stable-baselines3: pip install 'stable-baselines3>=2.7'$"):
        import metarl_envs.stable_baselines  # noqa: F401


FAMILIES = ("ML1", "ML10", "Navigation", "Bandit", "Tabular", *registry.LOCOMOTION)  # ML25 and ML45 are made as ML10


@pytest.mark.filterwarnings("ignore::UserWarning")  # of unbounded or constant observations, and of physical units
@pytest.mark.parametrize("name", FAMILIES)
def test_both_libraries_accept_a_task_of_every_family(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(metaworld, "_N_GOALS", 2)
    options: dict[str, Any] = {"ML1": {"env_name": "reach-v3"}, "Bandit": {}}.get(name, {"horizon": 4})
    env = gymnasium.make(f"metarl/{name}-test-v0", **options)
    check_env(env.unwrapped, skip_render_check=True)
    if name != "Bandit":  # whose episodes end after a step, which Gymnasium's checker takes for a mistake
        gymnasium_check_env(env.unwrapped, skip_render_check=True)
    env.close()
