"""Hook of MkDocs: makes a page of the API reference for each public module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "metarl", ROOT / "envs" / "metarl_envs")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages to the site and to its navigation."""
    navigation = config.nav
    assert navigation is not None
    navigation.append(
        {"API reference": [{package.name: _add_package(package, package.name, files, config)} for package in PACKAGES]}
    )
    return files


def _add_package(folder: Path, name: str, files: Files, config: MkDocsConfig) -> list[Any]:
    """Adds the pages of a package and returns its entries in the navigation, the package itself first."""
    entries: list[Any] = [_add_page(f"api/{name.replace('.', '/')}/index.md", name, files, config)]
    for path in sorted(folder.iterdir()):
        module = f"{name}.{path.stem}"
        if path.stem.startswith("_"):
            continue
        if (path / "__init__.py").exists():
            entries.append({path.name: _add_package(path, module, files, config)})
        elif path.suffix == ".py":
            entries.append({path.stem: _add_page(f"api/{module.replace('.', '/')}.md", module, files, config)})
    return entries


def _add_page(uri: str, module: str, files: Files, config: MkDocsConfig) -> str:
    files.append(File.generated(config, uri, content=f"# `{module}`\n\n::: {module}\n"))
    return uri
