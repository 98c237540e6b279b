"""The robots are Gymnasium's v5 environments, with the tasks of the literature."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.locomotion import FAMILIES, Locomotion, LocomotionVectorEnv
from metarl_envs.locomotion import engine as engine_module
from metarl_envs.simulation import STATE, Simulation
from metarl_envs.testing import check_distribution

ROOT = Path(__file__).parents[2]
every_family = pytest.mark.parametrize("name", FAMILIES)


def make(
    name: str, tasks: Any, horizon: int = 20, threads: int | None = 1, render_mode: str | None = None
) -> LocomotionVectorEnv:
    env = LocomotionVectorEnv(FAMILIES[name](), len(tasks), horizon, threads, render_mode)
    env.set_tasks([Task(name, parameters) for parameters in tasks])
    return env


def towards(angle: float, info: dict[str, Any]) -> float:
    return float(np.cos(angle) * info["x_velocity"] + np.sin(angle) * info["y_velocity"])


def physics(robot: Any, factors: Any) -> Any:
    """Changes Gymnasium's model as the task says, field by field."""
    model = robot.unwrapped.model
    model.body_mass[:] *= factors[: model.nbody]
    model.body_inertia[:] *= factors[model.nbody : 4 * model.nbody].reshape(-1, 3)
    model.dof_damping[:] *= factors[4 * model.nbody : 4 * model.nbody + model.nv]
    model.geom_friction[:] *= factors[4 * model.nbody + model.nv :].reshape(-1, 3)
    return robot


# Gymnasium's environment for a task, and the paper's reward from what that environment says of a step.
REFERENCES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "HalfCheetahDir": (
        lambda task: HalfCheetahEnv(ctrl_cost_weight=0.05),
        lambda task, info, env: task[0] * info["x_velocity"] + info["reward_ctrl"],
    ),
    "HalfCheetahVel": (
        lambda task: HalfCheetahEnv(ctrl_cost_weight=0.05),
        lambda task, info, env: -abs(info["x_velocity"] - task[0]) + info["reward_ctrl"],
    ),
    "AntDir": (
        lambda task: AntEnv(),
        lambda task, info, env: towards(task[0], info) + info["reward_ctrl"] + info["reward_contact"] + 1,
    ),
    "AntGoal": (
        lambda task: AntEnv(
            ctrl_cost_weight=0.1, terminate_when_unhealthy=False, exclude_current_positions_from_observation=False
        ),
        lambda task, info, env: (
            info["reward_ctrl"]
            + info["reward_contact"]
            - abs(env.data.body("torso").xpos[0] - task[0])
            - abs(env.data.body("torso").xpos[1] - task[1])
        ),
    ),
    "HumanoidDir": (
        lambda task: HumanoidEnv(),
        lambda task, info, env: 1.25 * towards(task[0], info) + info["reward_ctrl"] + info["reward_contact"] + 5,
    ),
    "Walker2dVel": (
        lambda task: Walker2dEnv(),
        lambda task, info, env: -abs(info["x_velocity"] - task[0]) + info["reward_ctrl"] + 15,
    ),
    "HopperRandParams": (
        lambda task: physics(HopperEnv(), task),
        lambda task, info, env: info["x_velocity"] + info["reward_ctrl"] + 1,
    ),
    "Walker2dRandParams": (
        lambda task: physics(Walker2dEnv(), task),
        lambda task, info, env: info["x_velocity"] + info["reward_ctrl"] + 1,
    ),
}


