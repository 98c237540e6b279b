"""`python scripts/sinusoids.py`: fits sinusoids from few points by inner rules, to hold against published errors."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.inner_rules.config import GradientRuleConfig, InnerRuleConfig, MetaLSTMConfig, MetaNetConfig
from metarl.algorithms.inner_rules.layers import FastMLP
from metarl.algorithms.inner_rules.rules import InnerRule
from metarl.errors import RunFailure
from metarl.evaluation.statistics import mean_bounds
from metarl.runs import write_json
from metarl.seeding import Stream, generator
from metarl.versions import versions
from metarl_envs.counts import check_counts
from metarl_envs.errors import UserError

RULES: dict[str, InnerRuleConfig] = {
    "MAML": GradientRuleConfig(steps=1, lr=0.01),
    "Meta-SGD": GradientRuleConfig(steps=1, lr=0.01, learned_lr=True),
    "MetaNet": MetaNetConfig(),
    "meta-LSTM": MetaLSTMConfig(),
}
"""Rules by name."""
SHOTS = (5, 10, 20)
"""Numbers of points that are tested with; training is with the first of them."""
_UNITS, _LR, _QUERIES, _MOST_NORM = 40, 1e-3, 10, 10.0
_TEST_TASKS, _TEST_QUERIES, _TEST_SEED = 1000, 100, 10**6


class Points(NamedTuple):
    """Points of sinusoids."""

    inputs: Float[Tensor, "task sample 1"]
    targets: Float[Tensor, "task sample 1"]


def draw(tasks: int, samples: int, source: torch.Generator) -> Points:
    """Draws sinusoids as Li et al. (2017, section 4.1) do, and points of each.

    y = a sin(w x + b), with a in [0.1, 5], w in [0.8, 1.2], b in [0, pi] and x in [-5, 5], all uniform. Those of Finn
    et al. (2017, section 5.1) all have w = 1.

    Args:
        tasks: Number of sinusoids.
        samples: Number of points of each.
        source: The source of randomness.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=source)

    inputs = uniform(-5, 5, tasks, samples, 1)
    amplitude, frequency = uniform(0.1, 5, tasks, 1, 1), uniform(0.8, 1.2, tasks, 1, 1)
    return Points(inputs, amplitude * torch.sin(frequency * inputs + uniform(0, math.pi, tasks, 1, 1)))


def square_error(outputs: Tensor, targets: Tensor) -> Float[Tensor, "sample"]:
    """Square error of each sample."""
    return (outputs - targets).square().mean(-1)


def learn(config: InnerRuleConfig, iterations: int, meta_batch: int, seed: int) -> InnerRule:
    """Meta-trains a network of two layers of 40 units with ReLU by Adam.

    Args:
        config: The rule.
        iterations: Number of meta-iterations.
        meta_batch: Sinusoids of each.
        seed: Seed of the network and of the sinusoids.
    """
    torch.manual_seed(seed)
    source = torch.Generator().manual_seed(seed)
    rule = config.build(FastMLP([1, _UNITS, _UNITS, 1]), square_error, 1, 1)
    optimizer = torch.optim.Adam(rule.parameters(), lr=_LR)
    shots = SHOTS[0]
    for _ in range(iterations):
        points = draw(meta_batch, shots + _QUERIES, source)
        predicted = rule.predict(points.inputs[:, :shots], points.targets[:, :shots], points.inputs[:, shots:])
        loss = square_error(predicted, points.targets[:, shots:]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(rule.parameters(), _MOST_NORM)
        optimizer.step()
    return rule


@torch.no_grad()
def errors_of(rule: InnerRule) -> Float[np.ndarray, "task k"]:
    """Returns the mean square error on 100 points of each of 1,000 new sinusoids, after each number of points."""
    points = draw(_TEST_TASKS, max(SHOTS) + _TEST_QUERIES, torch.Generator().manual_seed(_TEST_SEED))
    queries, answers = (each[:, max(SHOTS) :] for each in points)
    columns = []
    for k in SHOTS:
        predicted = rule.predict(points.inputs[:, :k], points.targets[:, :k], queries)
        columns.append(square_error(predicted, answers).mean(1).double().numpy())
    return np.stack(columns, axis=1)


def measure(name: str, iterations: int, meta_batch: int, seeds: Sequence[int]) -> dict[str, object]:
    """Meta-trains a rule with each seed; returns its errors with intervals over sinusoids and seeds, as JSON types."""
    started, errors = time.process_time(), []
    for seed in seeds:
        errors.append(errors_of(learn(RULES[name], iterations, meta_batch, seed)))
        print(f"{name}, seed {seed}: {', '.join(f'{each:.3f}' for each in errors[-1].mean(0))}", flush=True)
    bounds = mean_bounds([np.stack(errors)], generator(_TEST_SEED, Stream.EVALUATION)).intervals()
    return {
        "rule": name,
        "iterations": iterations,
        "meta_batch": meta_batch,
        "seeds": list(seeds),
        "processor_seconds": round(time.process_time() - started, 1),
        "errors": {str(k): each.to_dict() for k, each in zip(SHOTS, bounds, strict=True)},
        "versions": versions(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measures rules and writes a file of each; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python scripts/sinusoids.py", description=__doc__)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), help="rules to measure (all)")
    parser.add_argument("--iterations", type=int, default=5000, help="meta-iterations (5000)")
    parser.add_argument("--meta-batch", type=int, default=25, help="sinusoids of each (25)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of training (1 2 3)")
    parser.add_argument("--output", type=Path, default=Path("results/sinusoids"), help="folder (results/sinusoids)")
    arguments = parser.parse_args(argv)
    try:
        check_counts(iterations=arguments.iterations, meta_batch=arguments.meta_batch)
        for name in arguments.rules:
            found = measure(name, arguments.iterations, arguments.meta_batch, arguments.seeds)
            write_json(arguments.output / f"{name.lower()}.json", found)
    except (UserError, RunFailure) as error:
        print(f"sinusoids: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
