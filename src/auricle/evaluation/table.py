"""A table of texts, and the one that every report ends with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auricle.evaluation.log import Record


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: what stands above it.
        header: one text a column.
        rows: as many texts each.
        note: what stands below it.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def failures(answers: Iterable[tuple[str, Sequence[Record]]]) -> Table:
    """How many samples each method could not answer, and why."""
    counted: dict[str, list[str]] = {}
    for method, records in answers:
        counted.setdefault(method, []).extend(record.error for record in records if record.error)
    rows = [
        (method, str(len(reasons)), "; ".join(list(dict.fromkeys(reasons))[:3]))
        for method, reasons in counted.items()
        if reasons
    ]
    return Table("Without an answer (counted as wrong)", ("method", "samples", "why"), tuple(rows))