@every_family
def test_robots_equal_gymnasiums_over_autoresets(name: str) -> None:
    num_envs, horizon, steps = 5, 40, 100
    distribution = Locomotion(name, horizon=horizon)
    tasks = [(distribution.train_tasks * 3)[index].parameters for index in range(num_envs)]
    make_robot, reward_of = REFERENCES[name]
    robots = [make_robot(task) for task in tasks]
    ended = {"terminated": 0, "truncated": 0}
    with closing(make(name, tasks, horizon, threads=2)) as env:
        observations, _ = env.reset(seed=[7, 3, 11, 5, 2])
        for robot, seed, observation in zip(robots, (7, 3, 11, 5, 2), observations, strict=True):
            np.testing.assert_array_equal(observation, robot.reset(seed=seed)[0])
        elapsed = np.zeros(num_envs, int)
        env.action_space.seed(0)
        for _ in range(steps):
            actions = env.action_space.sample().astype(np.float64)
            observations, rewards, terminated, truncated, infos = env.step(actions)
            elapsed += 1
            for i, robot in enumerate(robots):
                observation, _, fell, _, info = robot.step(actions[i])
                np.testing.assert_allclose(rewards[i], reward_of(tasks[i], info, robot), rtol=1e-9, atol=1e-10)
                over = fell or elapsed[i] == horizon
                if over:
                    np.testing.assert_array_equal(infos["final_obs"][i], observation)
                    observation, _ = robot.reset()
                np.testing.assert_array_equal(observations[i], observation)
                np.testing.assert_array_equal(env.simulation(i).qpos, robot.data.qpos)
                np.testing.assert_array_equal(env.simulation(i).qvel, robot.data.qvel)
                assert (terminated[i], truncated[i]) == (fell, elapsed[i] == horizon)
                elapsed[i] *= not over
            ended["terminated"] += terminated.sum()
            ended["truncated"] += truncated.sum()
    can_fall = name not in ("HalfCheetahDir", "HalfCheetahVel", "AntGoal")
    assert (ended["terminated"] > 0) == can_fall
    assert ended["truncated"] > 0 or can_fall


@every_family
def test_keeps_the_contract(name: str) -> None:
    check_distribution(Locomotion(name, horizon=12))


def test_actions_are_clipped_before_they_cost() -> None:
    with closing(make("HalfCheetahDir", [[1.0], [1.0]])) as env:
        env.reset(seed=[4, 4])
        observations, rewards, *_ = env.step(np.array([[3.0] * 6, [1.0] * 6]))
    np.testing.assert_array_equal(observations[0], observations[1])
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize("name", ["HopperRandParams", "Walker2dRandParams"])
def test_one_environments_physics_does_not_leak_into_anothers_on_the_same_thread(name: str) -> None:
    family = FAMILIES[name]()
    plain = np.ones(len(family.draw(np.random.default_rng(0), 1)[0]))
    heavy = np.concatenate([np.full(family.model.nbody, 3.0), plain[family.model.nbody :]])
    actions = np.random.default_rng(0).uniform(-1, 1, (8, *family.action_space.shape))
    make_robot, _ = REFERENCES[name]
    with closing(make(name, [plain, heavy, plain], threads=1)) as env:
        env.reset(seed=[1, 1, 1])
        for tasks in ([plain, heavy, plain], [heavy, plain, heavy]):  # and none stays behind when tasks change
            env.set_tasks([Task(name, task) for task in tasks])
            env.reset(seed=[1, 1, 1])
            robots = [make_robot(task) for task in tasks]
            for robot in robots:
                robot.reset(seed=1)
            for action in actions:
                env.step(np.stack([action] * 3))
                for i, robot in enumerate(robots):
                    robot.step(action.astype(np.float32))
                    np.testing.assert_array_equal(env.simulation(i).qpos, robot.data.qpos)
            assert not np.array_equal(robots[0].data.qpos, robots[1].data.qpos)
    assert family.model.body_mass[1] == make_robot(plain).model.body_mass[1]


def test_a_shared_model_restores_what_the_next_task_leaves_alone() -> None:
    family = FAMILIES["HopperRandParams"]()
    shared = family.copy_model()
    pristine = family.model.body_mass.copy()
    shared.become({"body_mass": 2 * pristine})
    assert (shared.become({"dof_damping": np.zeros(6)}).body_mass == pristine).all()
    assert (shared.become({}).dof_damping == family.model.dof_damping).all()


def test_diverged_physics_ends_the_episode_and_leaves_evidence() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 8)).astype(np.float32)
    with closing(make("AntDir", [[0.0], [1.0], [2.0]], threads=2)) as env:
        env.reset(seed=0)
        for action in actions[:3]:
            before, *_ = env.step(action)
        good = env.simulation(1).qpos.copy()
        env.simulation(1).qvel[:] = 1e12
        observations, rewards, terminated, truncated, infos = env.step(actions[3])
        assert infos["diverged"].tolist() == truncated.tolist() == [False, True, False]
        assert not terminated.any()
        assert rewards[1] == 0
        np.testing.assert_array_equal(infos["final_obs"][1], before[1])
        assert np.abs(observations[1]).max() < 2  # of a new episode
        (evidence,) = infos["divergences"]
        assert evidence.task == env.tasks[1]
        *_, later = env.step(actions[4])
        assert not later["diverged"].any()
        assert "divergences" not in later
        np.testing.assert_array_equal(evidence.actions, actions[:4, 1])
        data = env.simulation(1)
        mujoco.mj_setState(data.model, data, evidence.initial_state, STATE)
        for action in evidence.actions[:3]:
            data.ctrl[:] = action
            mujoco.mj_step(data.model, data, 5)
        np.testing.assert_array_equal(data.qpos, good)


