"""Page of a report: everything in one file of HTML, from the template beside this module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from metarl.acting.adapts_on import AdaptsOn
from metarl.config import dump_config
from metarl.evaluation.table import decimals_of
from metarl.reporting.films import EmbeddedFilm
from metarl.reporting.material import Policy, curves_of
from metarl.reporting.plots import Plot, adaptation_curves
from metarl.reporting.style import to_svg
from metarl.reporting.text import (
    answer,
    aside,
    counted,
    protocols,
    quantity_of,
    show_return,
    show_share,
    worth_sentences,
)
from metarl.versions import package_version

_COLUMNS = {
    AdaptsOn.EPISODES: "Left before adaptation, right after it, from the same start.",
    AdaptsOn.DEMONSTRATIONS: "Left what was shown, the first demonstration played again; then the policy before it was"
    " shown anything, and on the right after it.",
}
"""What a film's columns are."""
_NOT_PLAYED = {AdaptsOn.EPISODES: "", AdaptsOn.DEMONSTRATIONS: ", none of which was played"}
"""What is to be said of training's steps."""


class Missing(NamedTuple):
    """Part that a report lacks."""

    what: str
    """What it is and why it is not there."""
    command: str = ""
    """Command that brings it."""


@dataclass(frozen=True)
class Content:
    """Everything that a page shows."""

    policies: Sequence[Policy]
    """The policies."""
    plots: Sequence[Plot]
    """Their figures, and those of what is inside them."""
    films: Sequence[EmbeddedFilm] = ()
    """Films of telling tasks."""
    skills: Sequence[tuple[str, str]] = ()
    """Skills kept, by task name."""
    missing: Sequence[Missing] = ()
    """What is not there."""
    warnings: Sequence[str] = field(default_factory=tuple)
    """What a reader must know before all else."""


def render_page(content: Content) -> str:
    """Renders a report as HTML, which refers to nothing outside of itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.jinja").render(**_context(content))


def _context(content: Content) -> dict[str, Any]:
    policies = content.policies
    quantity = quantity_of(policies)
    plots = {plot.name: plot._asdict() | {"svg": to_svg(plot.figure)} for plot in content.plots}
    columns, rows = _task_table(policies)
    return {
        "version": package_version("metarl-suite") or "",
        "title": " and ".join(policy.label for policy in policies),
        "tasks": policies[0].evaluation.distribution,
        "answers": [answer(policy, quantity) for policy in policies],
        "asides": [aside(policy) for policy in policies if quantity == "success"],
        "told": [f"{policy.label}: {policy.told_in_training}" for policy in policies if policy.told_in_training],
        "seeds": any(len(policy.runs) > 1 for policy in policies),
        "worths": worth_sentences(policies, curves_of(policies), "return"),
        "warnings": content.warnings,
        "plots": plots,
        "inside": [name for name in plots if name.startswith("inside-")],
        "stress": [name for name in plots if name.startswith("stress-")],
        "results": _results(policies),
        "scratch_text": " ".join(worth_sentences(policies, curves_of(policies), "success")),
        "task_columns": columns,
        "task_rows": rows,
        "sorted_column": next(index for index, column in enumerate(columns) if column["sorted"]),
        "films": content.films,
        "skills": content.skills,
        "counted": counted(policies),
        "columns": " ".join(dict.fromkeys(_COLUMNS[policy.evaluation.adapts_on] for policy in policies)),
        "protocols": protocols(policies),
        "meta_world": [each.sentence() for policy in policies for each in policy.meta_world],
        "missing": content.missing,
        "runs": [_facts(policy, index) for policy in policies for index in range(len(policy.runs))],
    }


def _results(policies: Sequence[Policy]) -> list[dict[str, Any]]:
    """Returns the rows of the table of adaptation, by policy and control."""
    curves = adaptation_curves(policies)
    gains = [summary.return_gain for curve in curves for summary in curve.summaries]
    return [
        {
            "label": curve.label,
            "control": curve.control,
            "note": curve.note,
            "rows": [
                {
                    "k": summary.k,
                    "success": show_share(summary.success),
                    "returns": show_return(summary.returns),
                    "success_gain": show_share(summary.success_gain, "+"),
                    "return_gain": show_return(summary.return_gain, "+", gains),
                }
                for summary in curve.summaries
            ],
        }
        for curve in curves
    ]


def _task_table(policies: Sequence[Policy]) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Returns columns and rows of the table of tasks, rows by the first policy's gain (or return without one)."""
    first = policies[0].evaluation
    ks = first.adaptation_episodes
    columns = [_column("task", text=True), _column("id", text=True)]
    cells = [
        [{"text": text, "value": None} for text in texts]
        for texts in (first.task_names, [i[:6] for i in first.task_ids])
    ]
    for policy in policies:
        prefix = f"{policy.label}: " if len(policies) > 1 else ""
        for label, values, percent in _task_values(policy, ks):
            columns.append(_column(prefix + label))
            decimals = 0 if percent else decimals_of(float(abs(values).max()))
            sign, unit = ("+" if "gain" in label else ""), (" %" if percent else "")
            cells.append([{"text": f"{v:{sign}z,.{decimals}f}{unit}", "value": f"{v:.6g}"} for v in values])
    key = 2  # the first column of values, which is the gain where there is one
    columns[key]["sorted"] = True
    rows = [list(row) for row in zip(*cells, strict=True)]
    return columns, sorted(rows, key=lambda row: float(row[key]["value"]), reverse=True)


def _task_values(policy: Policy, ks: Sequence[int]) -> Iterator[tuple[str, Any, bool]]:
    returns, success = policy.returns, 100 * policy.success
    if len(ks) > 1 and ks[0] == 0:
        yield "gain in return", returns[-1] - returns[0], False
    for row in dict.fromkeys((0, len(ks) - 1)):
        yield f"return, k = {ks[row]}", returns[row], False
    for row in dict.fromkeys((0, len(ks) - 1)):
        yield f"success, k = {ks[row]}", success[row], True


def _column(label: str, *, text: bool = False) -> dict[str, Any]:
    return {"label": label, "text": text, "sorted": False}


def _facts(policy: Policy, index: int) -> dict[str, Any]:
    """Returns what one run was, and the commands that lead to its numbers."""
    run, (evaluation, origin) = policy.runs[index], policy.stored[index]
    steps = f"{origin.env_steps:,} {evaluation.adapts_on.steps}{_NOT_PLAYED[evaluation.adapts_on]}"
    tasks = [] if origin.tasks_per_name is None else ["--tasks-per-name", str(origin.tasks_per_name)]
    tasks += [] if evaluation.actions == "likeliest" else ["--actions", evaluation.actions]
    ks = map(str, evaluation.adaptation_episodes)
    again = ("runs/again", "--adaptation-episodes", *ks, "--episodes", str(evaluation.episodes))
    return {
        "label": str(run.called),
        "facts": {
            "algorithm": run.config.algorithm.kind,
            "tasks": evaluation.distribution,
            "training seed": origin.training_seed,
            "training": f"{origin.iteration:,} iterations, {steps}",
            "task fingerprint": origin.task_fingerprint,
        },
        "commands": [
            f"metarl train config.yaml --iterations {origin.iteration} --run runs/again",
            " ".join(("metarl evaluate", *again, "--seed", str(evaluation.seed), *tasks)),
            "metarl report runs/again",
        ],
        "config": dump_config(run.config),
        "versions": origin.versions,
    }
