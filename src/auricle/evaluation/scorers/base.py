"""The contract of a scorer, and what all share: sums, intervals, differences, the best constant answer.

A scorer says what one answer counts, as numbers that add up, and makes figures of the sums. A macro F1 is made of a
confusion matrix, BLEU of n-gram counts, a word error rate of errors and words: so one bootstrap over recordings
gives the interval of any of them, and a log is scored again in a second.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from auricle.evaluation.log import Record
from auricle.evaluation.metrics import RESAMPLES, SEED, Estimate, alike

_BATCH = 1000  # draws whose weights are in memory
Figures = Mapping[str, Float[np.ndarray, "draws"]]


class Scorer(ABC):
    """Scores one task. Every implementation is a frozen dataclass without state.

    Attributes:
        PUBLISHED: the figure that the benchmark's own scripts print, where it is not the first.
        HIGHER: whether more is better, in the first figure.
    """

    PUBLISHED: ClassVar[str] = ""
    HIGHER: ClassVar[bool] = True

    @abstractmethod
    def counts(self, record: Record) -> Sequence[float]:
        """What an answer counts; always as many numbers, whose sums over answers make the figures.

        A record with an `error` has no answer: it counts as one that is wrong.

        Raises:
            DataError: the record's reference is not of this task.
            MissingDependencyError: a package that it needs is not installed.
        """

    @abstractmethod
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        """The figures of every row of sums, by name, the main one first; NaN where there is none."""

    def constants(self, records: Sequence[Record]) -> Sequence[str]:  # noqa: ARG002 - for those that override it
        """The answers that somebody might always give who hears nothing; by default nothing at all."""
        return ("",)

    def main(self, names: Sequence[str], as_published: bool = False) -> str:
        """Which of the figures stands for the task."""
        return self.PUBLISHED if as_published and self.PUBLISHED in names else names[0]


def figures(scorer: Scorer, records: Sequence[Record]) -> dict[str, Estimate | None]:
    """All figures with 95 % intervals, by a percentile bootstrap over recordings; None where there is none.

    Where all draws agree, the interval is as wide as what so many recordings without an exception allow.
    """
    table, samples = _by_recording(scorer, records)
    found = scorer.measure(table.sum(0)[None])
    drawn: dict[str, list[Float[np.ndarray, "draws"]]] = defaultdict(list)
    for sums in _draws(table):
        for name, values in scorer.measure(sums).items():
            drawn[name].append(values)
    return {
        name: _estimate(float(value[0]), np.concatenate(drawn[name]), samples, len(table))
        for name, value in found.items()
    }


def difference(
    scorer: Scorer, first: Sequence[Record], second: Sequence[Record], as_published: bool = False
) -> Estimate | None:
    """By how much the main figure of `first` is above that of `second`, on the questions that both were asked."""
    common = {(each.sample, each.order) for each in first} & {(each.sample, each.order) for each in second}
    mine, others = (
        _by_recording(scorer, [each for each in records if (each.sample, each.order) in common])[0]
        for records in (sorted(first, key=_key), sorted(second, key=_key))
    )
    if not common:
        return None
    name = scorer.main(list(scorer.measure(mine.sum(0)[None])), as_published)
    both = np.concatenate([mine, others], 1)
    width = mine.shape[1]

    def gained(sums: Float[np.ndarray, "draws counts"]) -> Float[np.ndarray, "draws"]:
        first, second = (scorer.measure(part)[name] for part in (sums[:, :width], sums[:, width:]))
        return first - second

    value = float(gained(both.sum(0)[None])[0])
    drawn = np.concatenate([gained(sums) for sums in _draws(both)])
    return _estimate(value, drawn, len(common), len(both), lowest=-1.0)


def best_constant(scorer: Scorer, records: Sequence[Record], as_published: bool = False) -> tuple[str, float]:
    """The constant answer that reaches most by the main figure, and that figure.

    Args:
        scorer: of the task.
        records: of any one method, all of one task.
        as_published: see `Scorer.main`.
    """
    found: dict[str, float] = {}
    for answer in scorer.constants(records):
        said = [constantly(record, answer) for record in records]
        all_figures = scorer.measure(np.array([scorer.counts(record) for record in said], dtype=float).sum(0)[None])
        found[answer] = float(all_figures[scorer.main(list(all_figures), as_published)][0])
    known = {answer: value for answer, value in found.items() if not np.isnan(value)} or {"": float("nan")}
    best = (max if scorer.HIGHER else min)(known, key=lambda answer: known[answer])
    return best, known[best]


def constantly(record: Record, answer: str) -> Record:
    """The record as if this had been generated."""
    return replace(record, answer=answer, loglikelihoods=(), prior=(), error="", verdict="")


def percent(part: Float[np.ndarray, "draws"], whole: Float[np.ndarray, "draws"]) -> Float[np.ndarray, "draws"]:
    """100 * part / whole; NaN where the whole is 0."""
    found: Float[np.ndarray, "draws"] = np.full(whole.shape, np.nan)
    np.divide(100.0 * part, whole, out=found, where=whole != 0)
    return found


def _key(record: Record) -> tuple[str, str, tuple[int, ...]]:
    return record.recording, record.sample, record.order


def _by_recording(scorer: Scorer, records: Sequence[Record]) -> tuple[Float[np.ndarray, "recordings counts"], int]:
    """The counts of every recording, and how many answers there are."""
    found: dict[str, Float[np.ndarray, "counts"]] = {}
    for record in records:
        counted = np.array(scorer.counts(record), dtype=float)
        found[record.recording] = found.get(record.recording, 0.0) + counted
    return np.stack(list(found.values())) if found else np.zeros((0, 0)), len(records)


def _draws(table: Float[np.ndarray, "recordings counts"]) -> Iterator[Float[np.ndarray, "draws counts"]]:
    """Sums over as many recordings as there are, drawn with replacement."""
    rng, count = np.random.default_rng(SEED), len(table)
    for _ in range(0, RESAMPLES, _BATCH):
        # How often each is drawn, instead of which: a product then adds them up.
        yield rng.multinomial(count, np.full(count, 1 / count), size=_BATCH) @ table


def _estimate(
    value: float, drawn: Float[np.ndarray, "draws"], samples: int, recordings: int, lowest: float = 0.0
) -> Estimate | None:
    if np.isnan(value):
        return None
    low, high = (float(each) for each in np.nanquantile(drawn, [0.025, 0.975]))
    if low == high and lowest * 100 <= value <= 100:
        low, high = (100 * each for each in alike(value / 100, recordings, lowest))
    return Estimate(value, min(low, value), max(high, value), samples, recordings)
