"""Presets: the configuration files that come with the package, found by name."""

from difflib import get_close_matches
from pathlib import Path

from metarl.shell import command
from metarl_envs.errors import UserError

FOLDER = Path(__file__).parent / "presets"
"""Folder of the presets' YAML files."""


def preset_names() -> list[str]:
    """Returns the names of all presets, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """Returns the file of a preset.

    Args:
        name: Such as "ml10-rl2" or "ml10-rl2.yaml".

    Raises:
        UserError: If there is no preset of that name.
    """
    stem = name.removesuffix(".yaml")
    names = preset_names()
    if stem not in names:
        nearest = get_close_matches(stem, names, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"'{command('presets')}' lists them."
        raise UserError(f"unknown preset '{name}'; {hint} Anything else must be the path of an existing YAML file")
    return FOLDER / f"{stem}.yaml"


def preset_summary(name: str) -> str:
    """Returns what a preset says of itself: the first line of its file, without the comment sign."""
    return preset_path(name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def find_config(given: Path) -> Path:
    """Returns the configuration file that a user means.

    An existing file wins over a preset of the same name.

    Args:
        given: A path to a YAML file, or the name of a preset.

    Raises:
        UserError: If it can only be the name of a preset, and there is none of that name.
    """
    is_bare_name = len(given.parts) == 1
    try:
        is_file = given.is_file()
    except OSError:  # too long a name, which reading it tells
        return given
    return preset_path(given.name) if is_bare_name and not is_file else given


def find_search_space(given: Path) -> Path:
    """Returns the file of a search space that a user means: an existing one, or one that comes with the package.

    Args:
        given: A path to a YAML file, or the name of a space of the package, such as "navigation".
    """
    packaged = FOLDER / "search" / f"{given.name.removesuffix('.yaml')}.yaml"
    return packaged if len(given.parts) == 1 and not given.is_file() and packaged.is_file() else given
