"""Algorithms by name: built in, registered, and plugged in; what is wrong with one is told in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from metarl.algorithms import registry
from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.cli import main
from metarl.config import RunConfig, dump_config, load_config
from metarl_envs.errors import UserError

SEARCHES = """
from typing import Literal
from metarl.algorithms.maml.config import MAMLConfig

class Search(MAMLConfig):
    kind: Literal["search"] = "search"

class Other(MAMLConfig):
    kind: Literal["other"] = "other"

class Unfinished:
    pass
"""

Install = Callable[..., None]


class Another(MAMLConfig):
    kind: Literal["another"] = "another"  # type: ignore[assignment]


class Further(Another):
    more: int = 1


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package whose entry points are the given lines."""

    def install(package: str = "searches", **entry_points: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[metarl.algorithms]", *lines]))
        (tmp_path / "searches_for_tests.py").write_text(SEARCHES)
        (tmp_path / "broken_searches.py").write_text("raise RuntimeError('no search\\nhere')\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_the_built_in_algorithms_are_known() -> None:
    assert {"maml", "rl2"} <= set(registry.names())
    assert registry.config_class("maml") is MAMLConfig
    assert registry.config_class("rl2") is RL2Config


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^unknown algorithm 'mamml'; did you mean 'maml'\?$"):
        registry.config_class("mamml")


def test_an_algorithm_is_registered_once() -> None:
    registry.register("another", Another)
    assert registry.config_class("another") is Another
    assert "another" in registry.names()
    for name in ("another", "rl2"):
        with pytest.raises(UserError, match=f"^an algorithm named '{name}' is registered already$"):
            registry.register(name, RL2Config)


def test_only_settings_that_build_an_algorithm_are_registered() -> None:
    with pytest.raises(UserError, match=r"^algorithm 'mine' must be a subclass of .*AlgorithmConfig that implements"):
        registry.register("mine", AlgorithmConfig)  # type: ignore[type-abstract]
    assert "mine" not in registry.names()


def test_a_name_other_than_that_of_the_settings_is_refused(install: Install) -> None:
    install(serch="searches_for_tests:Search")
    with pytest.raises(UserError, match=r"^algorithm 'mine': the default of `kind` must be 'mine' too, not 'another'$"):
        registry.register("mine", Another)
    with pytest.raises(UserError, match=r"^algorithm plug-in 'serch' .*: the default of `kind` must be 'serch' too"):
        registry.config_class("serch")


def test_settings_must_be_registered_so_that_a_run_can_be_opened_again(tmp_path: Path) -> None:
    def make_config() -> RunConfig:
        tasks = {"kind": "navigation"}
        return RunConfig.model_validate({"iterations": 1, "tasks": tasks, "algorithm": Another(meta_batch=3)})

    with pytest.raises(ValueError, match="unknown algorithm 'another'"):
        make_config()
    registry.register("another", Another)
    with pytest.raises(ValueError, match="Further is not what is registered as 'another'"):
        RunConfig.model_validate({"iterations": 1, "tasks": {"kind": "navigation"}, "algorithm": Further()})
    (tmp_path / "config.yaml").write_text(dump_config(make_config()))
    assert load_config(tmp_path / "config.yaml") == make_config()


def test_plug_ins_are_found_by_their_entry_points(install: Install) -> None:
    install(search="searches_for_tests:Search")
    assert "search" in registry.names()
    found = registry.config_class("search")
    assert found.__name__ == "Search"
    assert found.model_validate({}).kind == "search"
    with pytest.raises(UserError, match="'search' is registered already"):
        registry.register("search", MAMLConfig)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("broken_searches:Search", "does not load: RuntimeError: no search here"),
        ("searches_for_tests:Serch", "does not load: AttributeError: module 'searches_for_tests' has no attribute"),
        ("no_searches:Search", "does not load: ModuleNotFoundError: No module named 'no_searches'"),
        ("searches_for_tests:Unfinished", "must be a subclass of metarl.algorithms.base.AlgorithmConfig that"),
        ("metarl.algorithms.base:AlgorithmConfig", "must be a subclass of metarl.algorithms.base.AlgorithmConfig that"),
    ],
)
def test_a_broken_plug_in_hinders_nothing_but_itself(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, reason: str
) -> None:
    install(broken=target, search="searches_for_tests:Search")
    assert registry.config_class("search").__name__ == "Search"
    assert registry.config_class("maml") is MAMLConfig
    with pytest.raises(UserError) as caught:
        registry.config_class("broken")
    assert str(caught.value).startswith(f"algorithm plug-in 'broken' ({target}) {reason}")
    path = tmp_path / "run.yaml"
    path.write_text("iterations: 1\ntasks: {kind: navigation}\nalgorithm: {kind: broken}\n")
    assert main(["train", str(path)]) == 2
    assert capsys.readouterr().err == f"metarl: error: {path}: algorithm: {caught.value}\n"


def test_a_name_that_several_packages_offer_is_refused_when_it_is_used(install: Install) -> None:
    install("searches", search="searches_for_tests:Search", other="searches_for_tests:Other")
    install("more_searches", search="broken_searches:Search", other="searches_for_tests:Other")
    with pytest.raises(UserError) as caught:
        registry.config_class("search")
    assert str(caught.value) == (
        "several packages offer an algorithm named 'search'"
        " (broken_searches:Search and searches_for_tests:Search): uninstall all but one"
    )
    assert registry.config_class("other").__name__ == "Other"  # offered twice, but the same


def test_a_plug_in_named_as_a_built_in_is_refused(install: Install) -> None:
    install(maml="searches_for_tests:Search")
    with pytest.raises(UserError) as caught:
        registry.config_class("maml")
    assert str(caught.value) == (
        "two algorithms are named 'maml': metarl.algorithms.maml.config.MAMLConfig and that of an installed package"
        " (searches_for_tests:Search), which must rename its entry point or be uninstalled"
    )
    assert registry.config_class("rl2") is RL2Config
    with pytest.raises(UserError, match="'maml' is registered already"):
        registry.register("maml", Another)


def test_a_cell_that_runs_again_replaces_what_it_registered() -> None:
    first = type("Mine", (Another,), {"__module__": "notebook"})
    second = type("Mine", (Another,), {"__module__": "notebook"})
    registry.register("another", first)
    registry.register("another", second)
    assert registry.config_class("another") is second
    with pytest.raises(UserError, match=r"^an algorithm named 'another' is registered already$"):
        registry.register("another", Another)  # of another module
