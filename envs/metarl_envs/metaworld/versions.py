"""Required releases of Meta-World and MuJoCo: other releases have other physics and rewards."""

from importlib.metadata import PackageNotFoundError, version

from metarl_envs.errors import UserError

REQUIRED = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
"""Exact releases: MuJoCo 3.4 corrects a collision and so changes peg-insert-side; Meta-World 3.0 has other rewards."""


def installed_versions() -> dict[str, str | None]:
    """Returns the installed release of each package in `REQUIRED`, or None."""
    return {package: _installed(package) for package in REQUIRED}


def check_versions() -> None:
    """Checks that the installed releases are those in `REQUIRED`.

    Raises:
        UserError: If a package is missing or has another release.
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
