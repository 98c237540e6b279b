"""The package `minari`, which is optional."""

from importlib import import_module
from typing import Any

from metarl_envs.errors import UserError


def minari_module() -> Any:
    """Returns the module `minari`.

    Raises:
        UserError: If it, or h5py, is not installed.
    """
    for name in ("h5py", "minari.dataset.minari_storage", "minari.data_collector"):
        try:
            import_module(name)
        except ImportError:
            package = name.partition(".")[0]
            raise UserError(
                f"demonstrations need {package}, which is not installed: pip install 'metarl-suite[demonstrations]'"
            ) from None
    return import_module("minari")
