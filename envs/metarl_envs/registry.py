"""Task distributions by name: those of this package, of `register`, and of installed packages.

A package adds a family under a name of its choice, by an entry point to a class or function that makes it::

    [project.entry-points."metarl.tasks"]
    my-reacher = "my_package.tasks:MyReacher"

A file that is no package is named by its path: `make("my_tasks.py:MyReacher")`.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from metarl_envs.bandit import Bandit
from metarl_envs.core import TaskDistribution
from metarl_envs.counts import Count, Seed
from metarl_envs.errors import UserError, one_line, place, unknown
from metarl_envs.family_files import load_file, split_file
from metarl_envs.navigation import Navigation
from metarl_envs.tabular import TabularMDP
from metarl_envs.wrapping import VisibleTasks

Factory = Callable[..., TaskDistribution]
"""Makes a task distribution from keyword options: a class or a function."""

_GOAL_VISIBLE = inspect.Parameter("goal_visible", inspect.Parameter.KEYWORD_ONLY, annotation=bool)
"""Option of every family; those without a way of their own are wrapped."""

ENTRY_POINT_GROUP = "metarl.tasks"
"""The group of entry points under which installed packages offer task distributions."""


def register(id: str, factory: Factory) -> None:  # noqa: A002  (Gymnasium's name for it)
    """Adds a task distribution, for as long as this process runs.

    A module, or a cell of a notebook, that runs again replaces what it registered before.

    Args:
        id: Name for `make`.
        factory: Class or function that makes it; its parameters are the options of `make`, with their types.

    Raises:
        UserError: If the factory cannot be called, or the name is not a word or is taken: by a family of this package
            or of an installed one, or by one that another module registered.
    """
    if not callable(factory):
        raise UserError(f"the factory of '{id}' must be a class or function: got {factory!r}")
    if not isinstance(id, str) or not id or split_file(id)[0] is not None:
        raise UserError(f"the name of a task distribution must be a word, such as 'my-family': got {id!r}")
    offered = _offered().get(id)
    if offered:
        raise UserError(f"a task distribution named '{id}' is registered already, by the package {_source(offered[0])}")
    known = _FACTORIES.get(id)
    if known is not None and (known in _BUILT_IN.values() or not is_same_module(known, factory)):
        raise UserError(f"a task distribution named '{id}' is registered already, by {known.__module__}")
    _FACTORIES[id] = factory


def is_same_module(one: object, other: object) -> bool:
    """Returns true if two functions or classes are of one module, so that the later may replace the earlier."""
    first, second = (getattr(each, "__module__", None) for each in (one, other))
    return first is not None and first == second


def make(id: str, /, **options: Any) -> TaskDistribution:  # noqa: A002  (Gymnasium's name for it)
    """Makes a task distribution.

    Args:
        id: One of `registered`, or FILE.py:NAME for the class or function NAME of a Python file.
        **options: Keyword arguments of its factory, checked against and converted to the types it declares; and
            `goal_visible`, true to show each task in its observations: in Meta-World the goal, where its multi-task
            benchmarks have it, elsewhere the task's parameters, appended (`metarl_envs.wrapping.VisibleTasks`).

    Raises:
        UserError: If the name is unknown or several packages offer it, an option is unknown, missing or of the wrong
            type, the plug-in or file does not load, its function fails, what it makes is not a `TaskDistribution`, or
            its tasks cannot be made visible.
    """
    file, name = split_file(id)
    factory = _load(id, _find(id)) if file is None else load_file(Path(file), name)
    visible = False
    if "goal_visible" in options and "goal_visible" not in _signature(factory).parameters:
        visible = _converted(id, _GOAL_VISIBLE, "goal_visible", options.pop("goal_visible"))
    checked = _checked(id, factory, options)
    try:
        made = factory(**checked)
    except UserError:
        raise
    except Exception as error:  # others' code may fail in any way
        if factory in _BUILT_IN.values():
            raise
        raise UserError(f"task distribution '{id}' cannot be made: {one_line(error)} ({place(error)})") from error
    if not isinstance(made, TaskDistribution):
        raise UserError(
            f"task distribution '{id}': its factory must return a TaskDistribution, not {type(made).__name__}"
        )
    return VisibleTasks(made) if visible else made


def registered() -> dict[str, Factory]:
    """Returns the factories of all known task distributions by name; warns of plug-ins that cannot be used."""
    factories: dict[str, Factory] = {}
    for id in sorted(_FACTORIES.keys() | _offered().keys()):  # noqa: A001
        try:
            factories[id] = _load(id, _find(id))
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)
            if id in _FACTORIES:
                factories[id] = _FACTORIES[id]
    return factories


def _offered() -> dict[str, list[EntryPoint]]:
    """Returns the entry points that installed packages offer, by name."""
    offered: dict[str, list[EntryPoint]] = {}
    for plug_in in entry_points(group=ENTRY_POINT_GROUP):
        offered.setdefault(plug_in.name, []).append(plug_in)
    return offered


def _find(id: str) -> Factory | EntryPoint:  # noqa: A002
    offered = _offered()
    plug_ins = offered.get(id, [])
    sources = sorted({_source(plug_in) for plug_in in plug_ins})
    if id in _FACTORIES and plug_ins:
        raise UserError(
            f"two task distributions are named '{id}': one of {_FACTORIES[id].__module__} and one of the package"
            f" {sources[0]}, which must rename its entry point or be uninstalled"
        )
    if len(sources) > 1:
        raise UserError(f"several packages offer a task distribution named '{id}' ({' and '.join(sources)}): keep one")
    if id in _FACTORIES:
        return _FACTORIES[id]
    if not plug_ins:
        raise unknown("task distribution", id, [*_FACTORIES, *offered])
    return plug_ins[0]


def _source(plug_in: EntryPoint) -> str:
    package = plug_in.dist.name if plug_in.dist is not None else "?"
    return f"{package} ({plug_in.value})"


def _load(id: str, factory: Factory | EntryPoint) -> Factory:  # noqa: A002
    if not isinstance(factory, EntryPoint):
        return factory
    try:
        loaded: Factory = factory.load()
    except Exception as error:  # a plug-in may fail in any way
        raise UserError(f"task plug-in '{id}' ({factory.value}) does not load: {one_line(error)}") from error
    if not callable(loaded):
        raise UserError(f"task plug-in '{id}' ({factory.value}) must be a class or function, not {loaded!r}")
    return loaded


def _checked(id: str, factory: Factory, options: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    """Converts the options to the types that the factory declares."""
    signature = _signature(factory)
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(map(_describe, signature.parameters.values())) or "no options"
        raise UserError(f"task distribution '{id}': {error}; it takes {takes}") from None
    return {name: _converted(id, signature.parameters.get(name), name, value) for name, value in options.items()}


def _signature(factory: Factory) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):  # an annotation for type checkers only
        return inspect.signature(factory)


def _converted(id: str, parameter: inspect.Parameter | None, name: str, value: Any) -> Any:  # noqa: A002
    if parameter is None or parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        return value
    try:
        return TypeAdapter(parameter.annotation).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"task distribution '{id}': option '{name}' is {value!r}: {reason}") from None
    except PydanticUserError:  # an annotation that pydantic knows nothing of
        return value


def _describe(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


def _metaworld(benchmark: str, **options: Any) -> TaskDistribution:
    from metarl_envs.metaworld import MetaWorld  # takes seconds to import

    return MetaWorld(benchmark, **options)


def _ml1(task: str, horizon: Count = 500, seed: Seed = 1, goal_visible: bool = False) -> TaskDistribution:
    """Goals of one Meta-World task."""
    return _metaworld("ML1", task=task, horizon=horizon, seed=seed, goal_visible=goal_visible)


def _ml(benchmark: str) -> Factory:
    def factory(horizon: Count = 500, seed: Seed = 1, goal_visible: bool = False) -> TaskDistribution:
        """Classes of Meta-World tasks, some of them held out."""
        return _metaworld(benchmark, horizon=horizon, seed=seed, goal_visible=goal_visible)

    return factory


def _custom(
    train: Sequence[str], test: Sequence[str], horizon: Count = 500, seed: Seed = 1, goal_visible: bool = False
) -> TaskDistribution:
    """Meta-World tasks of the user's choice."""
    return _metaworld("custom", train=train, test=test, horizon=horizon, seed=seed, goal_visible=goal_visible)


