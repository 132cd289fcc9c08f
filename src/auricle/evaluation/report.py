"""From logs to tables, and from tables to Markdown and to one HTML page that works without a network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import DataError
from auricle.evaluation import metrics, pictures
from auricle.evaluation.judge import judge_of, judged
from auricle.evaluation.log import Record, Run, read, read_run
from auricle.evaluation.metrics import Estimate, Row
from auricle.evaluation.scoring import constant_letters
from auricle.evaluation.table import Table, failures
from auricle.evaluation.task_tables import Tasks, tables, tasks_of
from auricle.files import write_text

BASELINES = ("text-free", "transcript", "first30", "full")


@dataclass(frozen=True)
class Section:
    """All that is said of one run.

    Attributes:
        title: model and benchmark.
        about: how it was asked.
        tables: in order.
        plots: `<svg>` elements.
    """

    title: str
    about: str
    tables: tuple[Table, ...]
    plots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A run that was scored.

    Attributes:
        run: what was asked of whom.
        records: every answer.
        rows: the figures of every method; none for a benchmark of several tasks.
        tasks: the answers task by task, for a benchmark that has several.
    """

    run: Run
    records: tuple[Record, ...]
    rows: tuple[Row, ...]
    tasks: Tasks | None = None

    @property
    def samples(self) -> tuple[Record, ...]:
        """One record of every sample."""
        return tuple({record.sample: record for record in self.records}.values())


def result(folder: Path, as_published: bool = False) -> Result:
    """Scores the log of a folder; no model is needed.

    Args:
        folder: of the run.
        as_published: take the figures that the benchmark's own scripts print, where they differ.

    Raises:
        DataError: there is no log, or it is empty or damaged.
    """
    run = read_run(folder)
    records = judged(folder, tuple(read(folder)))
    if not records:
        raise DataError(f"The run in '{folder}' has no answers yet; run 'auricle eval' first.")
    if tasks := tasks_of(run, records, as_published, judge_of(folder)):
        return Result(run, records, (), tasks)
    rows = tuple(metrics.row(name, those) for name, those in metrics.by_method(records).items())
    return Result(run, records, rows)


def section(scored: Result) -> Section:
    """Tables and plots of one run."""
    run = scored.run
    found = _choices(scored) if scored.tasks is None else tables(scored.tasks)
    return Section(
        title=f"{run.model} on {run.benchmark}",
        about=about(run, scored.samples),
        tables=tuple(table for table in found if table.rows),
        plots=tuple(_plots(scored)),
    )


def about(run: Run, samples: Sequence[Record]) -> str:
    """What was asked, and how answers were had to questions with choices and to open ones."""
    most = min(run.permute, max(len(record.choices) for record in samples))
    how = "log-likelihood of each choice, which the prompt does not list, the prior taken off"
    if run.protocol == "generate":
        how = "generated; choices in " + (f"{most} orders, seed {run.seed}" if most else "the published order")
    if not all(record.choices for record in samples):
        how = f"{how}; of open questions generated" if any(r.choices for r in samples) else "generated"
    return f"{run.note} {len(samples)} samples; answers {how}. Intervals are 95 %, over recordings.".strip()


def _choices(scored: Result) -> list[Table]:
    kinds = _grouped(scored, "transcript_type", "By type of transcript")
    failed = failures(metrics.by_method(scored.records).items())
    parts = [kinds, _positions(scored), _hard(scored), _differences(scored), failed]
    return [accuracies(scored), letters(scored), *parts]


def accuracies(scored: Result) -> Table:
    """Every method's figures."""
    loglikelihood = scored.run.protocol == "loglikelihood"
    header = (
        "method",
        "answers",
        "speech kept",
        "accuracy",
        "without prior" if loglikelihood else "unparsed",
        "evidence kept",
    )
    rows = []
    for row in scored.rows:
        beside = _text(row.without_prior) if loglikelihood else str(row.unparsed)
        kept = "" if row.kept is None else f"{row.kept:.3f}"
        rows.append((row.method, str(row.accuracy.samples), kept, str(row.accuracy), beside, _text(row.recall)))
    note = "text-free reads the question only, transcript the true text in the place of the speech."
    return Table("Accuracy", header, tuple(rows), note)


def letters(scored: Result) -> Table:
    """What a constant letter reaches, as published and as asked."""
    published = constant_letters(scored.samples, 0, scored.run.seed, published=True)
    rows = [("published order", *(f"{value:.3f}" for value in published.values()))]
    if scored.run.permute:
        asked = constant_letters(scored.samples, scored.run.permute, scored.run.seed)
        rows.append(("permuted", *(f"{value:.3f}" for value in asked.values())))
    return Table("Always the same letter", ("choices", *published), tuple(rows))


