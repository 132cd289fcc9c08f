"""Plots of an evaluation, as SVG that stands in a page by itself."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from auricle.evaluation.metrics import Estimate
from auricle.plotting import DROPPED, MARKS

Curve = Sequence[tuple[float, Estimate]]  # a pruning rate and what was reached at it


def curves(
    lines: Mapping[str, Curve], levels: Mapping[str, float], title: str, across: str = "pruning rate"
) -> Figure:
    """Methods over rates with their intervals, and horizontal lines for what has no rate.

    Args:
        lines: points of each method.
        levels: what has no rate.
        title: what is drawn upwards.
        across: what is drawn across.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for (name, points), color, marker in zip(lines.items(), cycle(MARKS), cycle("osD^vP")):
        rates = [rate for rate, _ in points]
        values = [point.value for _, point in points]
        low = [point.value - point.low for _, point in points]
        high = [point.high - point.value for _, point in points]
        axes.errorbar(rates, values, (low, high), color=color, marker=marker, capsize=3, label=name)
    for (name, value), style in zip(levels.items(), cycle(("--", ":", "-.", (0, (5, 1, 1, 1))))):
        axes.axhline(value, color=DROPPED, linestyle=style, zorder=0, label=name)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(across)
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def svg(figure: Figure) -> str:
    """The picture as an `<svg>` element; the same figure always gives the same text."""
    FigureCanvasAgg(figure)
    written = io.StringIO()
    with rc_context({"svg.hashsalt": "auricle"}):  # else ids are drawn at random
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
