"""Results of a benchmark of algorithms as tables for an 80-column terminal, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmark.algorithms import Measured
from benchmark.cases import MEMORY, UPDATE, Curve
from benchmark.iterations import Iterations
from benchmark.references import SOURCE
from benchmark.table import bold, plain_table, verdicts

_LEGEND = "Seconds, medians over iterations (min-max: of the total), and GB at the peak."
_REFERENCES = f"{SOURCE}\n/ ref.: share of the best figure of the first of them."


def algorithm_tables(measured: Measured, cores: int) -> RenderableType:
    """Tables of the iterations beside those of other implementations, of growth, and of the targets met."""
    legend = [Text(_LEGEND)] if measured.device == "cuda" else [Text(_LEGEND), Text(_REFERENCES)]
    parts: list[RenderableType] = [
        bold(f"One meta-iteration, on {measured.device} and {cores} core{'s' * (cores > 1)}"),
        _iterations(measured),
        *legend,
    ]
    if measured.curves:
        parts += [bold("\nMAML's growth, and the powers of size that fit it: 1 is linear"), _growth(measured.curves)]
    return Group(*parts, verdicts(measured.targets))


def _iterations(measured: Measured) -> Table:
    on_gpu = measured.device == "cuda"
    table = plain_table("", "sampling", "update", "total", "min-max", "RAM", *["GPU"] * on_gpu)
    for case, found in measured.cases:
        seconds = (_number(median(times)) for times in (found.sampling, found.update, found.total))
        spread = f"{_number(min(found.total))}-{_number(max(found.total))}"
        device_memory = [_gigabytes(found.device_memory)] * on_gpu
        table.add_row(case.name, *seconds, spread, _gigabytes(found.memory), *device_memory)
        for reference in () if on_gpu else case.references:
            spans = (_span(*span) for span in (reference.sampling, reference.update, reference.total))
            table.add_row(f"  {reference.name}", *spans, "", f"{reference.memory:g}", style="dim")
    return table


def _growth(curves: Sequence[tuple[Curve, Sequence[Iterations]]]) -> Table:
    table = plain_table("", "sizes", "update", "power", "RAM", "power")
    for curve, found in curves:
        exponents = [curve.exponent(found, quantity) for quantity in (UPDATE, MEMORY)]
        time, memory = ("?" if exponent is None else f"{exponent:.2f}" for exponent in exponents)
        seconds = " ".join(_number(median(each.update)) for each in found)
        gigabytes = " ".join(_gigabytes(each.memory) for each in found)
        table.add_row(curve.axis, " ".join(map(str, curve.sizes)), seconds, time, gigabytes, memory)
    return table


def _number(seconds: float) -> str:
    return f"{seconds:.{2 if seconds < 10 else 1 if seconds < 100 else 0}f}"


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"


def _gigabytes(memory: int | None) -> str:
    return "?" if memory is None else f"{memory / 1e9:.2f}"
