"""docs/robustness.md: its table, commands, configuration and program are true."""

import re
from typing import Any

import numpy as np
import yaml
from page import Page

from metarl.config import AugmentationConfig, load_config
from metarl.evaluation.stress_protocol import USUAL, parse_strengths

PAGE = Page("robustness.md")


def test_the_table_has_every_perturbation_with_its_usual_strengths() -> None:
    rows = {name.strip("`"): strengths for name, _, _, strengths in PAGE.rows("Measure")}
    assert list(rows) == list(USUAL)
    for name, strengths in rows.items():
        assert tuple(map(float, strengths.split(","))) == tuple(each for each in USUAL[name] if each), name


def test_commands_are_understood() -> None:
    for line in re.findall(r"^metarl evaluate .*--stress ([^#\n]+)", PAGE.text, re.MULTILINE):
        parse_strengths(line.split())
    commands = [(preset, _without_run(overrides)) for preset, overrides in PAGE.commands()]
    first, plain, late = (load_config(preset, overrides).augmentation for preset, overrides in commands)
    assert first == AugmentationConfig(sensor_noise=0.3, action_delay=2, mass=(-0.5, 1.0))
    assert not plain.active
    assert late == AugmentationConfig(action_delay=5)


def _without_run(overrides: list[str]) -> list[str]:
    if "--run" not in overrides:
        return overrides
    index = overrides.index("--run")
    return overrides[:index] + overrides[index + 2 :]


def test_the_configuration_names_every_field() -> None:
    (text,) = PAGE.blocks("yaml")
    settings = yaml.safe_load(text)["augmentation"]
    assert settings.keys() == AugmentationConfig.model_fields.keys()
    assert AugmentationConfig(**settings).active


def test_the_program_runs() -> None:
    (text,) = PAGE.blocks("python")
    names: dict[str, Any] = {}
    exec(text, names)
    names["env"].close()
    assert names["observations"].shape == (4, 2)
    assert (np.abs(names["observations"]) > 0).all()
