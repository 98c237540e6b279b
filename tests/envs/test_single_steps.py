"""Environments that break one rule of Gymnasium at a time: each is refused, by a line that names what is wrong."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl_envs import Task, WrappedDistribution
from metarl_envs.errors import UserError
from metarl_envs.single_steps import checked_frame, checked_reset, checked_step
from metarl_envs.testing import check_distribution

START: tuple[Any, dict[str, Any]] = (np.zeros(2), {})
"""What a reset of `Obedient` returns."""
SOUND = (np.zeros(2), -1.0, False, False, {"success": False})
"""What a step of `Obedient` returns."""


class Obedient(gym.Env[Any, Any]):
    """Returns what it is told to."""

    observation_space = gym.spaces.Box(-10, 10, (2,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)

    def __init__(self, reset: Any = START, step: Any = SOUND) -> None:
        self._reset, self._step = reset, step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._reset

    def step(self, action: Any) -> Any:
        return self._step


def with_part(index: int, value: Any) -> tuple[Any, ...]:
    return (*SOUND[:index], value, *SOUND[index + 1 :])


RESETS: dict[str, tuple[Any, str]] = {
    "an observation alone": (np.zeros(2), r"reset must return \(observation, info\).*array of shape"),
    "info that is no dict": ((np.zeros(2), None), r"reset must return \(observation, info\)"),
    "three values": ((np.zeros(2), {}, {}), "3 values in a tuple"),
    "None": (None, "got None"),
    "too long": ((np.zeros(3), {}), r"shape \(3,\), but observation_space says \(2,\)"),
    "a column": ((np.zeros((2, 1)), {}), r"shape \(2, 1\)"),
    "NaN": ((np.array([0, np.nan]), {}), "not finite: element 1"),
    "a dict": (({"x": np.zeros(2)}, {}), "must be an array"),
    "words": ((["a", "b"], {}), "not numbers"),
    "ragged": (([[1.0], [1.0, 2.0]], {}), "not numbers"),
}
STEPS: dict[str, tuple[Any, str]] = {
    "four values": ((np.zeros(2), 0.0, False, {}), r"4 values in a tuple, as in the old Gym interface"),
    "six values": ((*SOUND, 1), "6 values"),
    "a list": (list(SOUND), "values in a list"),
    "observation too short": (with_part(0, np.zeros(1)), r"shape \(1,\)"),
    "observation infinite": (with_part(0, np.array([np.inf, 0])), "not finite: element 0"),
    "observation None": (with_part(0, None), "must be an array"),
    "reward of two": (with_part(1, np.zeros(2)), r"reward of a step must be a number"),
    "reward None": (with_part(1, None), "reward of a step must be a number"),
    "reward NaN": (with_part(1, float("nan")), "reward of a step is not finite"),
    "reward infinite": (with_part(1, -np.inf), "reward of a step is not finite"),
    "reward a word": (with_part(1, "1"), "reward of a step must be a number"),
    "reward complex": (with_part(1, 1j), "reward of a step must be a number"),
    "terminated None": (with_part(2, None), "terminated must be true or false"),
    "terminated two": (with_part(2, 2), "terminated must be true or false"),
    "terminated a number": (with_part(2, 0.5), "terminated must be true or false"),
    "truncated of two": (with_part(3, np.zeros(2, bool)), "truncated must be true or false"),
    "truncated a dict": (with_part(3, {}), "truncated must be true or false"),
    "info None": (with_part(4, None), "info of a step must be a dict"),
    "info a list": (with_part(4, []), "info of a step must be a dict"),
}


@pytest.mark.parametrize("what", RESETS)
def test_reset_that_breaks_a_rule(what: str) -> None:
    answer, message = RESETS[what]
    with pytest.raises(UserError, match=rf"^Obedient: .*{message}"):
        checked_reset(Obedient(reset=answer), 0, None)


@pytest.mark.parametrize("what", STEPS)
def test_step_that_breaks_a_rule(what: str) -> None:
    answer, message = STEPS[what]
    with pytest.raises(UserError, match=rf"^Obedient: .*{message}"):
        checked_step(Obedient(step=answer), np.zeros(1))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (None, "got None"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((3, 4), np.uint8), r"shape \(3, 4\)"),
        (np.zeros((3, 4, 3)), "type float64"),
        ([np.zeros((3, 4, 3), np.uint8)], "1 values in a list"),
    ],
    ids=["nothing", "RGBA", "grey", "floats", "list"],
)
def test_picture_that_is_not_rgb(picture: Any, message: str) -> None:
    env = Obedient()
    env.render = lambda: picture  # type: ignore[method-assign]
    with pytest.raises(UserError, match=rf"Obedient: render must return an RGB picture.*{message}"):
        checked_frame(env)


@given(
    reward=st.one_of(
        st.floats(-10, 10), st.integers(-5, 5), st.floats(-1, 1, width=32).map(lambda x: np.full((1,), x, np.float32))
    ),
    terminated=st.sampled_from([True, False, np.True_, 0, 1, np.zeros((1,), bool)]),
    dtype=st.sampled_from([np.float64, np.float32, np.int64]),
)
@settings(max_examples=50, deadline=None)
def test_sound_answers_are_taken_as_plain_numbers(reward: Any, terminated: Any, dtype: Any) -> None:
    answer: Any = (np.ones(2, dtype), reward, terminated, False, {})
    observation, number, flag, _, _ = checked_step(Obedient(step=answer), np.zeros(1))
    assert observation.dtype == np.float64
    assert (type(number), type(flag)) == (float, bool)
    assert number == pytest.approx(float(np.asarray(reward).reshape(())))
    assert flag == bool(np.asarray(terminated).reshape(()))


class OldReset(Obedient):
    def reset(self) -> Any:  # type: ignore[override]
        return np.zeros(2)


def test_reset_of_the_old_interface() -> None:
    with pytest.raises(UserError, match=r"OldReset: reset does not take seed and options, as in the old Gym"):
        checked_reset(OldReset(), 0, None)


class Line(gym.Env[Any, Any]):
    """Walks on a line towards a goal that it does not see; flaws as told."""

    observation_space = gym.spaces.Box(-10, 10, (1,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float64)
    goal = 0.0

    def __init__(self, redraws: bool = False, shows: float | None = None, key: str = "success") -> None:
        self._redraws, self._shows, self._key = redraws, shows, key
        if shows is not None:
            self.observation_space = gym.spaces.Box(-10, 10, (2,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._x = 0.0
        if self._redraws:
            self.goal = float(self.np_random.uniform(-3, 3))
        return self._seen(), {}

    def _seen(self) -> Any:
        return np.array([self._x] if self._shows is None else [self._x, self._shows * self.goal + 1])

    def step(self, action: Any) -> Any:
        self._x += float(action[0])
        far = abs(self._x - self.goal)
        return self._seen(), -far, False, False, {self._key: far < 0.1}


class Outer(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that does nothing."""


