"""Algorithms by name: this package's own, those registered by the program, and those of installed packages.

A package offers an algorithm of its own, under the name it likes, by an entry point to its configuration class::

    [project.entry-points."metarl.algorithms"]
    random-search = "my_package.random_search:RandomSearchConfig"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl_envs.errors import UserError, unknown

ENTRY_POINT_GROUP = "metarl.algorithms"
"""The group of entry points under which installed packages offer algorithms."""

_REGISTERED: dict[str, type[AlgorithmConfig]] = {"maml": MAMLConfig, "rl2": RL2Config}


def register(name: str, config_class: type[AlgorithmConfig]) -> None:
    """Adds an algorithm, for as long as this process runs.

    Args:
        name: What configurations call it: `algorithm.kind`.
        config_class: Its settings, which build it.

    Raises:
        UserError: If the name is taken.
    """
    if name in _known():
        raise UserError(f"an algorithm named '{name}' is registered already")
    _REGISTERED[name] = config_class


def names() -> list[str]:
    """Returns the names of all algorithms there are."""
    return sorted(_known())


def config_class(name: str) -> type[AlgorithmConfig]:
    """Returns the configuration class of an algorithm.

    Raises:
        UserError: If there is no algorithm of that name, or the plug-in that offers it does not load.
    """
    known = _known()
    if name not in known:
        raise unknown("algorithm", name, known)
    found = known[name]
    return _load(found) if isinstance(found, EntryPoint) else found


def _known() -> dict[str, type[AlgorithmConfig] | EntryPoint]:
    return {plug_in.name: plug_in for plug_in in entry_points(group=ENTRY_POINT_GROUP)} | _REGISTERED


def _load(plug_in: EntryPoint) -> type[AlgorithmConfig]:
    where = f"algorithm plug-in '{plug_in.name}' ({plug_in.value})"
    try:
        loaded = plug_in.load()
    except Exception as error:  # a plug-in may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where} does not load: {reason}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, AlgorithmConfig)):
        raise UserError(f"{where} must be a subclass of metarl.algorithms.base.AlgorithmConfig")
    return loaded
