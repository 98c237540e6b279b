"""Measures adaptation on held-out tasks: protocol, statistics, and their presentation."""

from metarl.evaluation.protocol import adapt_by_playing, evaluate
from metarl.evaluation.result import Evaluation

__all__ = ["Evaluation", "adapt_by_playing", "evaluate"]
