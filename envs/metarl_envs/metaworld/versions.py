"""The releases of Meta-World and MuJoCo whose physics all our results rest on."""

from importlib.metadata import PackageNotFoundError, version

from metarl_envs.errors import UserError

REQUIRED = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
"""Exact: MuJoCo 3.4 mends a collision and thereby changes peg-insert-side, and Meta-World 3.0 other rewards."""


def installed_versions() -> dict[str, str | None]:
    """The installed release of each package in `REQUIRED`, None where there is none."""
    return {package: _installed(package) for package in REQUIRED}


def check_versions() -> None:
    """Makes sure that the installed releases are those in `REQUIRED`.

    Raises:
        UserError: If one is missing or another release; says which, and how to install the right one.
    """
    wrong = [
        f"{package} is {installed or 'not installed'} but must be {REQUIRED[package]}"
        for package, installed in installed_versions().items()
        if installed != REQUIRED[package]
    ]
    if wrong:
        pins = " ".join(f"{package}=={release}" for package, release in REQUIRED.items())
        raise UserError(f"{' and '.join(wrong)}; run: pip install {pins}")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
