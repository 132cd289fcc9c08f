"""Pictures of what was kept and of what methods cost, drawn without a screen and written whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from auricle.audio import SAMPLE_RATE, Waveform
from auricle.errors import OptionError
from auricle.profiling import Prefill, Row

FORMATS = (".png", ".pdf", ".svg")
# From the palette of Okabe and Ito (2008), which people with any kind of colour vision tell apart.
KEPT, DROPPED, CURVE = "#0072B2", "#B8B8B8", "#D55E00"
MARKS = (KEPT, CURVE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_COLUMNS = 2000  # what is drawn of a recording of any length


def check_plot_path(path: Path) -> None:
    """Raises OptionError unless a picture can be written there."""
    if path.suffix.lower() not in FORMATS:
        raise OptionError(f"The picture '{path}' ends in '{path.suffix}'; expected one of {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise OptionError(f"There is no folder '{path.parent}' for the picture; create it first.")
    if path.is_dir() or not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise OptionError(f"The picture '{path}' cannot be written; choose another place.")


def plot_kept(
    waveform: Waveform,
    kept_spans: Sequence[tuple[float, float]],
    times: Float[np.ndarray, "audio 2"],
    relevance: Float[np.ndarray, "audio"],
    *,
    path: Path,
    title: str,
) -> None:
    """Draws the waveform with what was kept, and below it how much each moment has to do with the question.

    Args:
        waveform: mono samples at 16 kHz.
        kept_spans: start and end in seconds of what was kept.
        times: start and end in seconds of each speech token.
        relevance: of each speech token (see `auricle.pruning.similarity.relevance`).
        path: .png, .pdf or .svg.
        title: what stands above, usually the question.

    Raises:
        OptionError: the ending of `path` is none of these.
        OSError: the file cannot be written.
    """
    duration = len(waveform) / SAMPLE_RATE
    figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _draw_waveform(above, waveform, kept_spans)
    _draw_relevance(below, times, relevance, kept_spans, duration)
    figure.suptitle(_shortened(title), x=0.01, ha="left", fontsize=13)
    below.set_xlim(0, duration)
    below.set_xlabel("time (min:s)" if duration >= 60 else "time (s)")
    below.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    if duration >= 60:
        below.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds)))
    save(figure, path)


def plot_profile(rows: Sequence[Row], path: Path, title: str) -> None:
    """Draws what each method costs over the tokens that it leaves: prefill time, operations and memory.

    Args:
        rows: from `auricle.profiling.profile`; those that were not measured have only their formula drawn.
        path: .png, .pdf or .svg.
        title: what stands above, usually the model.

    Raises:
        OptionError: the ending of `path` is none of these.
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(11, 4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 3)
    _draw_costs(panels[0], rows, lambda prefill: prefill.seconds)
    _draw_costs(panels[1], rows, lambda prefill: prefill.tflops, lambda row: row.tflops_formula)
    _draw_costs(panels[2], rows, _gigabytes, lambda row: row.memory_formula.total / 1e9)
    for axes, what in zip(panels, ("prefill time (s)", "prefill TFLOPs", "peak memory (GB)"), strict=True):
        axes.set_title(what, loc="left", fontsize=10)
        axes.set_xlabel("tokens of the prompt")
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", frameon=False, fontsize=8)
    for axes in panels[:2]:
        axes.set_ylim(bottom=0)
    figure.suptitle(_shortened(title), x=0.01, ha="left", fontsize=13)
    save(figure, path)


def _draw_costs(
    axes: Axes,
    rows: Sequence[Row],
    measured: Callable[[Prefill], float | None],
    formula: Callable[[Row], float] | None = None,
) -> None:
    """One marker a method, with its rates beside the points, and the formula as a line."""
    methods = list(dict.fromkeys(row.method for row in rows))
    for method, marker, color in zip(methods, cycle("osD^vP"), cycle(MARKS)):
        those = [row for row in rows if row.method == method]
        points = [(row, y) for row in those if row.prefill and (y := measured(row.prefill)) is not None]
        places = [(row.total_tokens, y) for row, y in points]
        if places:
            axes.plot(*zip(*places, strict=True), marker, color=color, label=method)
        for (row, _), place in zip(points, places, strict=True):
            if row.pruning_rate is not None:
                axes.annotate(f"{row.pruning_rate:g}", place, (6, -8), textcoords="offset points", fontsize=7)
    if formula:
        ordered = sorted(rows, key=lambda row: row.total_tokens)
        line = [row.total_tokens for row in ordered], [formula(row) for row in ordered]
        axes.plot(*line, "--", color=DROPPED, zorder=0, label="formula")


