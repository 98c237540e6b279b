"""The 51st class of the documentation works as printed there."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ENV_CLS_MAP, ML1_ARGS_KWARGS

from metarl_envs.errors import UserError
from metarl_envs.metaworld import MetaWorld, add_class
from metarl_envs.metaworld.classes import TASK_CLASSES
from metarl_envs.testing import check_distribution

PAGE = Path(__file__).parents[2] / "docs" / "metaworld-task-of-your-own.md"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    for known in (ALL_V3_ENVIRONMENTS, ENV_CLS_MAP, ML1_ARGS_KWARGS, TASK_CLASSES):
        monkeypatch.delitem(known, "hover-v3", raising=False)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    (tmp_path / "hover_page.py").write_text(code)  # a module, since Meta-World pickles the class with its tasks
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("hover_page")  # the code asserts what it claims
    sys.modules.pop("hover_page")
    for known in (ALL_V3_ENVIRONMENTS, ENV_CLS_MAP, ML1_ARGS_KWARGS, TASK_CLASSES):
        known.pop("hover-v3", None)


def test_a_class_of_ones_own_plays_in_both_engines(page: Any) -> None:
    check_distribution(page.hover(horizon=8))
    assert {task.name for task in page.hover().train_tasks} == {"hover-v3"}
    custom = MetaWorld("custom", train=["hover-v3", "push-v3"], test=["reach-v3"], horizon=8)
    assert custom.make_env(2).num_envs == 2


def test_names_are_taken_once(page: Any) -> None:
    elsewhere = type("HoverEnv", (page.HoverEnv,), {"__module__": "another_module"})
    with pytest.raises(UserError, match="there is a Meta-World class 'hover-v3' already"):
        add_class(elsewhere, page.Hover)


def test_a_cell_that_runs_again_replaces_its_class(page: Any) -> None:
    again = type("HoverEnv", (page.HoverEnv,), {"__module__": page.HoverEnv.__module__})
    add_class(again, page.Hover)
    assert ALL_V3_ENVIRONMENTS["hover-v3"] is again
