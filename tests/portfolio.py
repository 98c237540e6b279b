"""The algorithm of docs/add-an-algorithm.md, registered within the process."""

import sys
from types import ModuleType

import pytest
from page import Page

from metarl.algorithms import registry

PAGE = Page("add-an-algorithm.md")
*DEFINITIONS, REGISTRATION = PAGE.blocks("python")


def source() -> str:
    """The page's module."""
    return "\n\n".join(DEFINITIONS)


def register(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Defines the page's classes in a module and registers the algorithm as the page does, until the test ends."""
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    module = ModuleType("portfolio_of_the_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where pydantic looks up annotations
    exec("\n\n".join([source(), REGISTRATION]), module.__dict__)
    return module
