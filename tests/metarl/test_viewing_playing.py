"""Adapting and playing one task: what the agent is told in which order, and what the moments say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from metarl.acting.agents import Agent
from metarl.data.steps import Array, BoolArray, Step, Timestep, TimestepLike
from metarl.evaluation import evaluate
from metarl.viewing.playing import Moment, adapt_and_play
from metarl_envs.core import StepResult, Task, TaskVectorEnv
from metarl_envs.navigation import Navigation

GOAL = Task("line", [2.0])
HORIZON = 4


class Line(TaskVectorEnv):
    """A point starts at its seed and moves along a line; the reward is minus the distance to the goal."""

    def __init__(self, lands_at: int | None = None) -> None:
        self.num_envs, self.horizon = 1, HORIZON
        self.lands_at = lands_at
        self.seeds: list[int | None] = []

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks = self._check_count(tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        self.seeds += self._seed_each(seed)
        return self._begin(), {}

    def _begin(self) -> Array:
        self.position, self.elapsed = 0, 0
        return np.array([[self.position]])  # integers, which the agent must get as float64

    def step(self, actions: Array) -> StepResult:
        self.position += int(actions[0, 0])
        self.elapsed += 1
        distance = abs(self.position - self.tasks[0].parameters[0])
        terminated, truncated = self.position == self.lands_at, self.elapsed == HORIZON
        observation = np.array([[self.position]])
        infos: dict[str, Any] = {"success": np.array([distance == 0])}
        if terminated or truncated:
            infos |= {"final_obs": observation, "_final_obs": np.array([True])}
            observation = self._begin()
        return observation, np.array([-distance]), np.array([terminated]), np.array([truncated]), infos


class Scripted:
    """Stands still until it has adapted to an episode, then moves; notes every call."""

    def __init__(self, adaptation_steps: int = 1) -> None:
        self.adaptation_steps = adaptation_steps
        self.calls: list[str] = []
        self.told: list[TimestepLike] = []

    def init(self) -> None:
        self.calls.append("init")
        self.velocity = 0.0

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        assert observations.dtype == np.float64
        self.calls.append("explore")
        return np.array([[1.0]]), {"log_prob": np.array([-0.5])}

    def eval_action(self, observations: Array) -> Array:
        assert observations.dtype == np.float64
        self.calls.append("act")
        return np.array([[self.velocity]])

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        self.calls.append("step")
        self.told.append(timestep)

    def adapt(self) -> None:
        self.calls.append("adapt")
        self.velocity = float(bool(self.told))

    def reset(self, env_mask: BoolArray) -> None:
        assert env_mask.tolist() == [True]
        self.calls.append("reset")


def play(episodes: int, agent: Agent | None = None, env: TaskVectorEnv | None = None, seed: int = 0) -> list[Moment]:
    return list(adapt_and_play(agent or Scripted(), env or Line(), GOAL, episodes, seed))


def test_moments_before_adaptation() -> None:
    assert play(0) == [
        Moment(0, 0.0, None),
        Moment(1, -2.0, None),
        Moment(2, -4.0, None),
        Moment(3, -6.0, None),
        Moment(4, -8.0, None, over=True),
    ]


def test_moments_after_adaptation() -> None:
    assert play(1) == [
        Moment(0, 0.0, None),
        Moment(1, -1.0, None),
        Moment(2, -1.0, 2),
        Moment(3, -2.0, 2),  # solved it stays, though the goal is left
        Moment(4, -4.0, 2, over=True),
    ]


def make_step(*, reward: float, solved: bool, ended: bool) -> Step:
    """A step of a single environment."""
    no = np.array([False])
    nothing = np.zeros((1, 1))
    timestep = Timestep(nothing, nothing, np.array([reward]), no, np.array([ended]), {})
    return Step(0, timestep, ~no, np.zeros(1, np.int64), np.array([solved]), None, no, ())


def test_the_first_success_counts() -> None:
    moment = Moment(4, 1.5, None).after(make_step(reward=0.5, solved=True, ended=False))
    assert moment == Moment(5, 2.0, 5)
    assert moment.after(make_step(reward=1.0, solved=True, ended=True)) == Moment(6, 3.0, 5, over=True)


def test_a_terminal_state_ends_the_episode() -> None:
    moments = play(1, env=Line(lands_at=3))
    assert moments[-1] == Moment(3, -2.0, 2, over=True)


@pytest.mark.parametrize(
    ("adaptation_steps", "episodes", "rounds"),
    [(1, 0, [0]), (3, 0, [0]), (1, 3, [3]), (2, 3, [2, 1]), (3, 6, [2, 2, 2]), (3, 2, [1, 1])],
)
def test_order_of_calls(adaptation_steps, episodes, rounds) -> None:
    agent = Scripted(adaptation_steps)
    play(episodes, agent)
    expected = ["init"]
    for count in rounds:
        expected += ["explore", "step"] * (count * HORIZON) + ["adapt"]
    assert agent.calls == [*expected, "reset", *["act", "step"] * HORIZON, "reset"]


@pytest.mark.parametrize(("adaptation_steps", "episodes"), [(1, 0), (2, 0), (1, 3), (2, 3), (3, 2)])
def test_what_is_watched_is_what_is_measured(adaptation_steps, episodes) -> None:
    watched, measured = Scripted(adaptation_steps), Scripted(adaptation_steps)
    play(episodes, watched)
    evaluate(measured, Navigation(1, 1), [GOAL], adaptation_episodes=[episodes], episodes=1, seed=0, env=Line())
    assert measured.calls == watched.calls


def test_agent_is_told_what_happened() -> None:
    agent = Scripted()
    play(2, agent)
    exploring, acting = agent.told[1], agent.told[-1]
    assert exploring.observation.tolist() == [[1.0]]
    assert exploring.action.tolist() == [[1.0]]
    assert exploring.reward.tolist() == [0.0]
    assert {name: value.tolist() for name, value in exploring.aux_policy_outputs.items()} == {"log_prob": [-0.5]}
    assert acting.observation.tolist() == [[3.0]]
    assert (acting.terminated.tolist(), acting.truncated.tolist()) == ([False], [True])


def test_episodes_before_and_after_start_from_the_same_seed() -> None:
    before, after, elsewhere = Line(), Line(), Line()
    play(0, env=before)
    play(5, Scripted(adaptation_steps=2), env=after)
    play(0, env=elsewhere, seed=1)
    assert before.seeds[-1] == after.seeds[-1] != elsewhere.seeds[-1]
    assert len(set(after.seeds)) == 3  # two rounds of adaptation, each with a seed of its own
