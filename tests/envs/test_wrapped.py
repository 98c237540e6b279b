import sys
import threading
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest

from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.testing import check_distribution
from metarl_envs.wrapped import WrappedDistribution, WrappedVectorEnv

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # worker processes cannot import a test module
TASKS = [Task("count", [level]) for level in range(1, 9)]


class Counter(gym.Env):
    """Counts its own steps; observes (count, level, a random number of its reset)."""

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = gym.spaces.Box(-100, 100, (3,), np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.metadata = {"render_modes": ["rgb_array"]}
        self.render_mode = render_mode
        self.level = 0.0
        self.calls: list[Any] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.calls.append(("reset", seed, options))
        self.count, self.noise = 0, self.np_random.uniform()
        return self._observation(), {}

    def step(self, action: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.calls.append(action)
        self.count += 1
        return self._observation(), float(action.sum()), self.count == self.level, False, {"success": self.count == 2}

    def _observation(self) -> npt.NDArray[Any]:
        return np.array([self.count, self.level, self.noise], dtype=np.float32)

    def render(self) -> npt.NDArray[Any]:
        frame = np.zeros((4, 5, 3), dtype=np.uint8)
        frame[0] = int(self.level)
        return frame


def apply_level(env: Any, task: Task) -> None:
    env.calls.append(("apply", task.parameters[0]))
    env.level = task.parameters[0]


def make(num_envs: int = 2, horizon: int = 4, **options: Any) -> tuple[WrappedVectorEnv, list[Counter]]:
    made = []

    def make_single(render_mode: str | None) -> Any:
        made.append(Counter(render_mode))
        return made[-1]

    return WrappedVectorEnv(make_single, apply_level, num_envs, horizon, **options), made


def test_a_task_is_applied_once_at_the_reset_after_set_tasks_and_before_the_environments_own() -> None:
    env, (first, second) = make()
    env.set_tasks(TASKS[6:8])
    assert first.calls == []
    env.reset(seed=[5, 6], options={"a": 1})
    assert first.calls == [("apply", 7.0), ("reset", 5, {"a": 1})]
    assert second.calls == [("apply", 8.0), ("reset", 6, {"a": 1})]
    env.reset()
    assert first.calls[2:] == [("reset", None, None)]
    assert env.tasks == tuple(TASKS[6:8])


def test_episodes_end_at_the_horizon_or_earlier_and_begin_again_in_the_same_step() -> None:
    env, _ = make()
    env.set_tasks([TASKS[1], TASKS[7]])  # the first terminates after 2 steps, the second is cut after 4
    env.reset(seed=0)
    actions = np.zeros((2, 2))
    counts: list[Any] = []
    ends: list[Any] = []
    for _ in range(4):
        observations, _, terminated, truncated, infos = env.step(actions)
        counts.append(observations[:, 0].tolist())
        ends.append((terminated.tolist(), truncated.tolist()))
        if infos.get("_final_obs") is not None:
            finals = infos["final_obs"][infos["_final_obs"], 0].tolist()
            ends[-1] += (infos["_final_obs"].tolist(), finals)
        assert infos["success"].dtype == np.bool_
    assert counts == [[1, 1], [0, 2], [1, 3], [0, 0]]
    assert ends == [
        ([False, False], [False, False]),
        ([True, False], [False, False], [True, False], [2.0]),
        ([False, False], [False, False]),
        ([True, False], [False, True], [True, True], [2.0, 4.0]),
    ]


def test_success_is_that_of_the_step_just_made() -> None:
    env, _ = make()
    env.set_tasks(TASKS[6:8])
    env.reset(seed=0)
    assert [env.step(np.zeros((2, 2)))[4]["success"].tolist() for _ in range(3)] == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]


def test_success_may_be_a_function_of_ones_own() -> None:
    env, _ = make(success=lambda env, info: env.count == 3 and not info["success"])
    env.set_tasks(TASKS[6:8])
    env.reset(seed=0)
    assert [env.step(np.zeros((2, 2)))[4]["success"].all() for _ in range(4)] == [False, False, True, False]


def test_actions_are_cast_and_clipped_to_the_action_space() -> None:
    env, (first, _) = make()
    env.set_tasks(TASKS[6:8])
    env.reset()
    _, rewards, *_ = env.step(np.array([[3.0, 0.25], [-3.0, -3.0]]))
    assert rewards.tolist() == [1.25, -2.0]
    assert first.calls[-1].dtype == np.float32


def test_observations_are_float64_as_their_space_says() -> None:
    env, _ = make()
    env.set_tasks(TASKS[6:8])
    observations, infos = env.reset()
    assert env.observation_space.contains(observations)
    assert observations.dtype == np.float64
    assert infos == {}


def test_seeds_count_up_and_autoreset_continues_each_stream() -> None:
    def noises(seed: int | list[int]) -> npt.NDArray[Any]:
        env, _ = make(horizon=1)
        env.set_tasks(TASKS[6:8])
        first, _ = env.reset(seed=seed)
        second, *_ = env.step(np.zeros((2, 2)))
        return np.stack([first[:, 2], second[:, 2]])

    expected = [np.random.default_rng(seed).uniform(size=2).astype(np.float32) for seed in (5, 6)]
    np.testing.assert_array_equal(noises(5), np.transpose(expected))
    np.testing.assert_array_equal(noises([5, 6]), noises(5))


def test_renders_one_frame_per_environment() -> None:
    env, _ = make(render_mode="rgb_array")
    env.set_tasks(TASKS[6:8])
    env.reset()
    frames = env.render()
    assert [frame.shape for frame in frames] == [(4, 5, 3)] * 2
    assert [int(frame.max()) for frame in frames] == [7, 8]


def distribution(make_single: Any = Counter, horizon: int = 4) -> WrappedDistribution:
    return WrappedDistribution("counting", TASKS[:4], TASKS[4:], make_single, apply_level, horizon)


def test_a_wrapped_distribution_keeps_the_contract() -> None:
    family = distribution()
    family.task_visible = True  # its observations show the level
    check_distribution(family, render=True)


@pytest.mark.parametrize(("name", "horizon"), [("CartPole-v1", 30), ("Pendulum-v1", 5)])
def test_gymnasiums_own_environments_keep_the_contract(name: str, horizon: int) -> None:
    # CartPole terminates and has discrete actions.
    tasks = [Task(name, [gravity]) for gravity in (5.0, 10.0, 15.0)]

    def apply_gravity(env: Any, task: Task) -> None:
        env.unwrapped.gravity = env.unwrapped.g = task.parameters[0]

    check_distribution(
        WrappedDistribution(
            name,
            tasks[:2],
            tasks[2:],
            lambda mode: gym.make(name, render_mode=mode),
            apply_gravity,
            horizon,
            success=lambda env, info: False,
        ),
        num_envs=2,
    )


def test_an_unknown_render_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"counting has no render mode 'human'; its environment has \['rgb_array'\]"):
        distribution().make_env(1, render_mode="human")


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        ("observation_space", gym.spaces.Box(0, 1, (2, 2)), "FlattenObservation"),
        ("observation_space", gym.spaces.Discrete(3), "flat Box"),
        ("action_space", gym.spaces.Box(0, 1, (2, 2)), "actions must be"),
        ("action_space", gym.spaces.MultiBinary(3), "actions must be"),
        ("action_space", gym.spaces.Discrete(3, start=1), "start at 0, not 1"),
    ],
)
def test_spaces_that_are_not_flat_are_refused(space: str, value: gym.Space[Any], message: str) -> None:
    def make_single(render_mode: str | None) -> Any:
        env = Counter(render_mode)
        setattr(env, space, value)
        return env

    with pytest.raises(UserError, match=message):
        distribution(make_single)