def markdown(sections: Iterable[Section]) -> str:
    """The tables of all sections as Markdown."""
    parts = []
    for each in sections:
        parts.append(f"## {each.title}\n\n{each.about}\n")
        parts += [markdown_table(table) for table in each.tables]
    return "\n".join(parts)


def markdown_table(table: Table) -> str:
    """One table as Markdown, with its title and its note."""
    lines = [table.header, tuple("---" for _ in table.header), *table.rows]
    text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return "\n".join([f"### {table.title}\n\n{text}\n", *([f"{table.note}\n"] if table.note else [])])


def html(sections: Sequence[Section]) -> str:
    """One page with tables and plots; it loads nothing from anywhere."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("auricle.evaluation", "."), autoescape=True, trim_blocks=True)
    return environment.get_template("report.html.jinja").render(sections=sections)


def write(folders: Sequence[Path], output: Path, as_published: bool = False) -> list[Section]:
    """Writes `report.html` and `report.md` about the runs in `folders`.

    Args:
        folders: of the runs.
        output: the folder to write to.
        as_published: see `result`.

    Raises:
        DataError: a folder holds no log, or a damaged one.
    """
    sections = [section(result(folder, as_published)) for folder in folders]
    write_text(output / "report.html", html(sections))
    write_text(output / "report.md", markdown(sections))
    return sections


def _grouped(scored: Result, name: str, title: str) -> Table:
    found = metrics.groups(scored.records, name)
    return _by(title, {value: tuple(those) for value, those in found.items()}, scored.rows)


def _positions(scored: Result) -> Table:
    found = metrics.by_position(scored.records, metrics.positions_of(scored.records))
    return _by("By position of the evidence", found, scored.rows)


def _hard(scored: Result) -> Table:
    those = metrics.hard(scored.records)
    name = f"the {len({record.sample for record in those})} samples that first30 gets wrong"
    found = {name: those} if those else {}
    table = _by("Hard subset", found, scored.rows)
    note = (
        "As SPIRAL-H was chosen for Qwen2-Audio: first30 has 0 by construction, and what resembles it has little."
    )
    return Table(table.title, table.header, table.rows, note)


def _by(title: str, parts: "dict[str, list[Record]] | dict[str, tuple[Record, ...]]", rows: Sequence[Row]) -> Table:
    """A method a row, a part of the samples a column."""
    names = [row.method for row in rows] if parts else []
    sorted_parts = {part: metrics.by_method(those) for part, those in parts.items()}
    lines = []
    for name in names:
        cells = []
        for found in sorted_parts.values():
            cells.append(str(metrics.row(name, found[name]).accuracy) if name in found else "")
        lines.append((name, *cells))
    return Table(title, ("method", *parts), tuple(lines))


def _differences(scored: Result) -> Table:
    """Methods of one rate against each other, and every method against the whole recording."""
    found = metrics.by_method(scored.records)
    rate = {name: those[0].pruning_rate for name, those in found.items()}
    names = list(found)
    pairs = [
        (a, b)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
        if "full" in (a, b) or (rate[a] is not None and rate[a] == rate[b])
    ]
    lines = []
    for a, b in pairs:
        if (compared := metrics.difference(found[a], found[b])) is not None:
            estimate = compared.difference
            text = f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
            lines.append((f"{a} - {b}", text, f"{compared.p:.4f}"))
    note = "Paired over recordings; p of a two-sided permutation test, not corrected for the number of pairs."
    return Table("Differences", ("methods", "difference", "p"), tuple(lines), note)


def _plots(scored: Result) -> Iterable[str]:
    rates = {record.method: record.pruning_rate for record in scored.records}
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    recalls: dict[str, list[tuple[float, Estimate]]] = {}
    for row in scored.rows:
        rate = rates[row.method]
        if rate is None:
            continue
        name = row.method.rsplit(" ", 1)[0]
        lines.setdefault(name, []).append((rate, row.accuracy))
        if row.recall is not None:
            recalls.setdefault(name, []).append((rate, row.recall))
    if lines:
        levels = {row.method: row.accuracy.value for row in scored.rows if row.method in BASELINES}
        chance = sum(1 / len(each.choices) for each in scored.samples) / len(scored.samples)
        yield pictures.svg(pictures.curves(lines, levels | {"chance": chance}, "accuracy"))
    if recalls:
        yield pictures.svg(pictures.curves(recalls, {}, "share of the evidence's tokens that is kept"))


def _cell(text: str) -> str:
    """A text that breaks no Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _text(value: Estimate | None) -> str:
    return "" if value is None else str(value)
