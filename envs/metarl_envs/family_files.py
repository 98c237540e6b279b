"""Task families in Python files that are no packages, named as FILE.py:NAME."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from metarl_envs.errors import UserError, one_line, unknown


def split_file(id: str) -> tuple[str | None, str]:  # noqa: A002  (Gymnasium's name for it)
    """Splits FILE.py:NAME into file and name; the file is None where `id` is a registered name."""
    file, colon, name = id.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else (None, id)


def load_file(path: Path, name: str) -> Callable[..., Any]:
    """Runs a Python file as a module of its own.

    Args:
        path: Path of the file.
        name: Name of a class or function in it.

    Returns:
        The class or function.

    Raises:
        UserError: If there is no such file, it does not load, or has no such class or function.
    """
    if not path.is_file():
        raise UserError(f"no file '{path}' with a task distribution '{name}'")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # for modules beside it; last, so that they hide nothing
    module = ModuleType(f"metarl_file_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)  # worker processes cannot import it
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102  (named by the user)
    except Exception as error:  # the user's code may fail in any way
        raise UserError(f"{path} does not load: {one_line(error)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise unknown(f"class or function in {path}:", name, known)
    factory: Callable[..., Any] = found
    return factory
