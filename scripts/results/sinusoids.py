"""Section of the page of results about sinusoids, from what `scripts/sinusoids.py` measured."""

from __future__ import annotations

from pathlib import Path

from metarl.evaluation.fields import StoredFields
from metarl.evaluation.statistics import Interval
from metarl_envs.errors import UserError
from results.tables import interval, table
from results.words import packages

_HEAD = """\
## Sinusoids from few points

The [inner rules](algorithms/recognition.md#the-inner-rules) on the regression of Li et al. (2017, section 4.1), which
is that of Finn et al. (2017) with a frequency that varies too: meta-training with 5 points of each sinusoid, mean
square error on 1,000 new ones after 5, 10 and 20 points. Brackets: 95 % intervals over sinusoids, and over seeds where
there are several. `python scripts/sinusoids.py` measures all rules; `--rules`, `--iterations`, `--meta-batch` and
`--seeds` are as the table says."""
_TAIL = """\
MetaNet and the meta-LSTM take far longer for an iteration and were stopped early, with their default settings, so their
rows tell what they cost and not where they end.

Published figures are those of Li et al. (2017, arXiv 1707.09835v2, table 1) after 60,000 iterations, over 100
sinusoids, as quoted by others who read the paper; the ranges of amplitude, frequency and phase were not checked against
the paper itself. Finn et al. (2017) show curves only. The papers of MetaNet (Munkhdalai & Yu 2017) and the meta-LSTM
(Ravi & Larochelle 2017) report no sinusoids that we know of."""
_PUBLISHED = {
    "MAML": ["1.13 ± 0.18", "0.85 ± 0.14", "0.71 ± 0.12"],
    "Meta-SGD": ["0.90 ± 0.16", "0.63 ± 0.12", "0.50 ± 0.10"],
}
"""Errors after 5, 10 and 20 points, of meta-training with 5."""


class _Error(StoredFields):
    mean: float
    low: float
    high: float


class _Measured(StoredFields):
    rule: str
    iterations: int
    meta_batch: int
    seeds: list[int]
    processor_seconds: float
    errors: dict[str, _Error]
    versions: dict[str, str]


def sinusoids_section(folder: Path) -> str | None:
    """Returns the section, in Markdown; None if nothing has been measured.

    Args:
        folder: The folder results/, with a file of each rule in `sinusoids/`.

    Raises:
        UserError: If a file is damaged.
    """
    found = [_read(path) for path in sorted((folder / "sinusoids").glob("*.json"))]
    if not found:
        return None
    ks = list(found[0].errors)
    header = ["rule", *(f"error, K = {k}" for k in ks), *(f"published, K = {k}" for k in ks), "iterations"]
    header += ["sinusoids of each", "seeds", "processor s", "commit"]
    about = dict.fromkeys(f"{packages(each.versions)}, {each.versions['machine']}." for each in found)
    return "\n\n".join([_HEAD, table(header, map(_row, found)), *about, _TAIL]) + "\n"


def _row(found: _Measured) -> list[str]:
    errors = [interval(Interval(each.mean, each.low, each.high), 2) for each in found.errors.values()]
    published = _PUBLISHED.get(found.rule, ["none"] * len(errors))
    counts = [f"{found.iterations:,}", str(found.meta_batch), str(len(found.seeds)), f"{found.processor_seconds:.0f}"]
    return [found.rule, *errors, *published, *counts, found.versions.get("commit", "unknown")[:7]]


def _read(path: Path) -> _Measured:
    try:
        return _Measured.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
