"""Look of all figures: colours that everybody can tell apart, axes without ornaments, labels at the curves."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1d2129"
"""Colour of text; that of the surrounding text on a page."""
FAINT = "#757d8a"
"""Colour of controls and of what is second in importance."""
RULE = "#d8dce2"
"""Colour of rules and grids."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b0559a", "#b07d00", "#3a8fc7")
"""Colours of runs: Okabe and Ito's (2008), which colour-blind readers tell apart, a few darkened for thin lines."""
DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
"""Dashes of controls, which share a colour."""

WIDTH = 4.5
"""Width of a figure, in inches."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "metarl",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
}
_VARIABLES = {INK: "currentColor", FAINT: "var(--faint)", RULE: "var(--rule)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)
}
_RESOLUTION = 200


def colour(index: int) -> str:
    """Returns the colour of a run by its place."""
    return SERIES[index % len(SERIES)]


def new_axes(xlabel: str, ylabel: str, height: float = 3.0) -> tuple[Figure, Axes]:
    """Makes a figure with one pair of axes.

    Args:
        xlabel: Label of the horizontal axis, with its unit.
        ylabel: Label of the vertical axis, with its unit; stands above the axis, where it needs no turned head.
        height: Height of the figure, in inches.
    """
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xlabel(xlabel, color=INK)
        axes.set_title(ylabel, loc="left", color=INK, fontsize=9.5, pad=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return figure, axes


def label_curves(axes: Axes, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes names beside the ends of curves, moved apart where they would overlap.

    Args:
        axes: Axes, whose limits are final.
        labels: Horizontal and vertical place of a curve's end, its name and its colour.
    """
    low, high = axes.get_ylim()
    order = sorted(range(len(labels)), key=lambda index: labels[index][1])
    places = spread([(labels[index][1] - low) / (high - low) for index in order], gap=0.075)
    for index, place in zip(order, places, strict=True):
        x, y, name, ink = labels[index]
        axes.annotate(
            shorten(name),
            (x, y),
            xytext=(1.03, place),
            textcoords="axes fraction",
            color=ink,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Moves ascending places apart until neighbours are at least `gap` from each other, keeping clusters centred."""
    clusters: list[tuple[float, int]] = []  # centre and number of labels
    for place in places:
        centre, count = place, 1
        # a cluster of n labels centred at c reaches to c + (n - 1) gap / 2
        while clusters and centre - (count - 1) * gap / 2 < clusters[-1][0] + (clusters[-1][1] - 1) * gap / 2 + gap:
            other, number = clusters.pop()
            centre = (centre * count + other * number) / (count + number)
            count += number
        clusters.append((centre, count))
    return [centre + (index - (count - 1) / 2) * gap for centre, count in clusters for index in range(count)]


def shorten(name: str, most: int = 20) -> str:
    """Returns a name of at most `most` characters, its middle left out if it is longer."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def to_svg(figure: Figure) -> str:
    """Returns a figure as an SVG element for a page, whose colours are the page's and whose text is text.

    The page defines the CSS variables `--faint`, `--rule` and `--series-1` to `--series-6`.
    """
    text = _render(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # two figures would use the same
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("DejaVu Sans", "inherit").replace("'inherit'", "inherit")
    for paint, variable in _VARIABLES.items():
        text = text.replace(paint, variable)
    return text.strip()


def save_figure(figure: Figure, path: Path, form: str) -> None:
    """Writes a figure to a file.

    Args:
        figure: Figure to write.
        path: File to write or replace.
        form: Format: "png" or "svg".

    Raises:
        OSError: If the file cannot be written.
    """
    write_atomically(path, _render(figure, form))


def _render(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None  # the same figure gives the same file
    with mpl.rc_context(_SETTINGS):
        figure.savefig(buffer, format=form, dpi=_RESOLUTION, metadata=metadata, transparent=form == "svg")
    return buffer.getvalue()
