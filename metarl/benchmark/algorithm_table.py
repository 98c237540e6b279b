"""A benchmark of algorithms as tables for an 80-column terminal, with or without colour."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from metarl.benchmark.algorithms import Measured
from metarl.benchmark.cases import MEMORY, UPDATE, Curve
from metarl.benchmark.iterations import Iterations
from metarl.benchmark.peers import PEERS_SOURCE
from metarl.benchmark.table import bold, plain_table, verdicts

_LEGEND = f"""\
Seconds are medians over iterations, min-max that of the total; GB is the peak of
the training process. / peer: against its fastest.
{PEERS_SOURCE}"""


def algorithm_tables(measured: Measured, cores: int) -> RenderableType:
    """What a benchmark found, ready to print: iterations beside those of peers, growth, and which targets are met."""
    parts: list[RenderableType] = [
        bold(f"One meta-iteration, on {measured.device} and {cores} core{'s' * (cores > 1)}"),
        _iterations(measured),
        Text(_LEGEND),
    ]
    if measured.curves:
        parts += [bold("\nMAML's growth: exponents of fitted power laws, 1 is linear"), _growth(measured.curves)]
    return Group(*parts, verdicts(measured.targets))


def _iterations(measured: Measured) -> Table:
    on_gpu = measured.device == "cuda"
    table = plain_table("", "sampling", "update", "total s", "min-max", "GB", *["GPU GB"] * on_gpu)
    for case, found in measured.cases:
        seconds = (_number(median(times)) for times in (found.sampling, found.update, found.total))
        spread = _span(min(found.total), max(found.total))
        device_memory = [_gigabytes(found.device_memory)] * on_gpu
        table.add_row(case.name, *seconds, spread, _gigabytes(found.memory), *device_memory)
        for peer in case.peers:
            spans = (_span(*span) for span in (peer.sampling, peer.update, peer.total))
            table.add_row(f"  {peer.name}", *spans, "", f"{peer.memory:g}", style="dim")
    return table


def _growth(curves: Sequence[tuple[Curve, Sequence[Iterations]]]) -> Table:
    table = plain_table("", "sizes", "update s", "exponent", "GB", "exponent")
    for curve, found in curves:
        exponents = [curve.exponent(found, quantity) for quantity in (UPDATE, MEMORY)]
        time, memory = ("?" if exponent is None else f"{exponent:.2f}" for exponent in exponents)
        seconds = " ".join(_number(median(each.update)) for each in found)
        gigabytes = " ".join(_gigabytes(each.memory) for each in found)
        table.add_row(curve.axis, " ".join(map(str, curve.sizes)), seconds, time, gigabytes, memory)
    return table


def _number(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}"


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g}-{high:.3g}"


def _gigabytes(memory: int | None) -> str:
    return "?" if memory is None else f"{memory / 1e9:.2f}"
