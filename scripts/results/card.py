"""Card of a pretrained policy: its README.md, generated from what its folder holds."""

from __future__ import annotations

import json
from pathlib import Path

from metarl.acting.adapts_on import AdaptsOn
from metarl.config import RunConfig, load_run_config
from metarl.evaluation.experiment import Experiment
from metarl.evaluation.stored import read_evaluation
from results.commands import evaluation_command
from results.summary import CONFIG, EVALUATIONS, FACTS, VERSIONS, Facts
from results.tables import (
    INTERVALS,
    class_table,
    evaluation_table,
    experiments,
    interval,
    percent,
    return_decimals,
    what_was_played,
)
from results.words import duration, packages

_ALGORITHMS = {"maml": "MAML", "rl2": "RL²", "skills": "Skill search"}


def generate_card(folder: Path) -> str:
    """Generates the card of a policy.

    Args:
        folder: Folder of the policy, whose name is the policy's.

    Raises:
        UserError: If a file in it is missing or damaged.
    """
    name, config = folder.name, load_run_config(folder / CONFIG)
    facts = Facts.model_validate_json((folder / FACTS).read_bytes())
    versions = json.loads((folder / VERSIONS).read_bytes())
    stored = [read_evaluation(path) for path in sorted((folder / EVALUATIONS).glob("*.json"))]
    played = experiments(stored)
    parts = [f"# {name}", summary(config, played[0])]
    for each in played:
        command = evaluation_command(each, each.origins[0].env_steps, name)
        parts += [f"**{what_was_played(each)}**: `{command}`", evaluation_table(each), class_table(each)]
    parts += [
        INTERVALS.format(over="over tasks, of one seed: they tell nothing of other seeds"),
        "## How it was trained",
        f"`{facts.command}`: seed {config.seed}, {played[0].origins[0].env_steps:,} environment steps in"
        f" {duration(facts.training_seconds)} on {facts.machine}, with whatever else ran there.",
        f"{packages(versions)}; commit {versions.get('commit', 'unknown')}.",
        config.algorithm.told_in_training(),
        "The checkpoint lacks what only training needs, so a training cannot go on from it.",
        "## Use it",
        f'    metarl evaluate {name}\n    metarl watch {name}\n\n    agent = metarl.load("{name}")  # in Python',
        "## Licence",
        "MIT, as metarl.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(config: RunConfig, held_out: Experiment) -> str:
    """Returns what a policy reaches, in a sentence: success, or return where nothing counts as success."""
    first, last = held_out.overall[0], held_out.overall[-1]
    evaluation = held_out.evaluations[0]
    if last.success.mean > 0:
        before, after = (f"success {percent(row.success)} %" for row in (first, last))
    else:
        decimals = return_decimals(held_out.overall)
        before, after = (f"return {interval(row.returns, decimals)}" for row in (first, last))
    method = _ALGORITHMS.get(config.algorithm.kind, config.algorithm.kind)
    # in the list of policies too, where nothing else is said of how they learned
    experts = " with experts of the training classes" if getattr(config.algorithm, "expert", None) else ""
    adapted_on = evaluation.adapts_on.number(last.k)
    if evaluation.adapts_on is AdaptsOn.EPISODES:
        adapted_on += " of adaptation"
    return (
        f"{method}{experts} on {evaluation.distribution}, {len(evaluation.task_names)} held-out tasks: {after} after"
        f" {adapted_on}, {before} {'before' if first.k == 0 else f'after {first.k}'}."
    )