def family(make: Callable[[], Any], name: str = "goal", unwrapped: bool = True) -> WrappedDistribution:
    def apply(env: Any, task: Task) -> None:
        setattr(env.unwrapped if unwrapped else env, name, float(task.parameters[0]))

    tasks = [Task("line", [goal]) for goal in np.linspace(-3, 3, 8)]
    return WrappedDistribution("line", tasks[:6], tasks[6:], lambda mode: make(), apply, 5)


@pytest.mark.parametrize(
    "broken",
    [
        family(lambda: Outer(Line()), unwrapped=False),
        family(lambda: Line(redraws=True)),
        family(Line, name="gaol"),
    ],
    ids=["attribute of a wrapper", "reset draws again", "misspelt attribute"],
)
def test_tasks_without_effect(broken: WrappedDistribution) -> None:
    with pytest.raises(AssertionError, match="tasks have no effect"):
        check_distribution(broken)
    check_distribution(broken, random_tells=False)


@pytest.mark.parametrize("factor", [1.0, -2.0])
def test_tasks_that_observations_show(factor: float) -> None:
    shown = family(lambda: Line(shows=factor))
    with pytest.raises(AssertionError, match=r"observations show the task.*element 1 tells parameter 0"):
        check_distribution(shown)
    shown.task_visible = True
    check_distribution(shown)


def test_sound_family() -> None:
    check_distribution(family(Line))


def test_success_that_is_never_told() -> None:
    with pytest.warns(UserWarning, match="no step's info tells of success"):
        check_distribution(family(lambda: Line(key="reached")))


def test_goal_environments_are_told_to_leave_the_goal_out() -> None:
    class Goal(Obedient):
        observation_space = gym.spaces.Dict(  # type: ignore[assignment]
            {name: gym.spaces.Box(-1, 1, (1,)) for name in ("observation", "achieved_goal", "desired_goal")}
        )

    with pytest.raises(UserError, match=r"\['achieved_goal', 'observation'\], since 'desired_goal' shows the task"):
        family(Goal)


def test_time_limit_shorter_than_the_horizon(caplog: pytest.LogCaptureFixture) -> None:
    def make(steps: int) -> WrappedDistribution:
        tasks = [Task("cartpole", [gravity]) for gravity in range(4)]
        return WrappedDistribution(
            "cartpole",
            tasks[:2],
            tasks[2:],
            lambda mode: gym.make("CartPole-v1", max_episode_steps=steps),
            lambda env, task: None,
            30,
        )

    make(30)
    assert not caplog.records
    make(20)
    (record,) = caplog.records
    assert "CartPole-v1 ends its episodes after 20 steps, before the horizon of 30" in record.getMessage()
