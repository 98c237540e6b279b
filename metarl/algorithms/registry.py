"""Algorithms by name: this package's own, those registered by the program, and those of installed packages.

A package offers an algorithm of its own, under the name it likes, by an entry point to its configuration class::

    [project.entry-points."metarl.algorithms"]
    portfolio = "my_package.portfolio:PortfolioConfig"

An entry point of a name that this package uses itself is ignored. docs/add-an-algorithm.md has a complete example.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

from pydantic_core import PydanticUndefined

from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl_envs.errors import UserError, unknown

ENTRY_POINT_GROUP = "metarl.algorithms"
"""The group of entry points under which installed packages offer algorithms."""

_REGISTERED: dict[str, type[AlgorithmConfig]] = {"maml": MAMLConfig, "rl2": RL2Config, "skills": SkillSearchConfig}


def register(name: str, config_class: type[AlgorithmConfig]) -> None:
    """Adds an algorithm, for as long as this process runs.

    Args:
        name: Name of the algorithm in configurations, `algorithm.kind`.
        config_class: Its settings, which build it.

    Raises:
        UserError: If the name is taken, the class is not one of settings, or its `kind` has another name.
    """
    if name in _known():
        raise UserError(f"an algorithm named '{name}' is registered already")
    _REGISTERED[name] = _checked(config_class, name, f"algorithm '{name}'")


def names() -> list[str]:
    """Returns the names of all algorithms there are."""
    return sorted(_known())


def config_class(name: str) -> type[AlgorithmConfig]:
    """Returns the configuration class of an algorithm.

    Raises:
        UserError: If there is no algorithm of that name, several packages offer one, or the plug-in does not load.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    known = _known()
    if name not in known:
        raise unknown("algorithm", name, known)
    found = known[name]
    return found if isinstance(found, type) else _load(found)


def _known() -> dict[str, type[AlgorithmConfig] | list[EntryPoint]]:
    """Returns the registered classes by name, and for other names the entry points that offer them."""
    offered: dict[str, list[EntryPoint]] = {}
    for plug_in in entry_points(group=ENTRY_POINT_GROUP):
        offered.setdefault(plug_in.name, []).append(plug_in)
    return offered | _REGISTERED


def _load(offered: list[EntryPoint]) -> type[AlgorithmConfig]:
    plug_in = offered[0]
    if len({each.value for each in offered}) > 1:
        values = " and ".join(sorted(each.value for each in offered))
        raise UserError(f"several packages offer an algorithm named '{plug_in.name}' ({values}): uninstall all but one")
    where = f"algorithm plug-in '{plug_in.name}' ({plug_in.value})"
    try:
        loaded = plug_in.load()
    except Exception as error:  # a plug-in may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where} does not load: {reason}") from error
    return _checked(loaded, plug_in.name, where)


def _checked(loaded: Any, name: str, where: str) -> type[AlgorithmConfig]:
    if not (isinstance(loaded, type) and issubclass(loaded, AlgorithmConfig)) or isabstract(loaded):
        raise UserError(f"{where} must be a subclass of metarl.algorithms.base.AlgorithmConfig that implements `build`")
    kind = loaded.model_fields["kind"].default  # undefined if `kind` has no default
    if kind not in (name, PydanticUndefined):
        raise UserError(f"{where}: the default of `kind` must be '{name}' too, not '{kind}'")
    return loaded