def _mt1(
    task: str, horizon: Count = 500, seed: Seed = 1, goal_visible: bool = True, use_one_hot: bool = False
) -> TaskDistribution:
    """Visible goals of one Meta-World task."""
    options = {"horizon": horizon, "seed": seed, "goal_visible": goal_visible, "use_one_hot": use_one_hot}
    return _metaworld("MT1", task=task, **options)


def _mt(benchmark: str) -> Factory:
    def factory(
        horizon: Count = 500, seed: Seed = 1, goal_visible: bool = True, use_one_hot: bool = False
    ) -> TaskDistribution:
        """Classes of Meta-World tasks with visible goals, for multi-task learning."""
        options = {"horizon": horizon, "seed": seed, "goal_visible": goal_visible, "use_one_hot": use_one_hot}
        return _metaworld(benchmark, **options)

    return factory


LOCOMOTION = {
    "HalfCheetahDir": "A half-cheetah runs forwards or backwards (Finn et al. 2017).",
    "HalfCheetahVel": "A half-cheetah runs at a certain speed (Finn et al. 2017).",
    "AntDir": "An ant runs in one of all directions (Rothfuss et al. 2019).",
    "AntGoal": "An ant goes to a place in a disc (Rothfuss et al. 2019).",
    "HumanoidDir": "A humanoid walks in one of all directions (Rakelly et al. 2019).",
    "Walker2dVel": "A biped walks at a certain speed (Rothfuss et al. 2019).",
    "HopperRandParams": "A hopper of random masses, inertias, damping and friction (Rakelly et al. 2019).",
    "Walker2dRandParams": "A biped of random masses, inertias, damping and friction (Rakelly et al. 2019).",
}
"""Families of `metarl_envs.locomotion` with their descriptions."""


def _locomotion(family: str) -> Factory:
    def factory(
        num_train_tasks: Count | None = None,
        num_test_tasks: Count | None = None,
        horizon: Count | None = None,
        seed: Seed = 1,
    ) -> TaskDistribution:
        from metarl_envs.locomotion import Locomotion  # imports MuJoCo

        return Locomotion(family, num_train_tasks, num_test_tasks, horizon, seed)

    factory.__doc__ = LOCOMOTION[family]
    return factory


_BUILT_IN: dict[str, Factory] = {
    "navigation": Navigation,
    "bandit": Bandit,
    "tabular": TabularMDP,
    "ML1": _ml1,
    "ML10": _ml("ML10"),
    "ML25": _ml("ML25"),
    "ML45": _ml("ML45"),
    "custom": _custom,
    "MT1": _mt1,
    **{benchmark: _mt(benchmark) for benchmark in ("MT10", "MT25", "MT50")},
    **{family: _locomotion(family) for family in LOCOMOTION},
}

_FACTORIES = dict(_BUILT_IN)
"""The built-in families and those of `register`."""
