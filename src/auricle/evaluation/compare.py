"""Methods beside each other: what each keeps, costs and reaches, and which are worth their cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from auricle.errors import DataError
from auricle.evaluation import metrics, pictures
from auricle.evaluation.log import Record
from auricle.evaluation.metrics import Estimate
from auricle.evaluation.report import Result, Section, about, html, markdown
from auricle.evaluation.scorers.base import best_constant
from auricle.evaluation.table import Table, failures
from auricle.evaluation.task_tables import Tasks, plain, text
from auricle.files import write_text

NOTE = (
    "Milliseconds are medians on the machine of the run, without those of the prior; * marks methods that no other"
    " beats in both tokens and figure. FastV and DART read all speech in their first layers: what they cost is in"
    " the milliseconds, not in the tokens."
)


@dataclass(frozen=True)
class Point:
    """A method at one rate.

    Attributes:
        method: its name.
        rate: fraction removed; None for methods without a rate.
        tokens: what the LLM reads of a recording in the mean: speech tokens or pairs of a memory.
        kept: their share of all speech tokens.
        recall: share of the evidence's tokens that is kept; None where it is not known.
        score: the figure that is compared; None where there is none yet, such as of answers that nobody judged.
        prune_seconds: to choose them, the median over recordings.
        answer_seconds: to read the prompt and answer, the median over samples.
        best: whether no other is at least as good for at most as many tokens, and better in one of both.
    """

    method: str
    rate: float | None
    tokens: float
    kept: float
    recall: Estimate | None
    score: Estimate | None
    prune_seconds: float
    answer_seconds: float
    best: bool = False


@dataclass(frozen=True)
class Comparison:
    """All methods on one task.

    Attributes:
        task: its name; "" where the benchmark is one task.
        figure: the name of what is compared.
        higher: whether more of it is better.
        points: every method that read speech and answered, those that keep most first.
        levels: what needs no speech, by name: chance, or the best constant answer.
        top: the figure's highest value on a plot.
    """

    task: str
    figure: str
    higher: bool
    points: tuple[Point, ...]
    levels: Mapping[str, float]
    top: float

    @property
    def title(self) -> str:
        """Task and figure."""
        return f"{self.task}: {self.figure}" if self.task else self.figure


def comparisons(scored: Result) -> tuple[Comparison, ...]:
    """Every task of a run on which a method read speech.

    Raises:
        DataError: there is none.
    """
    found = tuple(_of_tasks(scored.tasks)) if scored.tasks else (_of_choices(scored),)
    found = tuple(each for each in found if each.points)
    if not found:
        raise DataError("There is nothing to compare: no method read speech and answered.")
    return found


def as_rows(found: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """Every method on every task, as JSON takes it."""
    for compared in found:
        for point in compared.points:
            estimates = {name: getattr(point, name) for name in ("recall", "score")}
            values = {name: None if each is None else plain(each) for name, each in estimates.items()}
            yield {"task": compared.task, "figure": compared.figure} | asdict(point) | values


def section(scored: Result) -> Section:
    """The comparison of one run: a table and a plot for each task.

    Raises:
        DataError: see `comparisons`.
    """
    found = comparisons(scored)
    run = scored.run
    failed = failures(metrics.by_method(scored.records).items())
    return Section(
        title=f"Methods compared: {run.model} on {run.benchmark}",
        about=about(run, scored.samples),
        tables=(*map(_table, found), *((failed,) if failed.rows else ())),
        plots=tuple(pictures.svg(pareto(each)) for each in found if any(point.score for point in each.points)),
    )


def write(scored: Result, output: Path) -> Section:
    """Writes `compare.html` and `compare.md` into a folder.

    Raises:
        DataError: see `comparisons`.
    """
    made = section(scored)
    write_text(output / "compare.html", html([made]))
    write_text(output / "compare.md", markdown([made]))
    return made


def pareto(compared: Comparison) -> Figure:
    """The figure over the speech tokens that are read, a line a method, and the line of those worth it."""
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for point in compared.points:
        if point.score is not None:
            name = point.method if point.rate is None else point.method.rsplit(" ", 1)[0]
            lines.setdefault(name, []).append((point.tokens, point.score))
    figure = pictures.curves(lines, compared.levels, compared.title, "speech tokens that the LLM reads")
    (axes,) = figure.axes
    axes.set_xscale("log")
    axes.set_ylim(0, compared.top)
    best = sorted((point.tokens, point.score.value) for point in compared.points if point.best and point.score)
    axes.step(*zip(*best, strict=True), where="post", color="0.8", linewidth=6, zorder=0)
    return figure


def _of_choices(scored: Result) -> Comparison:
    answers = metrics.by_method(scored.records)
    scores = {row.method: row.accuracy for row in scored.rows}
    samples = scored.samples
    chance = sum(1 / len(each.choices) for each in samples if each.choices) / len(samples)
    return Comparison("", "accuracy", True, _points(answers, scores, True), {"chance": chance}, 1.0)


def _of_tasks(tasks: Tasks) -> Iterator[Comparison]:
    figures = tasks.figures()
    for task, answers in tasks.answers.items():
        scorer = tasks.scorers[task]
        main = tasks.main(task, figures[task, next(iter(answers))])
        scores = {method: figures[task, method].get(main) for method in answers}
        constant, value = best_constant(scorer, next(iter(answers.values())), tasks.as_published)
        levels = {} if isnan(value) else {f"always '{constant}'": value}
        top = max([100.0, *(each.value for each in scores.values() if each is not None)])
        yield Comparison(task, main, scorer.HIGHER, _points(answers, scores, scorer.HIGHER), levels, top)


def _points(
    answers: Mapping[str, Sequence[Record]], scores: Mapping[str, Estimate | None], higher: bool
) -> tuple[Point, ...]:
    """Every method that read speech, those that keep most first."""
    sign = 1 if higher else -1
    found = [_point(name, those, scores[name]) for name, those in answers.items() if any(map(_read, those))]
    found.sort(key=lambda point: (-point.tokens, -sign * point.score.value if point.score else 0.0))
    return tuple(replace(point, best=not _beaten(point, found, sign)) for point in found)


def _point(name: str, records: Sequence[Record], score: Estimate | None) -> Point:
    read = [record for record in records if _read(record)]
    row = metrics.row(name, records)
    return Point(
        method=name,
        rate=read[0].pruning_rate,
        tokens=sum(record.kept_tokens for record in read) / len(read),
        kept=row.kept or 0.0,
        recall=row.recall,
        score=score,
        prune_seconds=median(record.seconds.get("prune", 0.0) for record in read),
        answer_seconds=median(record.seconds.get("answer", 0.0) for record in read),
    )


def _read(record: Record) -> bool:
    return bool(record.audio_tokens and not record.error)


def _beaten(point: Point, others: Sequence[Point], sign: int) -> bool:
    if point.score is None:
        return True
    mine = sign * point.score.value
    return any(
        other.tokens <= point.tokens
        and sign * other.score.value >= mine
        and (other.tokens < point.tokens or sign * other.score.value > mine)
        for other in others
        if other.score is not None
    )


def _table(compared: Comparison) -> Table:
    figure = text if compared.task else str
    rows = tuple(
        (
            point.method,
            f"{point.kept:.3f}",
            f"{point.tokens:.0f}",
            "" if point.recall is None else str(point.recall),
            "" if point.score is None else figure(point.score),
            f"{1000 * point.prune_seconds:.1f}",
            f"{1000 * point.answer_seconds:.0f}",
            "*" if point.best else "",
        )
        for point in compared.points
    )
    header = (
        "method",
        "kept",
        "tokens",
        "evidence kept",
        compared.figure,
        "choosing, ms",
        "answering, ms",
        "Pareto",
    )
    return Table(compared.task or "Methods, by what they keep", header, rows, NOTE)
