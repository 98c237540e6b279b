"""docs/metrics.md: every algorithm logs the table's metrics and its own, and a name means the same for all."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import portfolio
import pytest
import torch
from counting_env import Counting, CountingEnv
from page import Page

from metarl import checkpoints
from metarl.algorithms.maml.outer import NonFiniteError
from metarl.algorithms.maml.outer.trust_region import TrustRegion
from metarl.algorithms.rl2.ppo import PPO
from metarl.config import RunConfig
from metarl.training import Training
from metarl_envs import registry

PAGE = Page("metrics.md")
TABLE = PAGE.section("What all algorithms log").partition("The table is complete")[2]
COMMON = set(re.findall(r"^\| `(.*?)` \|", TABLE, re.MULTILINE))

VALUE = {"kind": "value"}
LIKELIHOOD_RATIO = {"estimator": "likelihood_ratio"}
GRU = {"meta_batch": 2, "episodes": 2, "core": {"kind": "gru", "hidden_size": 4}}
MLP = {"meta_batch": 2, "episodes": 2, "hidden_sizes": [4]}
OF_INPUTS = {"train/compressed_inputs"}
OF_MAML = OF_INPUTS | {"meta/tasks_without_signal", "train/grad_norm", "train/action_std"}
OF_TRPO = {"train/loss", "train/kl", "train/line_search_steps", "train/line_search_failed"}
OF_CLIPPING = {"train/loss", "train/kl", "train/inner_kl", "train/clip_fraction"}
OF_RL2 = OF_INPUTS | {"meta/trial_return"}
OF_RL2_PPO = {"train/loss", "train/entropy", "train/approx_kl", "train/clip_fraction", "train/minibatches"}
ALGORITHMS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "maml": ({"kind": "maml", **MLP}, OF_MAML | OF_TRPO),
    "maml value": ({"kind": "maml", **MLP, "baseline": VALUE}, OF_MAML | OF_TRPO | {"train/value_loss"}),
    "promp": (
        {"kind": "maml", **MLP, "inner": LIKELIHOOD_RATIO, "outer": {"kind": "promp"}},
        OF_MAML | OF_CLIPPING,
    ),
    "maml ppo": ({"kind": "maml", **MLP, "outer": {"kind": "ppo"}}, OF_MAML | OF_CLIPPING),
    "maml vpg": ({"kind": "maml", **MLP, "outer": {"kind": "vpg"}}, OF_MAML | {"train/loss", "train/kl"}),
    "reptile": ({"kind": "maml", **MLP, "outer": {"kind": "reptile"}}, OF_MAML),
    "rl2 ppo": ({"kind": "rl2", **GRU}, OF_RL2_PPO | OF_RL2),
    "rl2 ppo value": (
        {"kind": "rl2", **GRU, "baseline": VALUE},
        OF_RL2_PPO | OF_RL2 | {"train/value_loss"},
    ),
    "rl2 ppo privileged": (
        {"kind": "rl2", **GRU, "baseline": {"kind": "privileged"}},
        OF_RL2_PPO | OF_RL2 | {"train/value_loss"},
    ),
    "rl2 ppo expert": (
        {"kind": "rl2", **GRU, "expert": {}},
        OF_RL2_PPO | OF_RL2 | {"train/expert_error", "train/expert_weight"},
    ),
    "skills": (
        {"kind": "skills", "meta_batch": 2, "core": {"kind": "gru", "hidden_size": 4}},
        OF_RL2_PPO | OF_RL2 | {"train/value_loss"},
    ),
    "rl2 trpo": ({"kind": "rl2", **GRU, "outer": {"kind": "trpo"}}, OF_TRPO | OF_RL2),
    "rl2 trpo value": (
        {"kind": "rl2", **GRU, "outer": {"kind": "trpo"}, "baseline": VALUE},
        OF_TRPO | OF_RL2 | {"train/value_loss"},
    ),
    "portfolio": ({"kind": "portfolio", "meta_batch": 2}, {"train/accepted"}),
}


def make_config(algorithm: dict[str, Any], iterations: int = 1, **changes: Any) -> RunConfig:
    settings = {
        "iterations": iterations,
        "threads": 1,
        "device": "cpu",
        "tasks": {"kind": "navigation", "horizon": 4},
        "algorithm": algorithm,
        "evaluation": {"adaptation_episodes": [0, 2], "tasks_per_name": 2},
    }
    return RunConfig.model_validate(settings | changes)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_logs_the_tables_metrics_and_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portfolio.register(monkeypatch)
    settings, own = ALGORITHMS[name]
    with Training.start(make_config(settings), tmp_path / "run") as training:
        metrics = next(training).metrics
    logged = {re.sub(r"/\d+_episodes$", "/<k>_episodes", metric) for metric in metrics}
    logged = {metric.replace("test/navigation", "test/<name>") for metric in logged}
    assert not COMMON & own
    assert logged == COMMON | own


def test_the_best_checkpoint_is_chosen_by_the_metric_that_the_page_names(tmp_path: Path) -> None:
    (named,) = re.findall(
        r"^\| `(.*?)` \|.*\*\*the best checkpoint is the one with the highest\*\*", TABLE, re.MULTILINE
    )
    with Training.start(make_config(ALGORITHMS["maml"][0]), tmp_path / "run") as training:
        metrics = next(training).metrics
        score = checkpoints.load(training.run.checkpoint("best"))[1].score
    assert score == metrics[named]


class LateEnv(CountingEnv):
    """Counting, but a step solves the task from the fifth count on, and each reset counts on by `per_reset`."""

    per_reset = 0

    def reset(self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed, options=options)
        self._made += self.per_reset * (len(self.seeds) - 1)
        return self._observe(), {}

    def step(self, actions: Any) -> Any:
        *step, infos = super().step(actions)
        return *step, infos | {"success": self._made >= 5}


class Late(Counting):
    def make_env(self, num_envs: int, render_mode: str | None = None) -> CountingEnv:
        return LateEnv(num_envs, self.horizon)


def first_iteration(algorithm: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Metrics of an iteration on all three tasks of the counting family, of 2, 3 and 4 steps."""
    monkeypatch.setattr(registry, "_FACTORIES", registry._FACTORIES | {"late": Late})
    tasks = {"kind": "registered", "id": "late"}
    evaluation = {"every": 0, "tasks_per_name": None}
    config = make_config(algorithm | {"meta_batch": 3}, tasks=tasks, evaluation=evaluation)
    with Training.start(config, folder) as training:
        return next(training).metrics


