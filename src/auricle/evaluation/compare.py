"""Methods beside each other: what each keeps, costs and reaches, and which are worth their cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from auricle.errors import DataError
from auricle.evaluation import metrics, pictures
from auricle.evaluation.log import Record, Run
from auricle.evaluation.metrics import Estimate
from auricle.evaluation.report import Result, Section, html, markdown
from auricle.evaluation.table import Table
from auricle.files import write_text


@dataclass(frozen=True)
class Point:
    """A method at one rate.

    Attributes:
        method: its name.
        rate: fraction removed; None for methods without a rate.
        tokens: what the LLM reads of a recording in the mean: speech tokens or pairs of a memory.
        kept: their share of all speech tokens.
        recall: share of the evidence's tokens that is kept; None where it is not known.
        accuracy: as scored.
        prune_seconds: to choose them, the median over recordings.
        answer_seconds: to read the prompt and answer, the median over samples.
        best: whether no other is at least as accurate for at most as many tokens, and better in one of both.
    """

    method: str
    rate: float | None
    tokens: float
    kept: float
    recall: Estimate | None
    accuracy: Estimate
    prune_seconds: float
    answer_seconds: float
    best: bool = False


def points(records: Sequence[Record]) -> tuple[Point, ...]:
    """Every method that read speech, those that keep most first; methods without an answer are left out."""
    found = []
    for name, those in metrics.by_method(records).items():
        read = [record for record in those if record.audio_tokens and not record.error]
        if not read:
            continue
        row = metrics.row(name, those)
        found.append(
            Point(
                method=name,
                rate=read[0].pruning_rate,
                tokens=sum(record.kept_tokens for record in read) / len(read),
                kept=row.kept or 0.0,
                recall=row.recall,
                accuracy=row.accuracy,
                prune_seconds=median(record.seconds.get("prune", 0.0) for record in read),
                answer_seconds=median(record.seconds.get("answer", 0.0) for record in read),
            )
        )
    found.sort(key=lambda point: (-point.tokens, -point.accuracy.value))
    return tuple(_marked(point, found) for point in found)


def _marked(point: Point, others: Sequence[Point]) -> Point:
    beaten = any(
        other.tokens <= point.tokens
        and other.accuracy.value >= point.accuracy.value
        and (other.tokens < point.tokens or other.accuracy.value > point.accuracy.value)
        for other in others
    )
    return replace(point, best=not beaten)


def section(scored: Result) -> Section:
    """The comparison of one run as a table and two plots.

    Raises:
        DataError: no method of the run read speech, or its benchmark has several tasks.
    """
    found = points(scored.records)
    if scored.tasks is not None or not found:
        raise DataError("There is nothing to compare: no method read speech, or the benchmark has several tasks.")
    header = ("method", "kept", "tokens", "evidence kept", "accuracy", "choosing, ms", "answering, ms", "Pareto")
    rows = tuple(
        (
            point.method,
            f"{point.kept:.3f}",
            f"{point.tokens:.0f}",
            "" if point.recall is None else str(point.recall),
            str(point.accuracy),
            f"{1000 * point.prune_seconds:.1f}",
            f"{1000 * point.answer_seconds:.0f}",
            "*" if point.best else "",
        )
        for point in found
    )
    note = (
        "Milliseconds are medians on the machine of the run, without those of the prior; * marks methods that no"
        " other beats in both tokens and accuracy."
    )
    return Section(
        title=f"Methods compared: {scored.run.model} on {scored.run.benchmark}",
        about=_about(scored.run, len(scored.samples)),
        tables=(Table("Methods, by what they keep", header, rows, note),),
        plots=(pictures.svg(pareto(found, _chance(scored.samples))),),
    )


def write(scored: Result, output: Path) -> Section:
    """Writes `compare.html` and `compare.md` into a folder.

    Raises:
        DataError: see `section`.
    """
    made = section(scored)
    write_text(output / "compare.html", html([made]))
    write_text(output / "compare.md", markdown([made]))
    return made


def pareto(found: Sequence[Point], chance: float) -> Figure:
    """Accuracy over the speech tokens that are read, a line a method, and the line of those worth it."""
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for point in found:
        name = point.method if point.rate is None else point.method.rsplit(" ", 1)[0]
        lines.setdefault(name, []).append((point.tokens, point.accuracy))
    figure = pictures.curves(lines, {"chance": chance}, "accuracy", "speech tokens that the LLM reads")
    (axes,) = figure.axes
    axes.set_xscale("log")
    best = sorted((point.tokens, point.accuracy.value) for point in found if point.best)
    axes.step(*zip(*best, strict=True), where="post", color="0.8", linewidth=6, zorder=0)
    return figure


def _about(run: Run, samples: int) -> str:
    how = "generated" if run.protocol == "generate" else "log-likelihood of each choice, the prior taken off"
    return f"{run.note} {samples} samples; answers {how}. Intervals are 95 %, over recordings.".strip()


def _chance(samples: Sequence[Record]) -> float:
    return sum(1 / len(each.choices) for each in samples if each.choices) / len(samples)
