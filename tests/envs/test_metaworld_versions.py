import importlib
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from metarl_envs.errors import UserError
from metarl_envs.metaworld import versions


def pretend(monkeypatch: pytest.MonkeyPatch, **releases: str) -> None:
    def version(package: str) -> str:
        if package not in releases:
            raise PackageNotFoundError(package)
        return releases[package]

    monkeypatch.setattr(versions, "version", version)


def test_the_installed_releases_are_the_right_ones() -> None:
    assert versions.installed_versions() == {"metaworld": "3.1.1", "mujoco": "3.3.0"}
    versions.check_versions()


@pytest.mark.parametrize(
    ("releases", "complaint"),
    [
        ({"metaworld": "3.1.1", "mujoco": "3.4.0"}, "mujoco is 3.4.0 but must be 3.3.0"),
        ({"metaworld": "3.0.0", "mujoco": "3.3.0"}, "metaworld is 3.0.0 but must be 3.1.1"),
        ({"mujoco": "3.3.0"}, "metaworld is not installed but must be 3.1.1"),
        (
            {"metaworld": "3.0.0", "mujoco": "3.5.0"},
            "metaworld is 3.0.0 but must be 3.1.1 and mujoco is 3.5.0 but must be 3.3.0",
        ),
    ],
)
def test_another_release_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, releases: dict[str, str], complaint: str
) -> None:
    pretend(monkeypatch, **releases)
    with pytest.raises(UserError) as error:
        versions.check_versions()
    assert str(error.value) == f"{complaint}; run: pip install metaworld==3.1.1 mujoco==3.3.0"


def test_the_package_cannot_be_imported_with_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, metaworld="3.1.1", mujoco="3.4.0")
    monkeypatch.delitem(sys.modules, "metarl_envs.metaworld")
    with pytest.raises(UserError, match=r"mujoco is 3\.4\.0"):
        importlib.import_module("metarl_envs.metaworld")
