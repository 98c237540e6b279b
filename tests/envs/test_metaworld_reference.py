import os
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import metaworld
import numpy as np
import numpy.typing as npt
import pytest
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.metaworld import TASK_NAMES, MetaWorld, ReferenceVectorEnv

Make = Callable[..., ReferenceVectorEnv]
REACH = Task("reach-v3", [0.0, 0.65, 0.02, 0.05, 0.85, 0.1])
SAME_START = Task("reach-v3", [0.0, 0.65, 0.02, -0.08, 0.82, 0.25])
PUSH = Task("push-v3", [0.0, 0.65, 0.02, 0.08, 0.85, 0.02])
DOOR = Task("door-open-v3", [0.05, 0.9, 0.15])


@pytest.fixture(scope="module", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))
        yield


@pytest.fixture
def make() -> Iterator[Make]:
    envs = []

    def make(*args: Any, **kwargs: Any) -> ReferenceVectorEnv:
        envs.append(ReferenceVectorEnv(*args, **kwargs))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def started(env: ReferenceVectorEnv, *tasks: Task) -> npt.NDArray[Any]:
    env.set_tasks(tasks)
    observations, infos = env.reset()
    assert infos == {}
    return observations


def random_actions(steps: int, num_envs: int, seed: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, num_envs, 4))


class Raw:
    """Meta-World by itself: a fresh environment, a task of its own making, reset by hand."""

    def __init__(self, benchmark: metaworld.Benchmark, task: Any) -> None:
        self.env = benchmark.train_classes[task.env_name]()
        self.env.set_task(task)

    def reset(self) -> npt.NDArray[Any]:
        return self.env.reset()[0]

    def play(self, actions: npt.NDArray[Any]) -> list[Any]:
        return [self.env.step(action) for action in actions]


@pytest.fixture(scope="module")
def benchmark() -> metaworld.Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metaworld, "_N_GOALS", 3)
        return metaworld.CustomML(["reach-v3", "push-v3", "door-open-v3", "peg-insert-side-v3"], ["sweep-v3"], seed=11)


@pytest.fixture(scope="module")
def ours() -> tuple[Task, ...]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metaworld, "_N_GOALS", 3)
        classes = ["reach-v3", "push-v3", "door-open-v3", "peg-insert-side-v3"]
        return MetaWorld("custom", train=classes, test=["sweep-v3"], seed=11).train_tasks


def test_trajectories_are_metaworlds_own_bit_for_bit(
    make: Make, benchmark: metaworld.Benchmark, ours: tuple[Task, ...]
) -> None:
    horizon = 12
    env = make(3, horizon=horizon)
    # reach, push, door; then each environment plays another class, one class twice; then the first tasks again
    for seed, chosen in enumerate([(0, 3, 6), (4, 5, 9), (0, 3, 6)]):
        actions = random_actions(2 * horizon, 3, seed)
        raws = [Raw(benchmark, benchmark.train_tasks[i]) for i in chosen]
        assert np.array_equal(started(env, *(ours[i] for i in chosen)), [raw.reset() for raw in raws])
        for episode in (actions[:horizon], actions[horizon:]):
            expected = [raw.play(episode[:, i]) for i, raw in enumerate(raws)]
            restarts = [raw.reset() for raw in raws]
            for step, action in enumerate(episode):
                observations, rewards, terminated, truncated, infos = env.step(action)
                last = step == horizon - 1
                at = [trajectory[step] for trajectory in expected]
                assert np.array_equal(infos["final_obs"] if last else observations, [result[0] for result in at])
                assert np.array_equal(rewards, [result[1] for result in at])
                assert np.array_equal(infos["success"], [bool(result[4]["success"]) for result in at])
                assert not terminated.any()
                assert (truncated == last).all()
                assert ("final_obs" in infos) == ("_final_obs" in infos) == last
                if last:
                    assert infos["_final_obs"].all()
                    assert np.array_equal(observations, restarts)
                assert infos["success"].dtype == np.bool_


def test_the_goal_is_hidden(make: Make) -> None:
    env = make(2)
    observations = started(env, REACH, SAME_START)
    for action in random_actions(10, 1):
        assert np.array_equal(observations[0], observations[1])
        assert not observations[:, -3:].any()
        observations, rewards, *_ = env.step(np.repeat(action, 2, axis=0))
    assert rewards[0] != rewards[1]


