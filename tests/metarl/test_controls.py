"""Controls on small problems whose answers are known."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from metarl.acting.agents import TrainedAgent
from metarl.config import NavigationTasks
from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.evaluation import behaviour as behaviour_module
from metarl.evaluation.behaviour import behaviour
from metarl.evaluation.control_table import control_table, own_episodes_gain
from metarl.evaluation.controls import choose_controls, partners, play_control
from metarl.evaluation.match import Match
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.navigation import optimal_return


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class GoalFinder(TrainedAgent):
    """Infers the goal of navigation from the rewards of its first two moves, exactly, and goes there."""

    adaptation_steps = 1

    def init(self) -> None:
        self._goals: Array | None = None
        self._points: list[tuple[Array, Array]] = []
        self._moves = 0

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        self._moves += 1
        moves = ((0.1, 0.0), (0.0, 0.1), (-0.1, 0.0))
        return np.tile(moves[(self._moves - 1) % 3], (len(observations), 1)), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        if self._goals is None:
            self._points.append((timestep.observation + timestep.action, -timestep.reward))

    def adapt(self) -> None:
        if len(self._points) < 3:
            return
        # |x_i - g|^2 = d_i^2 for i = 0, 1, 2: the differences to the first are linear in g
        (x0, d0), (x1, d1), (x2, d2) = self._points[:3]
        rows = np.stack([2 * (x1 - x0), 2 * (x2 - x0)], axis=1)
        right = np.stack([(x**2 - x0**2).sum(1) - d**2 + d0**2 for x, d in ((x1, d1), (x2, d2))], axis=1)
        self._goals = np.linalg.solve(rows, right[..., None])[..., 0]

    def reset(self, env_mask: BoolArray) -> None:
        pass

    def eval_action(self, observations: Array) -> Array:
        goals = np.zeros_like(observations) if self._goals is None else self._goals
        return np.asarray(np.clip(goals - observations, -0.1, 0.1))


CONFIG = NavigationTasks(num_train_tasks=5, num_test_tasks=6, horizon=8)


def match(num_envs: int = 4, **changes: Any) -> Match:
    family = CONFIG.build()
    fields: dict[str, Any] = {
        "agent": GoalFinder(),
        "config": CONFIG,
        "distribution": family,
        "tasks": family.test_tasks,
        "adaptation_episodes": (0, 1),
        "episodes": 2,
        "seed": 3,
        "num_envs": num_envs,
    }
    return Match(**fields | changes)


def test_an_agent_that_adapts_to_the_task_gains_and_shuffled_it_does_not() -> None:
    against = match()
    found = against.play(against.agent, (0, 1))
    best = [optimal_return(task, 8) for task in against.tasks]
    np.testing.assert_allclose(found.returns[1].mean(-1), best, atol=1e-6)
    shuffled, from_cache = play_control("shuffled", against)
    assert not from_cache
    assert np.array_equal(shuffled.returns[0], found.returns[0])
    # It goes to its partner's goal instead: its return there is known, too.
    for row, (task, other) in enumerate(zip(against.tasks, partners(against.tasks), strict=True)):
        steps = np.arange(1, 9)[:, None]
        path = np.sign(other.parameters) * np.minimum(np.abs(other.parameters), 0.1 * steps)
        expected = -np.linalg.norm(path - task.parameters, axis=1).sum()
        np.testing.assert_allclose(shuffled.returns[1, row], expected, atol=1e-6)
    gain, beyond = shuffled.overall[1].return_gain, own_episodes_gain(found, shuffled).return_gain
    assert gain is not None
    assert gain.mean < 0
    assert beyond is not None
    assert beyond.mean == pytest.approx((found.returns[1] - shuffled.returns[1]).mean())
    console = Console(width=80, file=io.StringIO())
    console.print(control_table(found, {"shuffled": shuffled, "random": play_control("random", against)[0]}))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[:2] for line in lines if line.startswith((" policy", " shuffled "))] == [
        ["policy", "0"],
        ["policy", "1"],
        ["shuffled", "0"],
        ["shuffled", "1"],
    ]
    assert any(line.startswith("Beyond another task's episodes, those of the task itself bring +") for line in lines)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
@settings(deadline=None)
def test_partners_are_a_derangement_within_each_name(names) -> None:
    tasks = [Task(name, [index]) for index, name in enumerate(names)]
    if any(names.count(name) < 2 for name in names):
        with pytest.raises(UserError, match="at least two tasks of each name"):
            partners(tasks)
        return
    others = partners(tasks)
    assert sorted(task.id for task in others) == sorted(task.id for task in tasks)
    assert all(task != other and task.name == other.name for task, other in zip(tasks, others, strict=True))


def test_random_actions_gain_nothing_and_are_paid_once(cache: Path) -> None:
    first, from_cache = play_control("random", match())
    assert (from_cache, first.adaptation_episodes) == (False, (0,))
    (entry,) = cache.iterdir()
    again, from_cache = play_control("random", match())
    assert from_cache
    assert again.to_dict() == first.to_dict()
    assert first.returns.mean() < np.mean([optimal_return(task, 8) for task in match().tasks]) - 0.5
    for change in ({"seed": 4}, {"episodes": 3}, {"tasks": match().tasks[:5]}):
        assert not play_control("random", match(**change))[1]
    entry.write_text("{}")
    assert not play_control("random", match())[1]


def test_other_rewards_are_other_results(monkeypatch: pytest.MonkeyPatch) -> None:
    family = CONFIG.build()
    before = behaviour(family, family.test_tasks)
    assert before == behaviour(family, family.test_tasks)
    assert len(set(before)) == len(before)
    monkeypatch.setattr("metarl_envs.navigation.SUCCESS_DISTANCE", 10.0)
    assert not set(before) & set(behaviour(family, family.test_tasks))


def test_random_actions_cover_each_kind_of_space() -> None:
    import gymnasium as gym

    rng = np.random.default_rng(0)
    discrete = behaviour_module.random_actions(gym.spaces.Discrete(3, start=2), 200, rng)
    assert set(discrete.tolist()) == {2, 3, 4}
    low, high = np.array([-1.0, 2.0, -np.inf]), np.array([1.0, 3.0, 0.5])
    box = behaviour_module.random_actions(gym.spaces.Box(low, high, dtype=np.float64), 500, rng)
    assert box.shape == (500, 3)
    assert (np.abs(box[:, 0]) <= 1).all()
    assert box[:, 1].min() == pytest.approx(2, abs=0.02)
    assert box[:, 1].max() == pytest.approx(3, abs=0.02)
    assert (box[:, 2] <= 0.5).all()
    assert box[:, 2].std() > 0.5


def test_all_takes_those_that_apply_and_says_why_others_do_not() -> None:
    names, reasons = choose_controls(["all"], match(tasks=CONFIG.build().test_tasks[:1]))
    assert names == ["random", "oracle"]
    assert [reason.partition(":")[0] for reason in reasons] == ["shuffled", "state-held", "cloning", "gail", "expert"]
    assert choose_controls(["random", "random"], match()) == (["random"], [])
    with pytest.raises(UserError, match="unknown control 'shufled'; did you mean 'shuffled'"):
        choose_controls(["shufled"], match())
    with pytest.raises(UserError, match="no recurrent state to hold"):
        choose_controls(["all", "state-held"], match())


def test_without_its_package_the_oracle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "stable_baselines3", None)
    with pytest.raises(UserError, match="ppo needs the package stable-baselines3: pip install") as caught:
        choose_controls(["oracle"], match())
    assert "\n" not in str(caught.value)


def test_the_oracle_sees_the_goal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a trained policy one that goes where its observation says: the best that there is."""
    trained: list[tuple[Any, ...]] = []

    def train(*arguments: Any) -> Any:
        trained.append(arguments)
        return lambda observations: np.clip(observations[:, 2:] - observations[:, :2], -0.1, 0.1)

    monkeypatch.setattr("metarl.baselines.oracle.train_oracle", train)
    against = match(oracle_steps=77)
    found, _ = play_control("oracle", against)
    np.testing.assert_allclose(found.returns[0].mean(-1), [optimal_return(task, 8) for task in against.tasks])
    assert trained[0][1:4] == (77, 5, 3)
    assert found.distribution == "navigation"
    assert play_control("oracle", match(oracle_steps=77))[1]
    assert not play_control("oracle", match(oracle_steps=78))[1]