def level_family(make_single: Callable[[str | None], Any], apply: Callable[[Any, Task], object]) -> WrappedDistribution:
    return WrappedDistribution("count", TASKS[:6], TASKS[6:], make_single, apply, horizon=4)


def test_ids_that_the_program_registered_are_known_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    gym.register(
        "CountForWorkers-v0",
        entry_point=lambda **options: Counter(**options),
        disable_env_checker=True,
        order_enforce=False,
    )
    gym.register(
        "NotForWorkers-v0", entry_point=lambda **options: Counter(**options), kwargs={"lock": threading.Lock()}
    )  # cannot be pickled
    family = level_family(lambda mode: gym.make("CountForWorkers-v0", render_mode=mode), lambda env, task: None)
    env = family.make_env(2)
    env.set_tasks(TASKS[:2])
    assert env.reset(seed=1)[0].shape == (2, 3)
    env.close()


def test_what_cannot_be_pickled_is_told_with_what_to_do() -> None:
    lock = threading.Lock()
    family = level_family(Counter, lambda env, task: lock.acquire())
    with pytest.raises(UserError) as caught:
        family.make_env(2)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)
    assert str(caught.value).endswith("make that inside the function that makes an environment")


@pytest.mark.parametrize("horizon", [0, -1, 10**9])
def test_a_horizon_that_makes_no_sense_is_refused(horizon: Any) -> None:
    with pytest.raises(UserError, match=r"^horizon must be a whole number from 1 to 1000000: got "):
        WrappedDistribution("count", TASKS[:6], TASKS[6:], Counter, apply_level, horizon=horizon)