def test_reaching_the_goal_is_a_success_and_goes_on(make: Make) -> None:
    env = make(1)
    observations = started(env, REACH)
    solved = []
    for _ in range(60):
        action = np.zeros((1, 4))
        action[0, :3] = 10 * (REACH.parameters[3:] - observations[0, :3] + [0, 0, 0.045])  # fingers are below the hand
        observations, rewards, terminated, truncated, infos = env.step(action)
        solved.append(bool(infos["success"][0]))
        assert not terminated[0]
        assert not truncated[0]
    assert not solved[0]
    assert solved[-1]
    assert rewards[0] == pytest.approx(10)


def test_the_longest_horizon_can_be_played_again(make: Make) -> None:
    env = make(1)
    started(env, REACH)
    ends = [bool(env.step(np.zeros((1, 4)))[3][0]) for _ in range(1000)]
    assert [step for step, end in enumerate(ends, start=1) if end] == [500, 1000]


def test_tasks_take_effect_at_the_next_reset(make: Make) -> None:
    env, control = make(1, horizon=5), make(1, horizon=5)
    started(env, REACH)
    started(control, REACH)
    for step, action in enumerate(random_actions(8, 1)):
        if step == 2:
            env.set_tasks([PUSH])
            assert env.tasks == (PUSH,)
        got, expected = env.step(action), control.step(action)
        assert np.array_equal(got[0], expected[0])  # across the autoreset, too
        assert np.array_equal(got[1], expected[1])
    assert np.array_equal(env.reset()[0], started(make(1), PUSH))


def test_a_reset_in_the_middle_begins_a_whole_episode(make: Make) -> None:
    env = make(1, horizon=4)
    started(env, REACH)
    env.step(np.zeros((1, 4)))
    env.reset(seed=[1])
    assert [bool(env.step(np.zeros((1, 4)))[3][0]) for _ in range(4)] == [False, False, False, True]


def test_environments_are_used_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    initialise = SawyerXYZEnv.__init__

    def counting(self: SawyerXYZEnv, *args: Any, **kwargs: Any) -> None:
        made.append(type(self).__name__)
        initialise(self, *args, **kwargs)

    monkeypatch.setattr(SawyerXYZEnv, "__init__", counting)
    env = make(3)
    for tasks in [(REACH, REACH, PUSH), (PUSH, REACH, PUSH), (REACH, PUSH, SAME_START), (PUSH, PUSH, REACH)]:
        started(env, *tasks)
    assert sorted(made) == ["SawyerPushEnvV3"] * 2 + ["SawyerReachEnvV3"] * 2


def test_actions_are_taken_as_float64_so_that_rewards_are_computed_in_it(make: Make) -> None:
    env, control = make(1), make(1)
    started(env, PUSH)
    started(control, PUSH)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 1, 4)).astype(np.float32):
        got, expected = env.step(action), control.step(action.astype(np.float64))
        assert np.array_equal(got[0], expected[0])
        assert np.array_equal(got[1], expected[1])


def test_results_are_not_overwritten_by_later_steps(make: Make) -> None:
    env = make(1, horizon=2)
    first = started(env, REACH)
    kept, results = first.copy(), []
    for action in random_actions(5, 1):
        observations, rewards, _, truncated, infos = env.step(action)
        arrays = observations, rewards, truncated, *infos.values()
        results.append((arrays, [array.copy() for array in arrays]))
    assert np.array_equal(first, kept)
    assert all(np.array_equal(a, b) for arrays, copies in results for a, b in zip(arrays, copies, strict=True))


def test_every_class_plays_and_has_our_spaces(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metaworld, "_N_GOALS", 1)
    distribution = MetaWorld("ML45")
    tasks = [*distribution.train_tasks, *distribution.test_tasks]
    assert sorted(task.name for task in tasks) == sorted(TASK_NAMES)
    for task in tasks:
        env = make(1)
        observations = started(env, task)
        assert env.observation_space.contains(observations)
        observations, rewards, *_ = env.step(random_actions(1, 1)[0])
        assert env.observation_space.contains(observations)
        assert 0 <= rewards[0] <= 10
        raw: Any = env._playing[0]
        assert len(env._playing) == 1
        assert raw.observation_space == raw.sawyer_observation_space == distribution.observation_space
        assert raw.action_space == distribution.action_space
        assert raw.reward_function_version == "v2"
        env.close()


