"""Versions of the software that produced a result."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from metarl_envs.cores import available_cores

_PACKAGES = ("metarl-suite", "torch", "numpy", "gymnasium", "mujoco", "metaworld")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that affect results, the machine, and metarl's commit.

    Packages that are not installed are left out, and the commit if metarl does not run from a checkout. A commit ends
    in "-dirty" if files differ from it.
    """
    found = {"python": platform.python_version(), "platform": platform.platform(), "machine": machine()}
    for package in _PACKAGES:
        version = package_version(package)
        if version is not None:
            found[package] = version
    commit = _commit(Path(__file__).parent.parent)
    if commit is not None:
        found["commit"] = commit
    return found


def machine() -> str:
    """Returns the processor and how many of its cores are at hand, such as "2 cores of Intel(R) Xeon(R) Processor"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    model = " ".join((models or [platform.processor() or platform.machine()])[0].split())
    cores = available_cores()
    return f"{cores} core{'s' * (cores > 1)} of {model}"


def package_version(package: str) -> str | None:
    """Returns the installed version of a package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    """Returns the commit of the checkout at `root`; None if there is no checkout or no git."""
    # git searches upwards and would find the repository of a project that contains a copy of metarl.
    if not (root / ".git").exists():
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
