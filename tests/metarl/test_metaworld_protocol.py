"""Meta-World's own evaluator beside ours, on agents of which it is known what they solve."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.maml.config import MAMLConfig
from metarl.config import MetaWorldTasks, NavigationTasks, RunConfig
from metarl.data.steps import Array
from metarl.evaluation import evaluate
from metarl.evaluation.control_agents import FixedAgent
from metarl.evaluation.controls import choose_controls, play_control
from metarl.evaluation.match import Match
from metarl.evaluation.metaworld_protocol import (
    KIND,
    MetaWorldProtocol,
    check_metaworld,
    read_protocols,
    run_metaworld_protocol,
    write_protocol,
)
from metarl.evaluation.stored import write_result
from metarl.runs import RunDirectory
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.navigation import Navigation

HORIZON = 60


@pytest.fixture(scope="module")
def reach() -> TaskDistribution:
    return MetaWorldTasks(benchmark="ML1", task="reach-v3", horizon=HORIZON).build()


class HalfSolver(FixedAgent):
    """Solves every second environment's task, fast, by going to the goal that it is told; elsewhere it does nothing."""

    def __init__(self, goals: Array) -> None:
        super().__init__(self._choose)
        self._goals = goals

    def _choose(self, observations: Array) -> Array:
        actions = np.zeros((len(observations), 4))
        actions[:, :3] = np.clip(10 * (self._goals - observations[:, :3]), -1, 1)
        actions[1::2] = 0
        return actions


def test_half_of_the_goals_solved_is_half_by_ours_and_more_by_meta_worlds(reach: TaskDistribution) -> None:
    tasks = reach.test_tasks[:6]
    # the last three of reach's parameters are its goal
    agent = HalfSolver(np.stack([task.parameters[-3:] for task in tasks]))
    ours = evaluate(agent, reach, tasks, adaptation_episodes=(0,), episodes=3, seed=1, num_envs=6)
    assert ours.success[0].mean(-1).tolist() == [1, 0, 1, 0, 1, 0]
    found = run_metaworld_protocol(agent, reach, tasks, ours)
    assert (found.our_success, found.success, found.rounds) == (0.5, 1.0, 1)
    assert found.over_count == 0.5
    assert found.success_per_name == {"reach-v3": 1.0}
    assert found.sentence() == (
        "Meta-World's evaluator, after 0 adaptation episodes, reports a success of 100.0%; the same number of episodes"
        " on every task, after 0, gives 50.0%: here it over-counts by 50.0 points."
    )


def test_other_families_and_engines_are_refused() -> None:
    agent = FixedAgent(lambda observations: np.zeros((len(observations), 4)))
    with pytest.raises(UserError, match="protocol meta-world is for Meta-World's tasks, not for navigation"):
        check_metaworld(agent, Navigation(2, 2), "likeliest")
    slow = MetaWorldTasks(benchmark="ML1", task="reach-v3", engine="reference").build()
    slow.workers = 1
    with pytest.raises(UserError, match=r"needs tasks\.engine 'native'"):
        check_metaworld(agent, slow, "likeliest")


def test_an_episode_that_is_restarted_is_the_same_as_before(reach: TaskDistribution) -> None:
    def play(env: Any, steps: int) -> list[Array]:
        rng = np.random.default_rng(0)
        return [env.step(rng.uniform(-1, 1, (2, 4))) for _ in range(steps)]

    with closing(reach.make_env(2)) as env:
        assert isinstance(env, MetaWorldEngine)
        env.set_tasks(reach.test_tasks[:2])
        first, _ = env.reset()
        fresh = play(env, 5)
        restarted = env.restart(np.array([True, True]))
        np.testing.assert_array_equal(restarted, first)
        for one, other in zip(fresh, play(env, 5), strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
        # Only the first begins anew; the other's episode ends when it would have.
        partly = env.restart(np.array([True, False]))
        np.testing.assert_array_equal(partly[0], first[0])
        assert not np.array_equal(partly[1], first[1])
        ends = [step[3].tolist() for step in play(env, HORIZON)]
        assert ends.index([False, True]) == HORIZON - 6
        assert ends.index([True, False]) == HORIZON - 1


def test_a_result_is_read_as_it_was_written(tmp_path) -> None:
    run = RunDirectory(tmp_path, RunConfig(iterations=1, tasks=NavigationTasks(), algorithm=MAMLConfig()))
    folder = run.evaluations
    written = MetaWorldProtocol("ML1-reach-v3", 10, 12, 3, 3, 0.9, 400.0, {"reach-v3": 0.9}, 0.5)
    write_protocol(folder / "a.json", written)
    write_result(folder / "b.json", "stress", {})
    assert read_protocols(run) == [written]
    write_result(folder / "c.json", KIND, {"k": 1})
    with pytest.raises(UserError, match=r"c\.json is damaged: .* distribution: missing"):
        read_protocols(run)


def test_the_expert_is_told_the_goal_and_solves_every_task(reach: TaskDistribution, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path))
    config = MetaWorldTasks(benchmark="ML1", task="reach-v3", horizon=HORIZON)
    agent = type("Nobody", (TrainedAgent,), {})()  # the expert owes nothing to the policy
    against = Match(agent, config, reach, reach.test_tasks[:4], (0,), episodes=1, seed=1, num_envs=3)
    assert choose_controls(["expert"], against) == (["expert"], [])
    found, _ = play_control("expert", against)
    assert found.success.all()
    assert found.distribution == "ML1-reach-v3"
    assert play_control("expert", against)[1]