def _gigabytes(prefill: Prefill) -> float | None:
    return None if prefill.peak_memory is None else prefill.peak_memory / 1e9


def save(figure: Figure, path: Path) -> None:
    """Writes a figure beside `path` and then moves it there, so that nothing half-written is ever found.

    Raises:
        OptionError: the ending of `path` is no picture's.
        OSError: the file cannot be written.
    """
    check_plot_path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix.lower(), dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        FigureCanvasAgg(figure)
        figure.savefig(unfinished)
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _draw_waveform(axes: Axes, waveform: Waveform, kept_spans: Sequence[tuple[float, float]]) -> None:
    edges, low, high = _envelope(waveform)
    middle = (edges[:-1] + edges[1:]) / 2
    kept = _covered(edges, kept_spans)
    axes.fill_between(middle, low, high, color=DROPPED, linewidth=0.3, label="dropped")
    axes.fill_between(middle, low, high, where=kept > 0, step="mid", color=KEPT, linewidth=0.3, label="kept")
    _shade(axes, edges, kept)
    limit = max(float(np.abs(waveform).max()) * 1.05, 1e-3)
    axes.set_ylim(-limit, limit)
    axes.set_yticks([])
    axes.set_ylabel("waveform")
    duration, seconds = len(waveform) / SAMPLE_RATE, sum(end - start for start, end in kept_spans)
    _finish(axes, f"kept {seconds:.1f} of {duration:.1f} s ({seconds / duration:.1%})")


def _draw_relevance(
    axes: Axes,
    times: Float[np.ndarray, "audio 2"],
    relevance: Float[np.ndarray, "audio"],
    kept_spans: Sequence[tuple[float, float]],
    duration: float,
) -> None:
    edges = np.linspace(0, duration, _COLUMNS + 1)
    _shade(axes, edges, _covered(edges, kept_spans))
    middle = times.mean(axis=1)
    axes.plot(middle, relevance, color=DROPPED, linewidth=0.6, label="each token")
    width = max(1, round(duration / 300))
    index = (middle // width).astype(int)
    counts = np.bincount(index)
    there = counts > 0
    means = np.bincount(index, weights=relevance)[there] / counts[there]
    centers = np.bincount(index, weights=middle)[there] / counts[there]
    axes.plot(centers, means, color=CURVE, linewidth=1.4, label=f"mean of {width} s", marker="o", markersize=2)
    room = 0.05 * max(float(np.ptp(relevance)), 1e-3)
    axes.set_ylim(float(relevance.min()) - room, float(relevance.max()) + room)
    axes.set_ylabel("cosine")
    _finish(axes, "similarity to the question")


def _envelope(waveform: Waveform) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges in seconds of at most `_COLUMNS` columns, and the lowest and highest sample in each."""
    columns = min(_COLUMNS, len(waveform))
    starts = np.arange(columns + 1) * len(waveform) // columns
    low = np.minimum.reduceat(waveform, starts[:-1])
    high = np.maximum.reduceat(waveform, starts[:-1])
    return starts / SAMPLE_RATE, low, high


def _covered(edges: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which share of each column lies within the spans."""
    bounds = np.array(sorted(spans), dtype=float).reshape(-1)
    if not len(bounds):
        return np.zeros(len(edges) - 1)
    total = np.concatenate([[0.0], np.cumsum(np.diff(bounds) * (np.arange(len(bounds) - 1) % 2 == 0))])
    covered: np.ndarray = np.diff(np.interp(edges, bounds, total)) / np.diff(edges)
    return covered


def _shade(axes: Axes, edges: np.ndarray, kept: np.ndarray) -> None:
    """A background for what was kept, in one image whatever the number of spans; a small share is paler."""
    extent = (edges[0], edges[-1], 0.0, 1.0)
    red, green, blue = (int(KEPT[i : i + 2], 16) / 255 for i in (1, 3, 5))
    shade = np.empty((1, len(kept), 4))
    shade[..., :3] = red, green, blue
    shade[..., 3] = (kept > 1e-6) * (0.12 + 0.12 * np.clip(kept, 0, 1))
    axes.imshow(
        shade, extent=extent, aspect="auto", interpolation="nearest", zorder=0, transform=axes.get_xaxis_transform()
    )


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderpad=0)
    axes.spines[["top", "right"]].set_visible(False)


def _shortened(title: str, length: int = 110) -> str:
    plain = " ".join(title.split()).replace("$", r"\$")
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
