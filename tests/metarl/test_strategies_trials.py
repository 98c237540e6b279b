import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from training_runs import train

from metarl.acting.adaptation import ExploringAgent
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.cli import main
from metarl.config import BanditTasks, EvaluationConfig, RunConfig, TabularTasks
from metarl.data.steps import Array, BoolArray, Timestep, TimestepLike
from metarl.evaluation.statistics import Interval
from metarl.loading import load_agent
from metarl.policies.config import GRUConfig
from metarl.runs import RunDirectory
from metarl.strategies.bandits import BanditStrategy, bandit_strategies
from metarl.strategies.comparison import Comparison, compare, same_problem
from metarl.strategies.table import comparison_tables, table_groups
from metarl.strategies.trials import Player, play_trials
from metarl_envs.bandit import Bandit
from metarl_envs.core import Task
from metarl_envs.errors import UserError
from metarl_envs.tabular import TabularMDP, action_values, models


class Fixed:
    """Pulls the same arm in every bandit and writes down what it is told."""

    def __init__(self, arm: int) -> None:
        self.arm = arm
        self.init()

    def init(self) -> None:
        self.told: list[Timestep] = []

    def act(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        return np.full(len(observations), self.arm), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        assert isinstance(timestep, Timestep)
        self.told.append(timestep)


def few(arms: int) -> Bandit:
    return Bandit(arms, num_train_tasks=5, num_test_tasks=50)


def bandits(*means: list[float]) -> list[Task]:
    return [Task("bandit", arms) for arms in means]


def test_returns_are_the_rewards_of_each_episode() -> None:
    distribution = TabularMDP(num_train_tasks=1, num_test_tasks=4, horizon=3)
    player = Fixed(2)
    assert isinstance(player, Player)
    returns = play_trials(player, distribution, distribution.test_tasks, episodes=2, seed=1)
    rewards = np.array([timestep.reward for timestep in player.told])
    assert returns.shape == (4, 2)
    np.testing.assert_allclose(returns[:, 0], rewards[:3].sum(axis=0))
    np.testing.assert_allclose(returns[:, 1], rewards[3:].sum(axis=0))
    assert [timestep.truncated.all() for timestep in player.told] == [False, False, True] * 2


def test_every_player_meets_the_same_chance() -> None:
    tasks = bandits([0.5, 0.5]) * 30
    one, other = (play_trials(Fixed(arm), few(2), tasks, 20, seed=1) for arm in (0, 1))
    np.testing.assert_array_equal(one, other)
    assert (play_trials(Fixed(0), few(2), tasks, 20, seed=2) != one).any()
    assert len({tuple(row) for row in one}) > 25  # a chance of its own for every task
    np.testing.assert_array_equal(play_trials(Fixed(0), few(2), tasks[:10], 20, seed=1), one[:10])


def test_the_player_begins_blank() -> None:
    strategy = BanditStrategy(bandit_strategies(10)["greedy"], 50, 3, np.random.default_rng(0))
    first, again = (play_trials(strategy, few(3), few(3).test_tasks, 10, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(("tasks", "episodes"), [([], 1), (bandits([0.1, 0.2]), 0)])
def test_nothing_to_play_is_refused(tasks: list[Task], episodes: int) -> None:
    with pytest.raises(UserError, match="at least one task and one episode"):
        play_trials(Fixed(0), few(2), tasks, episodes, seed=1)


def test_a_comparison_is_of_all_players_on_the_held_out_tasks() -> None:
    distribution = Bandit(2, num_train_tasks=1, num_test_tasks=40)
    comparison = compare(distribution, 5, seed=3, learned={"always the first": Fixed(0)})
    assert list(comparison.rewards) == [*bandit_strategies(5), "always the first"]
    expected = play_trials(Fixed(0), distribution, distribution.test_tasks, 5, seed=3).sum(axis=-1)
    np.testing.assert_array_equal(comparison.rewards["always the first"], expected)
    for name, interval in comparison.intervals.items():
        assert interval.mean == pytest.approx(comparison.rewards[name].mean())
        assert interval.low < interval.mean < interval.high
    best, margin = comparison.margins["always the first"]
    classic = {name: rewards for name, rewards in comparison.rewards.items() if name != "always the first"}
    assert classic[best].mean() == max(rewards.mean() for rewards in classic.values())
    assert margin.mean == pytest.approx((expected - classic[best]).mean())
    assert margin.low < margin.mean < margin.high
    assert set(comparison.margins) == {"always the first"}


def test_bounds_of_bandits() -> None:
    distribution = Bandit(2, num_train_tasks=1, num_test_tasks=2)
    best = np.mean([max(task.parameters) for task in distribution.test_tasks])
    bounds = compare(distribution, 2, seed=1).bounds
    assert bounds == pytest.approx({"best strategy": 13 / 12, "task known": 2 * best})
    assert compare(distribution, 11, seed=1).bounds.keys() == {"task known"}


def test_bounds_of_tabular_mdps() -> None:
    distribution = TabularMDP(states=2, actions=2, horizon=3, num_train_tasks=1, num_test_tasks=3)
    best = action_values(models(distribution.test_tasks, 2, 2), 3)[:, 0, 0].max(axis=-1).mean()
    assert compare(distribution, 4, seed=1).bounds == pytest.approx({"task known": 4 * best})


def test_same_problem() -> None:
    assert same_problem(few(2), Bandit(2, num_train_tasks=1, num_test_tasks=1, seed=2))
    assert not same_problem(few(2), few(3))
    counts: dict[str, Any] = {"num_train_tasks": 1, "num_test_tasks": 1}
    assert not same_problem(TabularMDP(**counts), TabularMDP(**counts, horizon=9))
    assert not same_problem(TabularMDP(**counts, states=1, horizon=1), few(5))


def test_tables_are_of_one_distribution_and_at_most_three_lengths() -> None:
    comparisons = [compare(few(2), n, seed=1) for n in (1, 2, 3, 4)] + [compare(few(3), 1, seed=1)]
    assert [[c.episodes for c in group] for group in table_groups(comparisons)] == [[1, 2, 3], [4], [1]]


def train_rl2(path: str, tasks: BanditTasks | TabularTasks, episodes: int) -> RunDirectory:
    algorithm = RL2Config(meta_batch=2, episodes=episodes, core=GRUConfig(hidden_size=4), outer=RL2PPOConfig(epochs=1))
    evaluation = EvaluationConfig(every=0, tasks_per_name=None)
    config = RunConfig(iterations=1, tasks=tasks, algorithm=algorithm, evaluation=evaluation, device="cpu")
    run = RunDirectory.create(Path(path), config)
    train(run)
    return run


FEW = BanditTasks(arms=2, num_train_tasks=5, num_test_tasks=5)


def test_a_run_plays_what_it_was_trained_for(capsys: pytest.CaptureFixture[str]) -> None:
    run = train_rl2("mine", FEW, episodes=4)
    capsys.readouterr()
    arguments = "--arms 2 3 --episodes 4 5 --tasks 30 --seed 7 --run mine --output out/found.json"
    assert main(["strategies", "bandit", *arguments.split()]) == 0
    found = json.loads(Path("out/found.json").read_text())
    assert found["checkpoints"] == {"rl2 mine": str(run.checkpoint("last"))}
    cells = found["comparisons"]
    assert [(cell["distribution"], cell["episodes"]) for cell in cells] == [
        ("bandit-2", 4),
        ("bandit-2", 5),
        ("bandit-3", 4),
        ("bandit-3", 5),
    ]
    assert ["rl2 mine" in cell["rewards"] for cell in cells] == [True, False, False, False]
    tasks = Bandit(2, num_train_tasks=1, num_test_tasks=30, seed=7).test_tasks
    assert cells[0]["task_ids"] == [task.id for task in tasks]
    agent = load_agent(run.checkpoint("last"), run.config, FEW.build(), seed=7)[0]
    expected = play_trials(ExploringAgent(agent), few(2), tasks, 4, seed=7).sum(axis=-1)
    assert cells[0]["rewards"]["rl2 mine"] == expected.tolist()
    assert cells[0]["intervals"]["rl2 mine"]["mean"] == pytest.approx(expected.mean())
    printed = capsys.readouterr().out
    assert "bandit-3: rewards of a trial, 30 held-out tasks" in printed
    assert "rl2 mine: " in printed
    assert f"{expected.mean():.2f} [" in printed
    assert "Strategies: out/found.json" in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "…" not in printed


def test_tabular_mdps_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    train_rl2("mine", TabularTasks(num_train_tasks=5, num_test_tasks=5), episodes=1)
    assert main(["strategies", "tabular", "--episodes", "1", "2", "--tasks", "5", "--run", "mine"]) == 0
    [path] = Path("runs").glob("strategies-tabular-*.json")
    found = json.loads(path.read_text())
    assert [sorted(cell["margins"]) for cell in found["comparisons"]] == [["rl2 mine"], []]
    assert found["comparisons"][0]["task_ids"] == [
        task.id for task in TabularMDP(num_train_tasks=1, num_test_tasks=5).test_tasks
    ]


def test_what_cannot_be_compared_is_refused_before_anything_is_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metarl.strategies.command.compare", None)
    train_rl2("mine", FEW, episodes=4)
    RunDirectory.create(Path("maml"), RunConfig(iterations=1, tasks=FEW, algorithm=MAMLConfig()))
    Path("folder").mkdir()
    capsys.readouterr()
    for arguments, complaint in (
        ("bandit --run mine", "run mine was trained for 4 episodes of bandit-2, which is not compared here"),
        ("bandit --arms 2 --run mine", "run mine was trained for 4 episodes of bandit-2, which"),
        ("tabular --episodes 4 --run mine", "run mine was trained for 4 episodes of bandit-2, which"),
        ("bandit --run maml", "run maml is of maml: only rl2 learns while it plays a trial"),
        ("tabular --arms 2", "--arms is for bandits: tabular MDPs have none"),
        ("bandit --output folder", "cannot write folder: it is a directory"),
        ("bandits", "argument family: invalid choice: 'bandits'"),
        ("bandit --tasks 0", "argument --tasks: expected a whole number of at least 1"),
    ):
        assert main(["strategies", *arguments.split()]) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1


def test_tables_fit_a_terminal_whatever_the_numbers() -> None:
    interval = Interval(1234.5678, 1230.4, 1239.9)
    names = ["optimistic thompson", "rl2 runs/a-long-name-of-a-run-20260101-120000"]
    comparison = Comparison(
        "tabular-10-5", 100, ("a", "b"), {}, dict.fromkeys(names, interval), {"task known": 2205.6}, {}
    )
    printed = StringIO()
    Console(file=printed, width=80).print(comparison_tables([comparison] * 3))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in printed.getvalue()
    assert lines[0] == "tabular-10-5: rewards of a trial, 2 held-out tasks [95% interval over tasks]"
    [row] = [line for line in lines if line.startswith("optimistic thompson")]
    assert row.count("1235 [1230, 1240]") == 3
    [row] = [line for line in lines if line.startswith("task known")]
    assert row.split() == ["task", "known", "2206", "2206", "2206"]