@pytest.mark.parametrize(
    ("tasks", "complaint"),
    [
        ([REACH], "got 1 for 2"),
        ([REACH, Task("reach-v2", REACH.parameters)], "unknown Meta-World task 'reach-v2'; did you mean 'reach-v3'?"),
        ([REACH, Task("reach-v3", [0.0, 0.65, 0.02])], "rand_vec lies in"),
        ([REACH, Task("reach-v3", [0.0, 0.65, 0.02, 0.05, 0.95, 0.1])], "rand_vec lies in"),
        ([REACH, Task("door-open-v3", [0.05, np.nan, 0.15])], "rand_vec lies in"),
    ],
)
def test_tasks_of_another_family_are_refused(make: Make, tasks: Any, complaint: str) -> None:
    env = make(2)
    started(env, REACH, PUSH)
    with pytest.raises(UserError) as error:
        env.set_tasks(tasks)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    assert env.tasks == (REACH, PUSH)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1, not 0"),
        ({"num_envs": 1, "horizon": 0}, "horizon must be 1 to 500"),
        ({"num_envs": 1, "horizon": 501}, "horizon must be 1 to 500"),
        ({"num_envs": 1, "render_mode": "rgb_aray"}, "did you mean 'rgb_array'?"),
        ({"num_envs": 2, "render_mode": "rgb_array"}, "num_envs must be 1, not 2"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments: Any, complaint: str) -> None:
    with pytest.raises(UserError) as error:
        ReferenceVectorEnv(**arguments)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_the_order_of_calls_is_enforced(make: Make) -> None:
    env = make(1)
    with pytest.raises(UserError, match="set_tasks"):
        env.reset()
    env.set_tasks([REACH])
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros((1, 4)))
    with pytest.raises(UserError, match="one seed per environment"):
        env.reset(seed=[1, 2])
    env.reset(seed=[1])
    with pytest.raises(UserError, match="rgb_array"):
        env.render()


def green(frame: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Rows and columns of the pixels of the goal's ball."""
    red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
    return np.nonzero((green > 120) & (green > 2 * red) & (green > 2 * blue))


def test_frames_show_the_goal_right_side_up(make: Make) -> None:
    env = make(1, render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    low, high = (Task("reach-v3", [-0.1, 0.6, 0.02, 0.05, 0.85, height]) for height in (0.05, 0.3))
    rows = []
    for task in (low, high):
        started(env, task)
        env.step(np.zeros((1, 4)))  # after which Meta-World's own markers may be elsewhere
        (frame,) = env.render()
        assert frame.shape == (480, 480, 3)
        assert frame.dtype == np.uint8
        ball = green(frame)
        assert len(ball[0]) > 100
        rows.append(ball[0].mean())
    assert rows[1] < rows[0] - 50  # the higher goal is nearer to the top row


def test_looking_changes_nothing(make: Make) -> None:
    env, control = make(1, horizon=6, render_mode="rgb_array"), make(1, horizon=6)
    for task in (PUSH, DOOR):
        assert np.array_equal(started(env, task), started(control, task))
        for step, action in enumerate(random_actions(8, 1)):
            if step % 3 == 0:  # the last time after the autoreset
                env.render()
            got, expected = env.step(action), control.step(action)
            assert np.array_equal(got[0], expected[0])
            assert np.array_equal(got[1], expected[1])


def test_frames_stay_right_when_the_class_changes(make: Make) -> None:
    def frame(env: ReferenceVectorEnv, task: Task) -> npt.NDArray[Any]:
        started(env, task)
        return env.render()[0]

    env = make(1, render_mode="rgb_array")
    door, reach, door_again = (frame(env, task) for task in (DOOR, REACH, DOOR))
    env.close()
    assert np.array_equal(door, door_again)
    assert np.array_equal(reach, frame(make(1, render_mode="rgb_array"), REACH))


def test_the_simulator_can_be_handed_to_a_viewer(make: Make) -> None:
    env = make(1, render_mode="rgb_array")
    started(env, DOOR)
    model, data, *_ = env.scene()
    assert np.array_equal(model.body("door").pos, DOOR.parameters)
    before = data.time
    env.step(np.zeros((1, 4)))
    assert data.time == pytest.approx(before + 1 / env.metadata["render_fps"])


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_parameters_that_meta_world_would_draw_again_for_ever(engine: Any) -> None:
    near = Task("reach-v3", [0.0, 0.69, 0.02, 0.0, 0.8, 0.1])  # goal within 15 cm of the object
    env = MetaWorld("ML1", task="reach-v3", horizon=2, engine=engine).make_env(1)

    def begin() -> None:
        env.set_tasks([near])
        env.reset()

    with pytest.raises(UserError, match="Meta-World refuses these parameters"):
        begin()
    env.set_tasks([REACH])
    env.reset()
    env.close()
