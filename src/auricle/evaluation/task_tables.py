"""The tables of a benchmark that has several tasks, each with a figure of its own."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from auricle import registry
from auricle.benchmarks.base import Benchmark
from auricle.benchmarks.published import mean_of_tasks, published
from auricle.errors import UnknownNameError
from auricle.evaluation import metrics
from auricle.evaluation.log import Record, Run
from auricle.evaluation.metrics import Estimate
from auricle.evaluation.scorers.base import Counted, Scorer, best_constant, count, difference, figures
from auricle.evaluation.scorers.labels import Judged
from auricle.evaluation.table import Table, failures

AGAINST = "full"  # what all other methods are compared with
Found = Mapping[tuple[str, str], Mapping[str, Estimate | None]]  # figures by task and method


@dataclass(frozen=True)
class Tasks:
    """The answers of a run, task by task.

    Attributes:
        run: what was asked of whom.
        scorers: of the tasks that were asked, in the benchmark's order.
        mean: whether their mean is a figure of the benchmark.
        answers: records by task, and in it by method.
        as_published: whether the main figures leave out what the benchmark's own scripts leave out.
        judge: who judged the answers that need it; "" if nobody did.
    """

    run: Run
    scorers: Mapping[str, Scorer]
    mean: bool
    answers: Mapping[str, Mapping[str, Sequence[Record]]]
    as_published: bool = False
    judge: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order in which they first appear."""
        return tuple(dict.fromkeys(name for those in self.answers.values() for name in those))

    @cached_property
    def counted(self) -> Mapping[tuple[str, str], Counted]:
        """All answers, by task and method: counting a long transcript takes a while."""
        return {
            (task, name): count(self.scorers[task], records)
            for task, by_method in self.answers.items()
            for name, records in by_method.items()
        }

    def figures(self) -> Found:
        """All figures of every method in every task."""
        return {key: figures(counted) for key, counted in self.counted.items()}

    def main(self, task: str, found: Mapping[str, Estimate | None]) -> str:
        """The name of a task's main figure."""
        return self.scorers[task].main(list(found), self.as_published)


def tasks_of(run: Run, records: Sequence[Record], as_published: bool = False, judge: str = "") -> Tasks | None:
    """The run's tasks; None for a benchmark that has none, or that is not known here."""
    try:
        benchmark = registry.benchmark_class(run.benchmark)
    except UnknownNameError:
        return None
    known = benchmark.SCORERS if isinstance(benchmark, type) and issubclass(benchmark, Benchmark) else {}
    answers = {task: metrics.by_method([each for each in records if each.task == task]) for task in known}
    answers = {task: those for task, those in answers.items() if those}
    if not answers or not known:
        return None
    mean = isinstance(benchmark, type) and issubclass(benchmark, Benchmark) and benchmark.MEAN
    return Tasks(run, {task: known[task] for task in answers}, mean, answers, as_published, judge)


def tables(tasks: Tasks) -> list[Table]:
    """Main figures beside the best constant answer and what was published, all figures, differences, failures."""
    found = tasks.figures()
    everything = [_mains(tasks, found)]
    everything += [_all_figures(tasks, task, found) for task in tasks.answers]
    everything += [_differences(tasks), failures([each for by in tasks.answers.values() for each in by.items()])]
    return [table for table in everything if table.rows]


def as_rows(tasks: Tasks) -> Iterator[dict[str, Any]]:
    """The figures of every method in every task, as JSON takes them."""
    for (task, method), found in tasks.figures().items():
        values = {name: None if each is None else plain(each) for name, each in found.items()}
        yield {"task": task, "method": method, "main": tasks.main(task, found), "figures": values}


