"""Sinusoids from few points: what is drawn, what is measured, and its way to the page of results."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sinusoids
from metarl.algorithms.inner_rules.config import GradientRuleConfig
from metarl_envs.errors import UserError
from results.sinusoids import sinusoids_section


def test_what_is_drawn_is_sinusoids() -> None:
    points = sinusoids.draw(2000, 8, torch.Generator().manual_seed(0))
    assert points.inputs.abs().max() <= 5
    assert points.targets.abs().max() <= 5
    # E[y²] = E[a²] / 2 up to the phase, which is nearly uniform over x:  (5³ - 0.1³) / (3 * 4.9) / 2 = 4.25
    assert points.targets.square().mean().item() == pytest.approx(4.25, rel=0.05)
    source = torch.Generator().manual_seed(1)
    amplitudes = sinusoids.draw(500, 400, source).targets.abs().amax((1, 2))
    assert amplitudes.min() < 0.6
    assert amplitudes.max() > 4.8


def test_error_of_a_rule_that_answers_nothing_is_the_mean_square_of_the_targets() -> None:
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    rule = GradientRuleConfig(steps=1, lr=1e-12).build(network, sinusoids.square_error, 1, 1)
    errors = sinusoids.errors_of(rule)
    assert errors.shape == (1000, 3)
    np.testing.assert_allclose(errors[:, 0], errors[:, 2], atol=1e-6)
    assert errors.mean() == pytest.approx(4.25, rel=0.1)


def test_learning_lowers_the_error_and_more_points_lower_it_further() -> None:
    rule = sinusoids.learn(sinusoids.RULES["Meta-SGD"], 400, 25, seed=1)
    five, _, twenty = sinusoids.errors_of(rule).mean(0)
    assert twenty < five < 3.4


def test_measurements_become_a_section(tmp_path: Path) -> None:
    assert sinusoids_section(tmp_path) is None
    folder = tmp_path / "sinusoids"
    options = ["--iterations", "2", "--meta-batch", "3", "--seeds", "1", "2", "--output", str(folder)]
    assert sinusoids.main(["--rules", "MAML", "MetaNet", *options]) == 0
    section = sinusoids_section(tmp_path) or ""
    mean = json.loads((folder / "maml.json").read_text())["errors"]["5"]["mean"]
    assert math.isfinite(mean)
    assert f"| MAML | {mean:.2f} [" in section
    assert "| 1.13 ± 0.18 | 0.85 ± 0.14 | 0.71 ± 0.12 | 2 | 3 | 2 |" in section
    assert "| none | none | none | 2 | 3 | 2 |" in section
    (folder / "maml.json").write_text("{}")
    with pytest.raises(UserError, match=r"maml\.json is damaged"):
        sinusoids_section(tmp_path)


def test_a_number_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sinusoids.main(["--iterations", "0", "--output", str(tmp_path / "none")]) == 2
    assert "iterations must be" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
