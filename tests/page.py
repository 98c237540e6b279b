"""Pages of the documentation, taken apart for tests that hold them against the code."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from training_runs import train

from metarl.config import load_config
from metarl.preset_files import preset_path
from metarl.runs import RunDirectory

ROOT = Path(__file__).parents[1]


class Page:
    """A page of Markdown under docs/."""

    def __init__(self, path: str) -> None:
        self.text = (ROOT / "docs" / path).read_text()

    def section(self, title: str) -> str:
        match = re.search(rf"\n## {title}\n(.*?)(?=\n## |\Z)", self.text, re.DOTALL)
        assert match is not None
        return match[1]

    def rows(self, title: str) -> list[list[str]]:
        """The cells of a section's first table, its head left out."""
        table = re.search(r"(?:^\|.*\n)+", self.section(title), re.MULTILINE)
        assert table is not None
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)

    def commands(self) -> list[tuple[Path, list[str]]]:
        """The presets that it trains and the overrides that it gives them."""
        commands = re.findall(r"^metarl train ([a-z]\S+)(.*)$", self.text, re.MULTILINE)
        return [(preset_path(name), overrides.split()) for name, overrides in commands]


COMMON_METRICS = frozenset(re.findall(r"^\| `(.*?)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
"""Names of the metrics that all algorithms log."""


def parse_algorithm(settings: dict[str, Any], folder: Path) -> Any:
    """Settings of an algorithm, read as a run's configuration would have them."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"iterations": 1, "tasks": {"kind": "navigation"}, "algorithm": settings}))
    return load_config(path).algorithm


def logged_metrics(trainings: Iterable[tuple[str, Sequence[str]]], folder: Path) -> set[str]:
    """Names of the metrics that trainings of (preset, overrides) log, written as pages write them."""
    logged: set[str] = set()
    for index, (preset, overrides) in enumerate(trainings):
        config = load_config(ROOT / "configs" / f"{preset}.yaml", overrides)
        run = RunDirectory.create(folder / str(index), config)
        train(run)
        for line in (run.path / "metrics.jsonl").read_text().splitlines():
            logged |= json.loads(line).keys()
    logged = {re.sub(r"/\d+_episodes$", "/<k>_episodes", name) for name in logged - {"iteration", "env_steps"}}
    return {name.replace("/navigation", "/<name>") for name in logged}
