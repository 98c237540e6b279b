"""Algorithms by name: this package's own, those registered by the program, and those of installed packages.

A package offers an algorithm of its own, under the name it likes, by an entry point to its configuration class::

    [project.entry-points."metarl.algorithms"]
    portfolio = "my_package.portfolio:PortfolioConfig"

An entry point of a name that is taken is refused when it is used. docs/add-an-algorithm.md has a complete example.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

from pydantic_core import PydanticUndefined

from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.imitation.config import ImitationConfig
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.recognition.config import GradientConfig, MatchingConfig, PrototypicalConfig, SiameseConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.algorithms.skills.config import SkillSearchConfig
from metarl_envs.errors import UserError, one_line, unknown
from metarl_envs.registry import is_same_module

ENTRY_POINT_GROUP = "metarl.algorithms"
"""The group of entry points under which installed packages offer algorithms."""

_BUILT_IN: dict[str, type[AlgorithmConfig]] = {
    "maml": MAMLConfig,
    "rl2": RL2Config,
    "skills": SkillSearchConfig,
    "prototypical": PrototypicalConfig,
    "matching": MatchingConfig,
    "siamese": SiameseConfig,
    "gradient": GradientConfig,
    "imitation": ImitationConfig,
}
_REGISTERED = dict(_BUILT_IN)
"""The built-in algorithms and those of `register`."""


def register(name: str, config_class: type[AlgorithmConfig]) -> None:
    """Adds an algorithm, for as long as this process runs.

    A module, or a cell of a notebook, that runs again replaces what it registered before.

    Args:
        name: Name of the algorithm in configurations, `algorithm.kind`.
        config_class: Its settings, which build it.

    Raises:
        UserError: If the name is taken (by an algorithm of this package, of an installed one or of another module), the
            class is not one of settings, or its `kind` has another name.
    """
    known = _REGISTERED.get(name)
    replaces = known is not None and name not in _BUILT_IN and is_same_module(known, config_class)
    if name in _known() and not replaces:
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
    offered = _offered()
    if name in _REGISTERED:
        if name in offered:
            (plug_in, *_), known = offered[name], _REGISTERED[name]
            raise UserError(
                f"two algorithms are named '{name}': {known.__module__}.{known.__name__} and that of an installed"
                f" package ({plug_in.value}), which must rename its entry point or be uninstalled"
            )
        return _REGISTERED[name]
    if name not in offered:
        raise unknown("algorithm", name, _known())
    return _load(offered[name])


def _known() -> set[str]:
    return _offered().keys() | _REGISTERED.keys()


def _offered() -> dict[str, list[EntryPoint]]:
    """Returns the entry points that installed packages offer, by name."""
    offered: dict[str, list[EntryPoint]] = {}
    for plug_in in entry_points(group=ENTRY_POINT_GROUP):
        offered.setdefault(plug_in.name, []).append(plug_in)
    return offered


def _load(offered: list[EntryPoint]) -> type[AlgorithmConfig]:
    plug_in = offered[0]
    if len({each.value for each in offered}) > 1:
        values = " and ".join(sorted(each.value for each in offered))
        raise UserError(f"several packages offer an algorithm named '{plug_in.name}' ({values}): uninstall all but one")
    where = f"algorithm plug-in '{plug_in.name}' ({plug_in.value})"
    try:
        loaded = plug_in.load()
    except Exception as error:  # a plug-in may fail in any way
        raise UserError(f"{where} does not load: {one_line(error)}") from error
    return _checked(loaded, plug_in.name, where)


def _checked(loaded: Any, name: str, where: str) -> type[AlgorithmConfig]:
    if not (isinstance(loaded, type) and issubclass(loaded, AlgorithmConfig)) or isabstract(loaded):
        raise UserError(f"{where} must be a subclass of metarl.algorithms.base.AlgorithmConfig that implements `build`")
    kind = loaded.model_fields["kind"].default  # undefined if `kind` has no default
    if kind not in (name, PydanticUndefined):
        raise UserError(f"{where}: the default of `kind` must be '{name}' too, not '{kind}'")
    return loaded
