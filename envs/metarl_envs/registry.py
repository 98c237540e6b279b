"""Task distributions by name: those of this package, of `register`, and of installed packages.

A package adds a family under a name of its choice, by an entry point to a class or function that makes it::

    [project.entry-points."metarl.tasks"]
    my-reacher = "my_package.tasks:MyReacher"
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from metarl_envs.bandit import Bandit
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError, unknown
from metarl_envs.navigation import Navigation
from metarl_envs.tabular import TabularMDP

Factory = Callable[..., TaskDistribution]
"""Makes a task distribution from keyword options: a class or a function."""

ENTRY_POINT_GROUP = "metarl.tasks"
"""The group of entry points under which installed packages offer task distributions."""


def register(id: str, factory: Factory) -> None:  # noqa: A002  (Gymnasium's name for it)
    """Adds a task distribution, for as long as this process runs.

    Args:
        id: Name for `make`.
        factory: Class or function that makes it; its parameters are the options of `make`, with their types.

    Raises:
        UserError: If the name is taken.
    """
    if id in _FACTORIES:
        raise UserError(f"a task distribution named '{id}' is registered already")
    _FACTORIES[id] = factory


def make(id: str, /, **options: Any) -> TaskDistribution:  # noqa: A002  (Gymnasium's name for it)
    """Makes a task distribution.

    Args:
        id: One of `registered`.
        **options: Keyword arguments of its factory, checked against and converted to the types it declares.

    Raises:
        UserError: If the name is unknown, an option is unknown, missing or of the wrong type, or the plug-in of that
            name does not load.
    """
    known = _known()
    if id not in known:
        raise unknown("task distribution", id, known)
    factory = _load(known[id])
    return factory(**_checked(id, factory, options))


def registered() -> dict[str, Factory]:
    """Returns the factories of all known task distributions by name; warns of plug-ins that do not load."""
    factories: dict[str, Factory] = {}
    for id, factory in sorted(_known().items()):  # noqa: A001
        try:
            factories[id] = _load(factory)
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)
    return factories


def _known() -> dict[str, Factory | EntryPoint]:
    return {plug_in.name: plug_in for plug_in in entry_points(group=ENTRY_POINT_GROUP)} | _FACTORIES


def _load(factory: Factory | EntryPoint) -> Factory:
    if not isinstance(factory, EntryPoint):
        return factory
    try:
        loaded: Factory = factory.load()
    except Exception as error:  # a plug-in may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"task plug-in '{factory.name}' ({factory.value}) does not load: {reason}") from error
    return loaded


def _checked(id: str, factory: Factory, options: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    """Converts the options to the types that the factory declares."""
    signature = inspect.signature(factory, eval_str=True)
    try:
        signature.bind(**options)
    except TypeError as error:
        takes = ", ".join(map(_describe, signature.parameters.values())) or "no options"
        raise UserError(f"task distribution '{id}': {error}; it takes {takes}") from None
    return {name: _converted(id, signature.parameters.get(name), name, value) for name, value in options.items()}


def _converted(id: str, parameter: inspect.Parameter | None, name: str, value: Any) -> Any:  # noqa: A002
    if parameter is None or parameter.annotation is parameter.empty:
        return value
    try:
        return TypeAdapter(parameter.annotation).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"task distribution '{id}': option '{name}' is {value!r}: {reason}") from None


def _describe(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


def _metaworld(benchmark: str, **options: Any) -> TaskDistribution:
    from metarl_envs.metaworld import MetaWorld  # takes seconds to import

    return MetaWorld(benchmark, **options)


def _ml1(task: str, horizon: PositiveInt = 500, seed: NonNegativeInt = 1) -> TaskDistribution:
    """Goals of one Meta-World task."""
    return _metaworld("ML1", task=task, horizon=horizon, seed=seed)


def _ml(benchmark: str) -> Factory:
    def factory(horizon: PositiveInt = 500, seed: NonNegativeInt = 1) -> TaskDistribution:
        """Classes of Meta-World tasks, some of them held out."""
        return _metaworld(benchmark, horizon=horizon, seed=seed)

    return factory


def _custom(
    train: Sequence[str], test: Sequence[str], horizon: PositiveInt = 500, seed: NonNegativeInt = 1
) -> TaskDistribution:
    """Meta-World tasks of the user's choice."""
    return _metaworld("custom", train=train, test=test, horizon=horizon, seed=seed)


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
        num_train_tasks: PositiveInt | None = None,
        num_test_tasks: PositiveInt | None = None,
        horizon: PositiveInt | None = None,
        seed: NonNegativeInt = 1,
    ) -> TaskDistribution:
        from metarl_envs.locomotion import Locomotion  # imports MuJoCo

        return Locomotion(family, num_train_tasks, num_test_tasks, horizon, seed)

    factory.__doc__ = LOCOMOTION[family]
    return factory


_FACTORIES: dict[str, Factory] = {
    "navigation": Navigation,
    "bandit": Bandit,
    "tabular": TabularMDP,
    "ML1": _ml1,
    "ML10": _ml("ML10"),
    "ML25": _ml("ML25"),
    "ML45": _ml("ML45"),
    "custom": _custom,
    **{family: _locomotion(family) for family in LOCOMOTION},
}
