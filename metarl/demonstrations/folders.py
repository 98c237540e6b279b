"""Folders of demonstrations: where they are, and how they are called."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from metarl.shell import command
from metarl_envs.errors import UserError

FOLDER = Path("demonstrations")
"""Folder, in the working directory, that datasets are written to and looked for."""
DATA = "data"
"""Folder of a dataset that holds its files, in Minari's layout."""
_METADATA = "metadata.json"
_NAME = re.compile(r"[-_\w]+-v\d+")


def minari_root() -> Path:
    """Returns the folder that Minari keeps datasets in: `$MINARI_DATASETS_PATH`, else `~/.minari/datasets`."""
    named = os.environ.get("MINARI_DATASETS_PATH")
    return Path(named) if named else Path.home() / ".minari" / "datasets"


def is_dataset(path: Path) -> bool:
    """Returns true if there is a dataset in Minari's layout at a path."""
    try:
        return (path / DATA / _METADATA).is_file()
    except (OSError, ValueError):  # a path that cannot be
        return False


def list_datasets(root: Path) -> list[Path]:
    """Returns the paths of the datasets in a folder and the folders in it, without hidden and unfinished ones."""
    if not root.is_dir():
        return []
    found = [file.parent.parent for file in root.glob(f"**/{DATA}/{_METADATA}")]
    hidden = [path for path in found if any(part.startswith(".") for part in path.relative_to(root).parts)]
    return sorted(set(found) - set(hidden))


def find_dataset(dataset: str | Path) -> Path:
    """Returns the path of a dataset.

    Args:
        dataset: Its path, or its name in `demonstrations/` or in Minari's own folder.

    Raises:
        UserError: If there is none, with the name that was probably meant.
    """
    roots = (FOLDER, minari_root())
    for path in (Path(dataset), *(root / dataset for root in roots)):
        if is_dataset(path):
            return path
    names = {path.relative_to(root).as_posix() for root in roots for path in list_datasets(root)}
    near = get_close_matches(str(dataset), sorted(names), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"{command('demos', 'list')} lists those that there are"
    raise UserError(f"no demonstrations at '{dataset}', nor of that name in {FOLDER}/ or {minari_root()}; {hint}")


def check_name(path: Path) -> None:
    """Checks that a dataset may be written to a path.

    Raises:
        UserError: If its last part is no name for Minari, or something is there.
    """
    if not _NAME.fullmatch(path.name):
        raise UserError(
            f"'{path.name}' is no name for demonstrations: Minari's names are letters, digits, '_' and '-', and end in"
            " a version, such as reach-v0"
        )
    if path.exists():
        raise UserError(f"{path} is there already: delete it, or name another place by --output")
