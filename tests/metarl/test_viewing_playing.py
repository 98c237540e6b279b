"""Adapting and playing one task: what the agent is told in which order, and what the moments say."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from metarl.acting.agents import Agent, Shown, TrainedAgent
from metarl.data.steps import Array, BoolArray, Step, Timestep, TimestepLike
from metarl.demonstrations import Demonstration
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


def moments(title: str, rewards: list[float], solved_at: int | None = None, episode: int = 0) -> list[Moment]:
    """The moments of an episode, solved in one step and all that follow."""
    total, found = 0.0, [Moment(title, episode)]
    for step, reward in enumerate(rewards, start=1):
        total += reward
        solved = solved_at if solved_at is not None and step >= solved_at else None
        found.append(Moment(title, episode, step, reward, total, solved, over=step == len(rewards)))
    return found


def test_moments_before_adaptation() -> None:
    assert play(0) == moments("before adaptation", [-2.0] * 4)


def test_moments_after_adaptation() -> None:
    # Solved it stays, though the goal is left.
    assert play(1) == moments("after 1 adaptation episode", [-1.0, 0.0, -1.0, -2.0], solved_at=2)


def test_a_trial_shows_its_adaptation_episodes_first() -> None:
    shown = list(adapt_and_play(Scripted(), Line(), GOAL, 2, 0, episodes=2, trial=True))
    titles = [
        "adaptation episode 1 of 2",
        "adaptation episode 2 of 2",
        "after 2 adaptation episodes, episode 1 of 2",
        "after 2 adaptation episodes, episode 2 of 2",
    ]
    expected = [moments(title, [-1.0, 0.0, -1.0, -2.0], 2, number) for number, title in enumerate(titles)]
    assert shown == [moment for episode in expected for moment in episode]


class Watching(Scripted):
    """Moves once it was shown something; two steps to the right are shown."""

    def show(self, tasks: Sequence[Task], count: int) -> None:
        self.calls.append(f"show {count}")
        self.velocity = float(count > 0)

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        shown = Demonstration(task, np.zeros((3, 1), np.float32), np.ones((2, 1), np.float32))
        return [shown] * count


def test_a_trial_shows_the_demonstrations_then_the_policy() -> None:
    agent = Watching()
    assert isinstance(agent, Shown)
    found = list(adapt_and_play(agent, Line(), GOAL, 2, 0, trial=True))
    demonstrations = [
        [replace(each, over=False) for each in moments(f"demonstration {index} of 2", [-1.0, 0.0], 2, index - 1)]
        for index in (1, 2)
    ]
    own = moments("after 2 demonstrations", [-1.0, 0.0, -1.0, -2.0], 2, 2)
    assert found == [moment for episode in (*demonstrations, own) for moment in episode]
    assert agent.calls[0] == "show 2"
    assert list(adapt_and_play(agent, Line(), GOAL, 2, 0)) == [replace(moment, episode=0) for moment in own]


def test_what_the_agent_tries_is_told() -> None:
    class Trying(Scripted, TrainedAgent):
        def intent(self, env: int) -> str:
            return f"try {self.calls.count('init')}"

    first, *rest = play(0, Trying())
    assert first.intent is None  # before its first action
    assert {moment.intent for moment in rest} == {"try 1"}


def make_step(*, reward: float, solved: bool, ended: bool) -> Step:
    """A step of a single environment."""
    no = np.array([False])
    nothing = np.zeros((1, 1))
    timestep = Timestep(nothing, nothing, np.array([reward]), no, np.array([ended]), {})
    return Step(0, timestep, ~no, np.zeros(1, np.int64), np.array([solved]), None, no, ())


def test_the_first_success_counts() -> None:
    moment = Moment("", 0, 4, 0.5, 1.5).after(make_step(reward=0.5, solved=True, ended=False))
    assert moment == Moment("", 0, 5, 0.5, 2.0, 5)
    later = moment.after(make_step(reward=1.0, solved=True, ended=True))
    assert later == Moment("", 0, 6, 1.0, 3.0, 5, over=True)


def test_a_terminal_state_ends_the_episode() -> None:
    last = play(1, env=Line(lands_at=3))[-1]
    assert (last.step, last.episode_return, last.solved_at, last.over) == (3, -2.0, 2, True)


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


@pytest.mark.parametrize("episodes", [0, 5])
def test_seeds_are_those_of_the_evaluation(episodes) -> None:
    watched, measured, elsewhere = Line(), Line(), Line()
    play(episodes, Scripted(adaptation_steps=2), env=watched)
    play(episodes, Scripted(adaptation_steps=2), env=elsewhere, seed=1)
    evaluate(
        Scripted(adaptation_steps=2),
        Navigation(1, 1),
        [GOAL],
        adaptation_episodes=[episodes],
        episodes=1,
        seed=0,
        env=measured,
    )
    assert watched.seeds == measured.seeds != elsewhere.seeds
