"""What a result was made with."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("metarl-suite", "torch", "numpy", "gymnasium", "mujoco", "metaworld")


def versions() -> dict[str, str]:
    """Versions of Python and the packages that shape a result, the platform, and metarl's commit if it is a checkout.

    Packages that are not installed are left out. A commit ends in "-dirty" where files differ from it.
    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        version = package_version(package)
        if version is not None:
            found[package] = version
    commit = _commit(Path(__file__).parent.parent)
    if commit is not None:
        found["commit"] = commit
    return found


def package_version(package: str) -> str | None:
    """The installed version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():  # or git would find the repository of someone who vendors metarl
        return None
    command = [
        "git",
        "--no-optional-locks",
        "-C",
        str(root),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
