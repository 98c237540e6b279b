"""Measures adaptation on held-out tasks: protocol, statistics, and their presentation."""

from metarl.evaluation.protocol import evaluate as evaluate
from metarl.evaluation.result import Evaluation as Evaluation
