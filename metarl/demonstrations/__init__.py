"""Demonstrations of tasks: recorded, read, split."""

from metarl.demonstrations.collecting import Collected, collect
from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl.demonstrations.reading import load
from metarl.demonstrations.writing import save

__all__ = ["Collected", "Demonstration", "Demonstrations", "collect", "load", "save"]