def plain(each: Estimate) -> dict[str, Any]:
    """As JSON takes it, which knows no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(each).items()
    }


def _mains(tasks: Tasks, found: Found) -> Table:
    names = {task: _first_main(tasks, task, found) for task in tasks.answers}
    every = tuple(tasks.answers)
    header = ["method", *(f"{task} ({name})" for task, name in names.items()), *(["mean"] if tasks.mean else [])]
    rows = []
    for method in tasks.methods:
        figures_of = {task: found.get((task, method), {}) for task in every}
        values = {task: getattr(figures_of[task].get(names[task]), "value", None) for task in every}
        rows.append(
            _row(
                tasks,
                method,
                {task: _cell(tasks.scorers[task], figures_of[task], names[task]) for task in every},
                values,
            )
        )
    constants = {
        task: best_constant(tasks.scorers[task], next(iter(by.values())), tasks.as_published)
        for task, by in tasks.answers.items()
    }
    known = {task: None if math.isnan(value) else value for task, (_, value) in constants.items()}
    cells = {
        task: "" if known[task] is None else f"{value:.1f} ('{said}')" for task, (said, value) in constants.items()
    }
    rows.append(_row(tasks, "the best constant answer", cells, known))
    others = published(tasks.run.benchmark)
    rows += [
        _row(
            tasks, f"{each.name} (published)", {t: f"{v:g}" for t, v in each.values.items()}, each.values, each.mean
        )
        for each in others
    ]
    note = "In percent. Published rows are of the whole benchmark: " + "; ".join(
        f"{source}" for source in dict.fromkeys(each.source for each in others)
    )
    return Table("Main figures", tuple(header), tuple(rows), f"{note}." if others else "In percent.")


def _cell(scorer: Scorer, figures_of: Mapping[str, Estimate | None], main: str) -> str:
    """The main figure; without one, the one that stands for it, by its name."""
    if figures_of.get(main) is not None or figures_of.get(scorer.INSTEAD) is None:
        return text(figures_of.get(main))
    return f"{scorer.INSTEAD} {text(figures_of[scorer.INSTEAD])}"


def _row(
    tasks: Tasks,
    name: str,
    cells: Mapping[str, str],
    values: Mapping[str, float | None] | Mapping[str, float],
    mean: float | None = None,
) -> tuple[str, ...]:
    every = tuple(tasks.answers)
    row = [name, *(cells.get(task, "") for task in every)]
    if tasks.mean:
        average = mean if mean is not None else mean_of_tasks(dict(values), tuple(_all_tasks(tasks)))
        row.append("" if average is None else f"{average:.1f}")
    return tuple(row)


def _all_tasks(tasks: Tasks) -> Mapping[str, Scorer]:
    """Of the benchmark: there is no mean of some of them."""
    scorers: Mapping[str, Scorer] = getattr(registry.benchmark_class(tasks.run.benchmark), "SCORERS", {})
    return scorers


def _all_figures(tasks: Tasks, task: str, found: Found) -> Table:
    by_method = tasks.answers[task]
    names = list(dict.fromkeys(name for method in by_method for name in found[task, method]))
    extra = tasks.scorers[task].PUBLISHED  # shown where it differs
    cells = {method: {name: text(found[task, method].get(name)) for name in names} for method in by_method}
    for figures_of in cells.values():
        if figures_of.get(extra) == figures_of[names[0]]:
            figures_of[extra] = ""
    names = [name for name in names if any(cells[method][name] for method in by_method)]
    rows = [
        (method, str(len(records)), _kept(records), *(cells[method][name] for name in names))
        for method, records in by_method.items()
    ]
    note = ""
    if isinstance(tasks.scorers[task], Judged):
        note = (
            f"Judged by {tasks.judge or 'nobody yet: see auricle judge'}, asked in this project's own words; what"
            " was published was judged by another model in others."
        )
    return Table(task, ("method", "answers", "speech kept", *names), tuple(rows), note)


def _kept(records: Sequence[Record]) -> str:
    read = [each.kept_tokens / each.audio_tokens for each in records if each.audio_tokens and not each.error]
    return f"{np.mean(read):.3f}" if read else ""


def _differences(tasks: Tasks) -> Table:
    rows = []
    for task, by_method in tasks.answers.items():
        for method in by_method:
            if method != AGAINST and AGAINST in by_method:
                counted = tasks.counted
                gain = difference(counted[task, method], counted[task, AGAINST], tasks.as_published)
                if gain is not None:
                    rows.append((task, f"{method} - {AGAINST}", text(gain, "+.1f")))
    return Table("Differences", ("task", "methods", "difference"), tuple(rows), "Of the main figures, paired.")


def _first_main(tasks: Tasks, task: str, found: Found) -> str:
    return tasks.main(task, found[task, next(iter(tasks.answers[task]))])


def text(value: Estimate | None, form: str = ".1f") -> str:
    """A figure in percent with its interval, if it has one."""
    if value is None:
        return ""
    return f"{value.value:{form}}" + (
        "" if math.isnan(value.low) else f" ({value.low:{form}} to {value.high:{form}})"
    )
