"""Command lines to suggest, which work as they are printed."""

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*words: str | Path) -> str:
    """Returns a command line of `metarl`, with the program's path unless the shell finds it, and quoted where needed.

    Args:
        words: Arguments; a path may begin with a dash.
    """
    return shlex.join([*_program(), *(argument(word) for word in words)])


def argument(word: str | Path) -> str:
    """Returns an argument of a command line; a path that begins with a dash is told from an option."""
    is_dashed_path = isinstance(word, Path) and str(word).startswith("-")
    return f"./{word}" if is_dashed_path else str(word)


def _program() -> list[str]:
    ours = Path(sys.executable).parent / "metarl"
    if not ours.is_file():
        return [sys.executable, "-m", "metarl"]
    found = shutil.which("metarl")
    if found is not None and os.path.samefile(found, ours):
        return ["metarl"]
    relative = os.path.relpath(ours)
    return [str(ours) if relative.startswith(os.pardir) else relative]
