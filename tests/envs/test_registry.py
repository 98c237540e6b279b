import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from metarl_envs import registry
from metarl_envs.bandit import Bandit
from metarl_envs.counts import check_counts
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


@pytest.fixture
def plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a package whose entry points are the given lines."""

    def install(package: str = "robots", **entry_points: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[metarl.tasks]", *lines]))
        (tmp_path / "robots.py").write_text(
            "from metarl_envs.bandit import Bandit\n"
            "def two_arms(seed: int = 1) -> Bandit:\n"
            "    return Bandit(2, num_train_tasks=10, num_test_tasks=10, seed=seed)\n"
            "number = 3\n"
        )
        (tmp_path / "broken_robots.py").write_text("raise RuntimeError('no robot\\nhere')\n")
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_makes_the_built_in_families_with_options() -> None:
    navigation = registry.make("navigation", horizon=7, num_train_tasks=3)
    assert isinstance(navigation, Navigation)
    assert (navigation.horizon, len(navigation.train_tasks)) == (7, 3)
    assert isinstance(registry.make("bandit"), Bandit)
    assert {"navigation", "bandit", "tabular", "ML1", "ML10", "ML25", "ML45", "custom"} <= registry.registered().keys()
    assert {"HalfCheetahDir", "AntGoal", "Walker2dRandParams"} <= registry.registered().keys()


def test_options_are_converted_to_their_declared_types() -> None:
    assert registry.make("navigation", horizon="7").horizon == 7


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("navigatoin", {}, "unknown task distribution 'navigatoin'; did you mean 'navigation'?"),
        ("bandit", {"arm": 2}, "'bandit': got an unexpected keyword argument 'arm'; it takes arms=5, num_train_tasks="),
        ("bandit", {"arms": "two"}, "'bandit': option 'arms' is 'two': Input should be a valid integer"),
        ("bandit", {"arms": 0}, "'bandit': option 'arms' is 0: Input should be greater than 0"),
        ("AntDir", {"horizon": 0}, "'AntDir': option 'horizon' is 0: Input should be greater than 0"),
        ("HalfCheetahDir", {"num_train_tasks": 9}, "HalfCheetahDir always has the same few tasks: leave out num_train"),
        ("ML1", {}, "'ML1': missing a required argument: 'task'; it takes task, horizon=500, seed=1"),
        (
            "ML10",
            {"task": "reach-v3"},
            "'ML10': got an unexpected keyword argument 'task'; it takes horizon=500, seed=1",
        ),
        (
            "custom",
            {"train": "reach-v3", "test": []},
            "'custom': option 'train' is 'reach-v3': 'str' instances are not",
        ),
    ],
)
def test_wrong_ids_and_options_are_named_in_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.make(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registered_factory_is_made_and_listed() -> None:
    def small(arms: int, **rest: Any) -> Any:
        return Bandit(arms, num_train_tasks=5, num_test_tasks=5, **rest)

    registry.register("small", small)
    made = registry.make("small", arms=3, seed=4)
    assert isinstance(made, Bandit)
    assert made.arms == 3
    assert registry.registered()["small"] is small


def test_a_name_is_registered_once() -> None:
    with pytest.raises(UserError, match="'bandit' is registered already"):
        registry.register("bandit", Bandit)


def test_plug_ins_are_found_by_their_entry_points(plug_ins: Callable[..., None]) -> None:
    plug_ins(**{"two-arms": "robots:two_arms"})
    made = registry.make("two-arms", seed=3)
    assert isinstance(made, Bandit)
    assert made.arms == 2
    assert "two-arms" in registry.registered()
    with pytest.raises(UserError, match="it takes seed=1"):
        registry.make("two-arms", sed=3)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("broken_robots:make", "RuntimeError: no robot here"),
        ("robots:three_arms", "AttributeError: module 'robots' has no attribute 'three_arms'"),
        ("no_robots:make", "ModuleNotFoundError: No module named 'no_robots'"),
    ],
)
def test_a_broken_plug_in_hinders_nothing_but_itself(plug_ins: Callable[..., None], target: Any, reason: str) -> None:
    plug_ins(broken=target, two_arms="robots:two_arms")
    message = rf"^task plug-in 'broken' \({target}\) does not load: {reason}$"
    with pytest.raises(UserError, match=message):
        registry.make("broken")
    made = registry.make("two_arms")
    assert isinstance(made, Bandit)
    assert made.arms == 2
    with pytest.warns(UserWarning, match=message):
        names = registry.registered().keys()
    assert "two_arms" in names
    assert "broken" not in names


def test_plug_ins_are_not_imported_before_they_are_needed(plug_ins: Callable[..., None]) -> None:
    plug_ins(broken="broken_robots:make")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.make("bandit", num_train_tasks=5, num_test_tasks=5)


def test_a_plug_in_named_as_a_built_in_is_refused(plug_ins: Callable[..., None]) -> None:
    plug_ins(navigation="robots:two_arms")
    message = (
        r"^two task distributions are named 'navigation': one of metarl_envs.navigation and one of the package robots"
        r" \(robots:two_arms\), which must rename its entry point or be uninstalled$"
    )
    with pytest.raises(UserError, match=message):
        registry.make("navigation")
    assert isinstance(registry.make("bandit"), Bandit)
    with pytest.warns(UserWarning, match=message):
        assert registry.registered()["navigation"] is Navigation


def test_a_name_that_two_packages_offer_is_refused(plug_ins: Callable[..., None]) -> None:
    plug_ins("robots", arms="robots:two_arms")
    plug_ins("more_robots", arms="robots:two_arms")
    with pytest.raises(UserError, match=r"^several packages offer a task distribution named 'arms' \(more_robots "):
        registry.make("arms")


def test_a_name_that_a_package_offers_cannot_be_registered(plug_ins: Callable[..., None]) -> None:
    plug_ins(arms="robots:two_arms", number="robots:number")
    with pytest.raises(UserError, match=r"'arms' is registered already, by the package robots \(robots:two_arms\)$"):
        registry.register("arms", Bandit)
    with pytest.raises(UserError, match=r"task plug-in 'number' \(robots:number\) must be a class or function, not 3$"):
        registry.make("number")


def test_annotations_for_type_checkers_only_leave_options_as_they_are() -> None:
    class Box:
        pass

    def typed(size: "NoSuchType", box: Box | None = None) -> Any:  # type: ignore[name-defined]
        return Bandit(size, num_train_tasks=5, num_test_tasks=5)

    def boxed(box: Box) -> Any:
        return Bandit(2, num_train_tasks=5, num_test_tasks=5)

    registry.register("typed", typed)
    registry.register("boxed", boxed)
    assert registry.make("typed", size=3).arms == 3  # type: ignore[attr-defined]
    assert registry.make("boxed", box=Box()).arms == 2  # type: ignore[attr-defined]


def test_options_may_be_lists() -> None:
    def corners(radii: Sequence[float]) -> Any:
        return Navigation(horizon=len(radii))

    registry.register("corners", corners)
    assert registry.make("corners", radii=[0.1, 0.2]).horizon == 2
    with pytest.raises(UserError, match=r"option 'radii' is 0.1: Input should be an instance of Sequence"):
        registry.make("corners", radii=0.1)


def test_what_a_factory_makes_must_be_a_distribution() -> None:
    registry.register("nothing", lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match=r"'nothing': its factory must return a TaskDistribution, not NoneType$"):
        registry.make("nothing")


@pytest.mark.parametrize("horizon", [0, -1, 2.5, 10**9, True, "5", None])
def test_a_horizon_that_makes_no_sense_is_refused(horizon: Any) -> None:
    message = "horizon must be a whole number from 1 to 1000000: got "
    with pytest.raises(UserError, match=message):
        check_counts(horizon=horizon)
    for id in ("navigation", "AntDir", "ML10"):  # noqa: A001
        if horizon not in (True, "5", None):
            with pytest.raises(UserError, match="'horizon' is"):
                registry.make(id, horizon=horizon)


@pytest.mark.parametrize(
    ("name", "value"), [("arms", 10**6), ("states", 10**6), ("num_train_tasks", 10**9), ("seed", -1)]
)
def test_sizes_that_no_memory_holds_are_refused(name: str, value: int) -> None:
    family = "bandit" if name == "arms" else "tabular"
    with pytest.raises(UserError, match=r"numbers each take [\d,]+ GB|option '"):
        registry.make(family, **{name: value})


def test_importing_envs_imports_neither_metaworld_nor_torch() -> None:
    program = "import sys, metarl_envs; print({'metaworld', 'mujoco', 'torch', 'metarl'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
