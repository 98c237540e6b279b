"""Markdown of evaluations, which pages and cards share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isnan

from metarl.evaluation.experiment import Experiment
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import StoredEvaluation
from metarl.evaluation.summary import Summary
from results.words import plural

INTERVALS = (
    "Success: solved at any step of an episode. Brackets: 95 % intervals {over}. Gains are over k = 0 and"
    " paired by task."
)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def experiments(stored: Iterable[StoredEvaluation]) -> list[Experiment]:
    """Puts together the evaluations of an experiment's runs that had the same protocol; held-out tasks first."""
    groups: dict[tuple[object, ...], list[StoredEvaluation]] = defaultdict(list)
    for each in stored:
        evaluation, origin = each
        played = (origin.split, origin.control or "", origin.iteration, evaluation.actions)
        protocol = (evaluation.adaptation_episodes, evaluation.episodes, evaluation.seed, evaluation.task_ids)
        groups[(*played, *protocol)].append(each)
    held_out_first = sorted(groups, key=lambda key: (key[0] != "test", *map(str, key[1:5])))
    return [Experiment.of(groups[key]) for key in held_out_first]


def what_was_played(experiment: Experiment) -> str:
    """Returns what was played in words, such as "50 held-out tasks of ML10, 3 episodes of 500 steps each"."""
    evaluation, origin = experiment.evaluations[0], experiment.origins[0]
    kind = "held-out" if evaluation.held_out else "training"
    tasks = plural(len(evaluation.task_names), f"{kind} task")
    seeds = f", {len(experiment.origins)} seeds" if len(experiment.origins) > 1 else ""
    control = f", control {origin.control}" if origin.control else ""
    actions = ", actions sampled" if evaluation.actions == "sampled" else ""
    episodes = f"{plural(evaluation.episodes, 'episode')} of {evaluation.horizon} steps each"
    return f"{tasks} of {evaluation.distribution}, {episodes}{seeds}{control}{actions}"


def evaluation_table(experiment: Experiment) -> str:
    """Returns the table of an evaluation: success and return after each number k of adaptation episodes, with gains."""
    rows = experiment.overall
    decimals = return_decimals(rows)
    return table(
        ["k", "success, %", "gain, points", "return", "gain"],
        [
            [
                str(row.k),
                percent(row.success),
                percent(row.success_gain, "+"),
                interval(row.returns, decimals),
                interval(row.return_gain, decimals, "+"),
            ]
            for row in rows
        ],
    )


def class_table(experiment: Experiment) -> str:
    """Returns the table of success by class of tasks, after each number k of adaptation episodes; empty for a class."""
    per_name = experiment.per_name
    if len(per_name) < 2:
        return ""
    ks = [f"success, %, k = {row.k}" for row in experiment.overall]
    return table(["class", *ks], [[name, *(percent(row.success) for row in rows)] for name, rows in per_name.items()])


def percent(share: Interval | None, sign: str = "") -> str:
    """Returns a share in per cent."""
    return interval(None if share is None else Interval(*(100 * value for value in share)), 0, sign)


def interval(value: Interval | None, decimals: int, sign: str = "") -> str:
    """Returns an interval as "74 [62, 86]", only the mean if it has no ends, and nothing for none."""
    if value is None:
        return ""
    mean, low, high = (f"{each:{sign}z.{decimals}f}" for each in value)
    return f"{mean} [{low}, {high}]" if not isnan(value.low) else mean


def return_decimals(rows: Sequence[Summary]) -> int:
    """Returns the number of decimals that shows the largest return with three digits, at most 2."""
    largest = max(abs(row.returns.mean) for row in rows)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2
