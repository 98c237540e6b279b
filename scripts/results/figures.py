"""Learning curves of an experiment as SVG, the same bytes whenever they are drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence

from results.summary import RunSummary

_PANELS = {"success": "success, training tasks", "return": "return, training tasks"}


def learning_curves(runs: Sequence[RunSummary], salt: str) -> bytes:
    """Draws success and return on training tasks against environment steps, before and after adaptation.

    Args:
        runs: Runs of the experiment, a colour each.
        salt: Name that the identifiers in the file are derived from.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and identifiers come from the salt, not from chance.
    with mpl.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        for axes, (quantity, label) in zip(figure.subplots(1, 2), _PANELS.items(), strict=True):
            for number, run in enumerate(runs):
                assert run.curve is not None
                steps = [count / 1e6 for count in run.curve.env_steps]
                for moment, style in (("before", ":"), ("after", "-")):
                    values = run.curve.columns[f"{quantity}_{moment}"]
                    heights = [float("nan") if value is None else value for value in values]
                    name = f"seed {run.config.seed}, {moment} adaptation"
                    axes.plot(steps, heights, style, color=f"C{number}", linewidth=1.2, label=name)
            axes.set_xlabel("environment steps, millions")
            axes.set_ylabel(label)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylim(-0.03, 1.03)
        figure.axes[1].legend(frameon=False, fontsize=7)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
