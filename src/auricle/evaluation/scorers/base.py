"""The contract of a scorer, and what all share: sums, intervals, differences, the best constant answer.

A scorer says what one answer counts, as numbers that add up, and makes figures of the sums. A macro F1 is made of a
confusion matrix, BLEU of n-gram counts, a word error rate of errors and words: so one bootstrap over recordings
gives the interval of any of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from auricle.evaluation.log import Record
from auricle.evaluation.metrics import RESAMPLES, SEED, Estimate, alike

_BATCH = 1000  # draws whose weights are in memory
Figures = Mapping[str, Float[np.ndarray, "draws"]]
Asked = tuple[str, tuple[int, ...]]  # sample and order


class Scorer(ABC):
    """Scores one task. Every implementation is a frozen dataclass without state.

    Attributes:
        PUBLISHED: the figure that leaves out what the benchmark's own scripts leave out; "" if there is none.
        INSTEAD: the figure that stands for the task, by its name, where there is no main one; "" if none does.
        HIGHER: whether more is better, in the first figure.
    """

    PUBLISHED: ClassVar[str] = ""
    INSTEAD: ClassVar[str] = ""
    HIGHER: ClassVar[bool] = True

    @abstractmethod
    def counts(self, record: Record) -> Sequence[float]:
        """What an answer counts; always as many numbers, whose sums over answers make the figures.

        A record with an `error` has no answer: it counts as one that is wrong.

        Raises:
            DataError: the record is not of this task.
            MissingDependencyError: a package that it needs is not installed.
        """

    @abstractmethod
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        """The figures of every row of sums, by name, the main one first; NaN where there is none."""

    def is_scored(self, record: Record) -> bool:  # noqa: ARG002 - for those that override it
        """Whether the main figure says anything of this answer yet."""
        return True

    def constants(self, records: Sequence[Record]) -> Sequence[str]:  # noqa: ARG002
        """The answers that somebody might always give who hears nothing; by default nothing at all."""
        return ("",)

    def main(self, names: Sequence[str], as_published: bool = False) -> str:
        """Which of the figures stands for the task."""
        return self.PUBLISHED if as_published and self.PUBLISHED in names else names[0]


@dataclass(frozen=True)
class Counted:
    """The answers of one method to one task, counted.

    Attributes:
        scorer: of the task.
        asked: what each is an answer to.
        recordings: which recording each is about.
        counts: of each.
        scored: see `Scorer.is_scored`.
    """

    scorer: Scorer
    asked: tuple[Asked, ...]
    recordings: tuple[str, ...]
    counts: Float[np.ndarray, "answers counts"]
    scored: Bool[np.ndarray, "answers"]

    def names(self) -> list[str]:
        """Of the figures."""
        return list(self.scorer.measure(self.counts.sum(0)[None]))

    def by_recording(self, only: Sequence[int] | None = None) -> Float[np.ndarray, "recordings counts"]:
        """The sums of each recording, sorted by its name; of some of the answers if they are named."""
        which = range(len(self.asked)) if only is None else only
        numbers = {name: i for i, name in enumerate(sorted({self.recordings[i] for i in which}))}
        table = np.zeros((len(numbers), self.counts.shape[1]))
        for i in which:
            table[numbers[self.recordings[i]]] += self.counts[i]
        return table


def count(scorer: Scorer, records: Sequence[Record]) -> Counted:
    """Counts the answers of one method, at least one."""
    return Counted(
        scorer,
        tuple((each.sample, each.order) for each in records),
        tuple(each.recording for each in records),
        np.array([scorer.counts(each) for each in records], dtype=float),
        np.array([scorer.is_scored(each) for each in records]),
    )


def figures(counted: Counted) -> dict[str, Estimate | None]:
    """All figures with 95 % intervals, by a percentile bootstrap over recordings; None where there is none.

    Where all draws agree, the interval is as wide as what so many recordings without an exception allow; it has no
    ends (NaN) if the figure is not one of 0 to 100.
    """
    table, samples = counted.by_recording(), len(counted.asked)
    found = counted.scorer.measure(table.sum(0)[None])
    drawn = [counted.scorer.measure(sums) for sums in _draws(table)]
    return {
        name: _estimate(float(value[0]), np.concatenate([each[name] for each in drawn]), samples, len(table))
        if all(name in each for each in drawn)
        else None
        for name, value in found.items()
    }


def difference(first: Counted, second: Counted, as_published: bool = False) -> Estimate | None:
    """By how much the main figure of `first` is above that of `second`, on the questions that both answered.

    None if there are none.
    """
    scorer, places = first.scorer, {asked: i for i, asked in enumerate(second.asked)}
    pairs = [
        (i, places[asked])
        for i, asked in enumerate(first.asked)
        if asked in places and first.scored[i] and second.scored[places[asked]]
    ]
    if not pairs:
        return None
    mine, others = first.by_recording([i for i, _ in pairs]), second.by_recording([i for _, i in pairs])
    both, width = np.concatenate([mine, others], 1), mine.shape[1]
    name = scorer.main(first.names(), as_published)

    def gained(sums: Float[np.ndarray, "draws counts"]) -> Float[np.ndarray, "draws"]:
        mine, others = (scorer.measure(part)[name] for part in (sums[:, :width], sums[:, width:]))
        return mine - others

    drawn = np.concatenate([gained(sums) for sums in _draws(both)])
    return _estimate(float(gained(both.sum(0)[None])[0]), drawn, len(pairs), len(both), lowest=-1.0)


def best_constant(scorer: Scorer, records: Sequence[Record], as_published: bool = False) -> tuple[str, float]:
    """The constant answer that reaches most by the main figure, and that figure; NaN if there is none.

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


def where_any(part: Float[np.ndarray, "draws"], whole: Float[np.ndarray, "draws"]) -> Float[np.ndarray, "draws"]:
    """The percentage, NaN also where the part is 0: for what mostly does not happen."""
    return np.where(part > 0, percent(part, whole), np.nan)


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
    if np.isclose(low, high):
        within = lowest * 100 <= value <= 100
        low, high = (100 * each for each in alike(value / 100, recordings, lowest)) if within else (np.nan, np.nan)
    # A bootstrap's interval holds the value but for rounding; NaN stays.
    return Estimate(value, float(np.minimum(low, value)), float(np.maximum(high, value)), samples, recordings)