# Rewards are the task's base (10, 20, 30) plus the count of steps. Two episodes of each task from a count of 0 on:
#   10 + 11         12 + 13           returns  21,  25
#   20 + 21 + 22    23 + 24 + 25               63,  72
#   30 + ... + 33   34 + ... + 37             126, 142
# The fifth step is in the second episodes of the second and the third task. Actions add at most 0.001 a step.
FIRST, SECOND = (21 + 63 + 126) / 3, (25 + 72 + 142) / 3


def test_rl2_is_measured_on_the_first_and_the_last_episodes_of_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = first_iteration({"kind": "rl2", **GRU}, tmp_path / "run", monkeypatch)
    assert metrics["meta/pre_adapt_return"] == pytest.approx(FIRST, abs=0.01)
    assert metrics["rollout/ep_rew_mean"] == pytest.approx(SECOND, abs=0.01)
    assert metrics["meta/adaptation_gain"] == pytest.approx(SECOND - FIRST, abs=0.02)
    assert metrics["meta/trial_return"] == pytest.approx(FIRST + SECOND, abs=0.02)
    assert metrics["meta/pre_adapt_success_rate"] == 0
    assert metrics["rollout/success_rate"] == pytest.approx(2 / 3)


def test_maml_is_measured_on_the_first_support_and_the_query_trajectories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two inner steps: support trajectories count from 0, then from 10, and query trajectories from 20 on, which adds 20
    # to each of the 3 steps that an episode has on average, and solves all tasks.
    monkeypatch.setattr(LateEnv, "per_reset", 10)
    settings = {"kind": "maml", **MLP, "inner": {"steps": 2}, "normalize_observations": False}
    metrics = first_iteration(settings, tmp_path / "run", monkeypatch)
    support = (FIRST + SECOND) / 2
    assert metrics["meta/pre_adapt_return"] == pytest.approx(support, abs=0.01)
    assert metrics["rollout/ep_rew_mean"] == pytest.approx(support + 3 * 20, abs=0.01)
    assert metrics["meta/adaptation_gain"] == pytest.approx(60, abs=0.02)
    assert metrics["meta/pre_adapt_success_rate"] == pytest.approx(2 / 6)
    assert metrics["rollout/success_rate"] == 1


def skipped_updates(algorithm: dict[str, Any], folder: Path) -> list[float]:
    with Training.start(make_config(algorithm, iterations=3), folder) as training:
        return [iteration.metrics["train/skipped_updates"] for iteration in training]


def test_skipped_updates_are_those_of_the_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"maml": 0, "rl2": 0}
    step, loss = TrustRegion.step, PPO.loss

    def failing_step(self: TrustRegion, *arguments: Any) -> Any:
        calls["maml"] += 1
        if calls["maml"] == 2:
            raise NonFiniteError
        return step(self, *arguments)

    def failing_loss(self: PPO, *arguments: Any) -> Any:
        calls["rl2"] += 1
        value, metrics = loss(self, *arguments)
        return (value * torch.nan if calls["rl2"] in (4, 5) else value), metrics

    monkeypatch.setattr(TrustRegion, "step", failing_step)
    monkeypatch.setattr(PPO, "loss", failing_loss)
    assert skipped_updates({"kind": "maml", **MLP}, tmp_path / "maml") == [0, 1, 0]
    three_epochs = {"kind": "rl2", **GRU, "outer": {"kind": "ppo", "epochs": 3}}
    assert skipped_updates(three_epochs, tmp_path / "rl2") == [0, 2, 0]


def test_seconds_add_up(tmp_path: Path) -> None:
    with Training.start(make_config(ALGORITHMS["maml"][0]), tmp_path / "run") as training:
        _, env_steps, metrics, _ = next(training)
    assert metrics["time/fps"] == pytest.approx(env_steps / metrics["time/iteration_seconds"])
    parts = metrics["time/sampling_seconds"] + metrics["time/update_seconds"]
    assert 0 < parts <= metrics["time/iteration_seconds"]
    assert np.isfinite(list(metrics.values())).all()
