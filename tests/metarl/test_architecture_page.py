"""docs/architecture.md: the files that it names exist, and imports go the way that it says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from page import ROOT, Page

PAGE = Page("architecture.md")
LEVELS = {
    room: level
    for level, (rooms, _) in enumerate(reversed(PAGE.rows("Rooms")))
    for room in re.findall("`(.*?)`", rooms)
}
BUILDS_ON = {"skills": ("rl2",), "recognition": ("inner_rules",), "imitation": ("inner_rules", "recognition")}
"""Algorithms that an algorithm may import; the page names them."""
FAMILIES = {"metaworld", "locomotion", "navigation", "bandit", "tabular", "wrapped"}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports as it is run; those for annotations only are left out."""
    for node in _run(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _run(node)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "metarl").parts[0].removesuffix(".py")


FILES = [path for path in sorted((ROOT / "metarl").rglob("*.py")) if not room_of(path).startswith("__")]


def test_every_file_and_name_of_the_way_is_there() -> None:
    rows = PAGE.rows("Which file to open, in which order")
    numbers = [number for number, _, _ in rows]
    assert numbers == ["1", "2", "3", "4", "5", *(f"MAML {n}" for n in range(6, 11)), *(f"RL² {n}" for n in (6, 7, 8))]
    for _, file, names in rows:
        source = (ROOT / file.strip("`")).read_text()
        for name in re.findall("`(.*?)`", names):
            for each in name.split("."):
                assert re.search(rf"\b(class|def) {each}\b", source), (file, name)
    for path in re.findall(r"`((?:metarl|envs)/[^`]+)`", PAGE.text):
        assert (ROOT / path).exists(), path


def test_the_page_knows_every_room() -> None:
    assert {room_of(path) for path in FILES} == LEVELS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    for module in imports(path):
        package, _, rest = module.partition(".")
        assert package not in ("scripts", "benchmark", "metaworld"), module
        other = rest.partition(".")[0]
        if package == "metarl" and other in LEVELS:
            assert LEVELS[other] <= LEVELS[room], f"{room} imports {module}"
        if room == "algorithms":
            assert not (package == "metarl_envs" and other in FAMILIES), module
            folder, others = path.parent.relative_to(ROOT / "metarl" / "algorithms").parts[:1], rest.split(".")[1:2]
            allowed = ["base", *folder, *BUILDS_ON.get(folder[0], ())] if folder else others
            assert other != "algorithms" or set(others) <= set(allowed), module


def test_environments_know_nothing_of_learning() -> None:
    for path in (ROOT / "envs").rglob("*.py"):
        packages = {module.partition(".")[0] for module in imports(path)}
        assert not packages & {"metarl", "torch", "scripts"}, path
        assert "metaworld" not in packages or "metaworld" in path.parent.parts, path