def test_a_state_that_only_the_next_step_would_find_bad_counts_as_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Simulation):
        def has_diverged(self) -> bool:
            self.data.qpos[2] = self.data.qvel[0] = np.nan  # by the last physics step
            return super().has_diverged()

    monkeypatch.setattr(engine_module, "Simulation", Late)
    with closing(make("Walker2dVel", [[1.0]])) as env:
        first, _ = env.reset(seed=0)
        _, rewards, terminated, truncated, infos = env.step(np.zeros((1, 6)))
    assert (terminated[0], truncated[0], infos["diverged"][0], rewards[0]) == (False, True, True, 0)
    np.testing.assert_array_equal(infos["final_obs"], first)


@pytest.mark.parametrize(
    ("name", "tasks", "expected"),
    [
        ("HalfCheetahVel", [[0.0], [0.3], [2.0]], [True, False, False]),  # it stands
        ("AntGoal", [[0.3, 0.3], [0.5, 0.5], [-0.2, 0.0]], [True, False, True]),
        ("Walker2dVel", [[0.0], [0.1], [3.0]], [False, False, False]),  # it falls before the horizon
    ],
)
def test_success_is_said_at_the_horizon_of_the_whole_episode(name: str, tasks: Any, expected: Any) -> None:
    horizon = 150
    with closing(make(name, tasks, horizon)) as env:
        env.reset(seed=0)
        said = np.array([env.step(np.zeros(env.action_space.shape or ()))[-1]["success"] for _ in range(horizon)])
    assert not said[:-1].any()
    assert said[-1].tolist() == expected


def test_a_fall_in_the_last_step_is_no_success() -> None:
    with closing(make("Walker2dVel", [[0.0], [0.0]], horizon=1)) as env:
        env.reset(seed=0)
        env.simulation(1).qpos[2] = 1.5
        _, _, terminated, truncated, infos = env.step(np.zeros((2, 6)))
    assert terminated.tolist() == [False, True]
    assert truncated.all()
    assert infos["success"].tolist() == [True, False]


def test_tasks_of_others_are_refused() -> None:
    with closing(make("AntGoal", [[0.0, 1.0]])) as env:
        for task in (Task("AntDir", [0.0, 1.0]), Task("AntGoal", [0.0]), Task("AntGoal", [0.0, np.nan])):
            with pytest.raises(UserError, match="is not a task of AntGoal"):
                env.set_tasks([task])
    with closing(make("HopperRandParams", [np.ones(41)])) as env, pytest.raises(UserError, match="is not a task of"):
        env.set_tasks([Task("HopperRandParams", np.zeros(41))])


def test_pictures_show_every_robot_and_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
    with closing(make("AntGoal", [[2.0, 0.0], [-2.0, 0.0]], render_mode="rgb_array")) as env:
        env.reset(seed=[0, 0])
        right, left = (frame.astype(int) for frame in env.render())
    assert right.shape == left.shape == (480, 480, 3)
    green = [(frame[..., 1] > 100) & (frame[..., 0] < 60) & (frame[..., 2] < 60) for frame in (right, left)]
    assert green[0][:, 240:].any()
    assert not green[0][:, :240].any()
    assert green[1][:, :240].any()
    with closing(make("AntGoal", [[0.0, 0.0]])) as env, pytest.raises(UserError, match="render_mode='rgb_array'"):
        env.render()
    with pytest.raises(UserError, match="no render mode 'human'"):
        make("AntGoal", [[0.0, 0.0]], render_mode="human")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_half_cheetahs_fit_into_a_gigabyte() -> None:
    program = """
import numpy as np
from pathlib import Path
from metarl_envs.locomotion import Locomotion

def play(num_envs):
    env = family.make_env(num_envs)
    env.set_tasks([family.train_tasks[i] for i in range(num_envs)])
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros((num_envs, 6)))
    return env, int(Path("/proc/self/statm").read_text().split()[1]) * 4096

family = Locomotion("HalfCheetahVel")
(one, before), (many, after) = play(1), play(1000)
print(after - before)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 1e9
