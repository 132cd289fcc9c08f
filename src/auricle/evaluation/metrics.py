"""From scores to figures: accuracy with its interval, differences between methods, and what is counted beside them.

The samples of one recording are not independent: all intervals and tests draw recordings, not samples (clustered
errors, "Adding Error Bars to Evals", Miller 2024, section 2.2).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from auricle.evaluation.log import Record
from auricle.evaluation.scoring import score

RESAMPLES = 5000
_BATCH = 250
SEED = 0  # of the resampling: a log always gives the same figures


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval over recordings.

    Attributes:
        value: the mean over samples.
        low: lower end of the interval.
        high: upper end of the interval.
        samples: how many values there are.
        recordings: how many clusters they fall into.
    """

    value: float
    low: float
    high: float
    samples: int
    recordings: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Row:
    """What a method reached.

    Attributes:
        method: its name.
        accuracy: as scored; by log-likelihood with the prior taken off.
        without_prior: by the likelihood alone; None for generated answers.
        kept: share of the speech tokens that was kept; None where no speech was read.
        recall: share of the evidence's tokens that was kept; None where it is not known.
        unparsed: answers that name no choice.
        failed: samples without an answer; `reasons` says why.
        reasons: why, each once.
    """

    method: str
    accuracy: Estimate
    without_prior: Estimate | None
    kept: float | None
    recall: Estimate | None
    unparsed: int
    failed: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """How much more often `first` is right than `second` on the same samples.

    Attributes:
        first: a method.
        second: another one.
        difference: of their accuracies.
        p: of a two-sided permutation test that swaps the two methods' answers recording by recording.
    """

    first: str
    second: str
    difference: Estimate
    p: float


def by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records of each method, in the order in which the methods first appear."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.method, []).append(record)
    return found


def row(method: str, records: Sequence[Record]) -> Row:
    """The figures of one method's records."""
    scores = [score(record) for record in records]
    read = [record for record in records if record.audio_tokens and not record.error]
    with_evidence = [record for record in read if record.recall is not None]
    plain = None
    if any(record.loglikelihoods for record in records):
        plain = estimate(records, lambda record: score(record, prior=False).correct)
    return Row(
        method=method,
        accuracy=estimate(records, lambda record: score(record).correct),
        without_prior=plain,
        kept=float(np.mean([each.kept_tokens / each.audio_tokens for each in read])) if read else None,
        recall=estimate(with_evidence, lambda record: record.recall or 0.0, exact=True) if with_evidence else None,
        unparsed=sum(
            each.choice is None and not record.error for each, record in zip(scores, records, strict=True)
        ),
        failed=sum(bool(record.error) for record in records),
        reasons=tuple(dict.fromkeys(record.error for record in records if record.error)),
    )


def estimate(records: Sequence[Record], value: Callable[[Record], float], exact: bool = False) -> Estimate:
    """The mean of a value with its 95 % interval, by a percentile bootstrap over recordings.

    Where all recordings agree, a bootstrap has nothing to draw from. The interval is Wilson's then if all are right
    or all are wrong, with a trial a recording; else it is as wide as what n recordings without an exception allow.

    Args:
        records: not empty.
        value: of a record, 0 to 1.
        exact: values that agree do so by construction, such as the recall of everything; they get no interval.
    """
    clusters: dict[str, list[float]] = defaultdict(list)
    for record in records:
        clusters[record.recording].append(float(value(record)))
    return _estimate(list(clusters.values()), 0.0, exact)


def difference(first: Sequence[Record], second: Sequence[Record]) -> Difference | None:
    """Compares two methods on the questions that both were asked; None if there are none."""
    others = {(record.sample, record.order): score(record).correct for record in second}
    clusters: dict[str, list[float]] = defaultdict(list)
    for record in first:
        if (record.sample, record.order) in others:
            gained = float(score(record).correct) - float(others[record.sample, record.order])
            clusters[record.recording].append(gained)
    if not clusters:
        return None
    totals = np.array([sum(values) for values in clusters.values()])
    p = 1.0
    if totals.any() and len(totals) > 1:  # one recording can be swapped with nothing
        test = stats.permutation_test(
            (totals,), np.sum, permutation_type="samples", n_resamples=RESAMPLES, vectorized=True, rng=SEED
        )
        p = float(test.pvalue)
    return Difference(first[0].method, second[0].method, _estimate(list(clusters.values()), -1.0), p)


def groups(records: Sequence[Record], name: str) -> dict[str, list[Record]]:
    """Records by the value of one of their `groups`, sorted by it; records without it are left out."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if name in record.groups:
            found[record.groups[name]].append(record)
    return dict(sorted(found.items()))


def by_position(records: Sequence[Record], positions: Mapping[str, float]) -> dict[str, list[Record]]:
    """Records by the third of the recording in which the evidence stands.

    Args:
        records: of any method, also of those that read no speech.
        positions: of every sample's evidence, 0 to 1 (see `positions_of`).
    """
    names = ("first third", "middle third", "last third")
    found: dict[str, list[Record]] = {name: [] for name in names}
    for record in records:
        if record.sample in positions:
            found[names[min(int(positions[record.sample] * 3), 2)]].append(record)
    return {name: members for name, members in found.items() if members}


def positions_of(records: Sequence[Record]) -> dict[str, float]:
    """Where each sample's evidence stands, 0 to 1, as far as some method read the speech."""
    return {record.sample: record.position for record in records if record.position is not None}


def of(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The records of some methods, in the order of their names."""
    return sorted((each for each in records if each.method in names), key=lambda each: names.index(each.method))


def hard(records: Sequence[Record]) -> list[Record]:
    """The samples that `first30` gets wrong: SPIRAL-H as this model defines it (the paper's section 1.2).

    A sample that was asked in several orders is hard if no order was answered right. Without an answer it is not
    counted.
    """
    right: dict[str, bool] = {}
    for record in records:
        if record.method == "first30" and not record.error:
            right[record.sample] = right.get(record.sample, False) or score(record).correct
    return [record for record in records if right.get(record.sample) is False]


def _estimate(clusters: Sequence[Sequence[float]], lowest: float, exact: bool = False) -> Estimate:
    """Of values from `lowest` to 1."""
    sums = np.array([sum(values) for values in clusters], dtype=float)
    counts = np.array([len(values) for values in clusters], dtype=float)
    mean = float(sums.sum() / counts.sum())
    samples, recordings = int(counts.sum()), len(clusters)
    if np.ptp(sums / counts) == 0:
        low, high = (mean, mean) if exact else alike(mean, recordings, lowest)
        return Estimate(mean, low, high, samples, recordings)
    found = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=_BATCH,  # bounds the memory
        method="percentile",
        rng=SEED,
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), samples, recordings)


def alike(mean: float, recordings: int, lowest: float) -> tuple[float, float]:
    """An interval where all recordings agree."""
    if lowest == 0.0 and mean in (0.0, 1.0):
        wilson = stats.binomtest(round(mean * recordings), recordings).proportion_ci(method="wilson")
        return min(wilson.low, mean), max(wilson.high, mean)
    share = 1 - 0.05 ** (1 / recordings)  # of other ones, which so many recordings would miss in 5 % of the cases
    return max(mean - share, lowest), min(mean + share, 1.0)
