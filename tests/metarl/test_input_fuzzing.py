"""Any configuration and any command line ends in success, or in one line and exit code 2."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.cli import main
from metarl.config import dump_config, load_config
from metarl.preset_files import preset_names, preset_path
from metarl.ranks import ALONE
from metarl.runs import RunDirectory
from metarl_envs.errors import UserError

EXAMPLES = 200
"""Generated inputs of each test."""
PRESETS = {name: preset_path(name).read_text() for name in preset_names()}
FIELDS = sorted({line.split(":")[0].strip() for text in PRESETS.values() for line in text.splitlines() if ":" in line})
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["maml", "rl2", "navigation", "metaworld", "ppo", "ML1", "1e9", -1, 0, 2.5, 10**9]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner),
    max_leaves=6,
)


pytestmark = pytest.mark.usefixtures("no_plug_ins")


def paths(fields: Any) -> Iterator[tuple[Any, ...]]:
    """Yields the ways to all values of nested mappings and lists."""
    items = fields.items() if isinstance(fields, dict) else enumerate(fields) if isinstance(fields, list) else ()
    for key, value in items:
        yield (key,)
        yield from ((key, *rest) for rest in paths(value))


@st.composite
def mutated_presets(draw: st.DrawFn) -> str:
    """Presets in which values are replaced, taken away or added."""
    fields = yaml.safe_load(PRESETS[draw(st.sampled_from(sorted(PRESETS)))])
    for _ in range(draw(st.integers(1, 3))):
        ways = list(paths(fields))
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        section = fields
        for key in way:
            section = section[key]
        change = draw(st.sampled_from(["replace", "delete", "add"]))
        if change == "delete":
            del section[last]
        elif change == "add" and isinstance(section, dict):
            section[draw(st.sampled_from(FIELDS) | st.text(max_size=5))] = copy.deepcopy(draw(values))
        else:
            section[last] = copy.deepcopy(draw(values))
    return yaml.safe_dump(fields)


@st.composite
def garbled_presets(draw: st.DrawFn) -> str:
    """Presets in which a few characters are replaced by others."""
    text = PRESETS[draw(st.sampled_from(sorted(PRESETS)))]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        text = (
            text[:start]
            + draw(st.text("\n\t :{}[]&*!|>'\"%@`,-?#0aé\x00\ufeff", max_size=4))
            + text[start + draw(st.integers(0, 3)) :]
        )
    return text


@settings(max_examples=EXAMPLES)
@given(text=mutated_presets() | garbled_presets())
def test_any_configuration_is_read_or_refused_in_one_line(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(text, encoding="utf-8")
        config, complaint = None, ""
        try:
            config = load_config(path)
        except UserError as error:
            complaint = str(error)
        assert len(complaint.splitlines()) == (config is None), complaint
        if config is not None:
            path.write_text(dump_config(config))
            assert load_config(path) == config


words = (
    st.sampled_from(["--" + name for name in ("seed", "tasks", "algorithm", "evaluation.every", "iterations", "run")])
    | st.sampled_from(["--algorithm.kind", "--tasks.kind", "--tasks.options", "--algorithm.outer.kind", "--resume"])
    | st.sampled_from(["--checkpoint", "--episodes", "--tasks", "--adaptation-episodes", "--to", "--split", "--live"])
    | st.builds("--{}.{}".format, st.sampled_from(FIELDS), st.sampled_from(FIELDS))
    | st.builds("--{}={}".format, st.sampled_from(FIELDS), st.text(max_size=5))
    | st.sampled_from(
        ["rl2", "maml", "ml10-rl2", "demo", "runs", "run", "a.yaml", "0", "-1", "1e9", "[1", "{a: 1}", "--"]
    )
    | st.text(max_size=8)
)
commands = st.sampled_from(
    ["train", "evaluate", "report", "plot", "watch", "export", "strategies", "tasks", "presets", "demos"]
)
lines = st.builds(
    lambda first, rest: [*first, *rest],
    st.tuples(commands) | st.tuples(commands, st.sampled_from(["demo", "run", "navigation", "bandit"])) | st.just(()),
    st.lists(words, max_size=5),
)


class Nothing:
    """Training that has nothing to do."""

    iteration = 0
    ranks = ALONE

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.config = load_config("demo")
        self.run = RunDirectory(Path("nowhere"), self.config)

    start = resume = classmethod(lambda cls, *arguments, **options: cls())

    def evaluate_untrained(self) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def stop(self) -> None:
        pass


@settings(max_examples=EXAMPLES)
@given(line=lines)
def test_any_command_line_succeeds_or_is_refused_in_one_line(line: list[str]) -> None:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    nothing = mock.Mock(return_value=[])
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch("metarl.training.Training", Nothing),
        mock.patch("metarl.evaluation.command.evaluate_runs", nothing),
        mock.patch("metarl.viewing.command.watch_run", nothing),
        mock.patch("metarl.strategies.command.run_strategies", nothing),
        mock.patch("metarl.loading.load_agent", mock.MagicMock(return_value=(nothing, mock.Mock(env_steps=1)))),
    ):
        RunDirectory.create(Path("run"), load_config("demo"))
        try:
            code = main(line)
        except SystemExit as end:  # --help and --version
            code = end.code if isinstance(end.code, int) else 0
    err.flush()
    said = err.buffer.getvalue().decode()
    assert "Traceback" not in said
    assert code in (0, 2), said
    if code:
        assert said.splitlines()[-1].startswith("metarl: error: "), said