def test_the_oracle_learns_on_training_tasks_only() -> None:
    from metarl.baselines.oracle import TaskVecEnv, train_oracle

    family = match().visible
    seen: set[str] = set()

    class Watched(TaskVecEnv):
        def reset(self) -> Array:
            observations = super().reset()
            seen.update(task.id for task in self.env.tasks)
            np.testing.assert_array_equal(observations[:, 2:], [task.parameters for task in self.env.tasks])
            return observations

    vector = Watched(family, 3, seed=0)
    vector.reset()
    for step in range(1, 3 * 8 + 1):
        observations, rewards, ended, infos = vector.step(np.zeros((3, 2)))
        assert ended.all() == ended.any() == (step % 8 == 0)
        goals = _goals_of(infos, observations)
        np.testing.assert_allclose(rewards, -np.linalg.norm(goals, axis=1))
        if ended.any():
            assert all(info["TimeLimit.truncated"] for info in infos)
    vector.close()
    assert seen == {task.id for task in family.train_tasks}
    told: list[int] = []
    act = train_oracle(family, 1, 1, 0, told.append)
    assert sum(told) == 2048  # one rollout of stable-baselines3's default
    assert act(np.zeros((3, 4))).shape == (3, 2)


def _goals_of(infos: Any, observations: Any) -> Array:
    """Goals that a step was rewarded for: of the episode that ended, if one did."""
    return np.stack([info.get("terminal_observation", row)[2:] for info, row in zip(infos, observations, strict=True)])
