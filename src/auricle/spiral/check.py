"""Quality of a voiced set: words, sound, duration, loudness, and whether its questions need the recordings.

`check_all` listens to the recordings and writes `checks/<id>.json`; `controls` asks a Speech LLM; `report` puts
both together and judges the set by `Thresholds` (the paper's section 1.3).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from auricle.errors import DataError, OptionError
from auricle.evaluation.run import as_tokens
from auricle.files import write_json
from auricle.speech_lm import SpeechLM
from auricle.spiral import opinion
from auricle.spiral.listening import Heard, listen
from auricle.spiral.schema import SpiralSample
from auricle.spiral.synthesize import in_processes, paths
from auricle.synthesis.dialogue import LOUDNESS

FOLDER = "checks"
RESAMPLES = 2000  # for the interval of a mean


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Controls:
    """How often a Speech LLM is right without the recording.

    Attributes:
        model: its name.
        samples: how many were asked.
        question: accuracy by the question alone.
        transcript: accuracy with the transcript in the place of the speech.
    """

    model: str
    samples: int
    question: Interval
    transcript: Interval


@dataclass(frozen=True)
class Thresholds:
    """What a set has to reach.

    Attributes:
        wer: highest word error rate of the set.
        sample_wer: highest word error rate of a sample.
        opinion: lowest mean score by metric. Recordings by Flite, eSpeak, Piper and Kokoro were given 3.5 to 4.2 by
            DNSMOS P.808 and 2.6 to 3.4 by P.835; clipped or in noise, at most 3.1 by P.808. The paper's set has a
            UTMOS of 3.91.
        shortest: seconds of a recording, at least. The paper's last 87.89 s on average.
        longest: seconds of a recording, at most.
        loudness: LU that a recording may be off -23 LUFS.
        leak: how far above chance the interval of the accuracy without the recording may begin.
        answerable: how far above chance the accuracy with the transcript has to be.
    """

    wer: float = 0.10
    sample_wer: float = 0.30
    opinion: Mapping[str, float] = field(
        default_factory=lambda: {opinion.UTMOS: 3.5, opinion.P808: 3.3, opinion.P835: 2.4}
    )
    shortest: float = 60.0
    longest: float = 120.0
    loudness: float = 0.5
    leak: float = 0.10
    answerable: float = 0.20


@dataclass(frozen=True)
class Verdict:
    """One check of a set.

    Attributes:
        name: what was measured.
        value: the figure.
        rule: on which side of the threshold it has to be.
        threshold: the figure that it is compared with; equal is fine.
        passed: whether it is on that side.
    """

    name: str
    value: float
    rule: Literal["at most", "at least"]
    threshold: float
    passed: bool


@dataclass(frozen=True)
class Row:
    """One sample of a report; `faults` names the checks that the sample itself fails."""

    id: str
    wer: float
    opinion: Mapping[str, float]
    seconds: float
    loudness: float
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The quality of a set.

    Attributes:
        passed: whether all verdicts are good.
        samples: how many there are.
        wer: word error rate, over all words.
        opinion: mean of the predicted mean opinion score, by metric.
        seconds: mean duration.
        loudness: mean loudness in LUFS.
        chance: accuracy of guessing.
        letter: accuracy of the best constant letter.
        controls: answerability; None where no model was asked.
        verdicts: every check of the set.
        rows: every sample.
    """

    passed: bool
    samples: int
    wer: Interval
    opinion: Mapping[str, Interval]
    seconds: Interval
    loudness: Interval
    chance: float
    letter: Interval
    controls: Controls | None
    verdicts: tuple[Verdict, ...]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as a value for JSON, with these attributes as keys."""
        return asdict(self)


def check_all(samples: Sequence[SpiralSample], folder: Path, processes: int = 1) -> Iterator[str]:
    """Checks the samples whose recordings are newer than their check; yields the id of each as it is done.

    Args:
        samples: all of them voiced.
        folder: of the set; what is found goes to `checks/`.
        processes: how many samples to check at a time.

    Raises:
        OptionError: `processes` is not positive.
        SynthesisError: a process died.
        DataError, AudioError, WeightsError, MissingDependencyError: as for `listening.listen`.
    """
    todo = [sample for sample in samples if not _is_checked(sample, folder)]
    yield from in_processes(partial(_check, folder=folder), todo, processes)


def controls(
    samples: Sequence[SpiralSample], lm: SpeechLM, on_sample: Callable[[int], None] = lambda _: None
) -> Controls:
    """Asks a Speech LLM every question without its recording: alone, and with the transcript in the speech's place.

    Alone, the most likely choice is taken. With the transcript, whose text embeddings stand where the speech tokens
    would, it is the one that the transcript makes more likely than it is anyway (see `auricle.asking.answer`).

    Args:
        samples: all of a set, or some.
        lm: the Speech LLM.
        on_sample: called with the number of samples done.

    Raises:
        OptionError: there are no samples.
        ContextLengthError: a transcript does not fit into the model's context.
    """
    if not samples:
        raise OptionError("There are no samples to ask about; pass at least one.")
    alone = read = 0
    for done, sample in enumerate(samples, 1):
        query = lm.query(sample.test.question, sample.test.choices)
        prior = lm.loglikelihood(lm.prompt(None, query), query.choices)
        prompt = lm.prompt(as_tokens(lm, sample.text), query)
        gained = lm.loglikelihood(prompt, query.choices) - prior
        alone += int(prior.argmax()) == sample.test.correct
        read += int(gained.argmax()) == sample.test.correct
        on_sample(done)
    return Controls(lm.name, len(samples), share(alone, len(samples)), share(read, len(samples)))


def report(
    samples: Sequence[SpiralSample],
    folder: Path,
    asked: Controls | None = None,
    thresholds: Thresholds | None = None,
) -> Report:
    """Judges a checked set.

    The intervals of means are bootstrapped over samples, those of accuracies are Wilson's. Of an accuracy that
    should be low, the lower end is compared, so that few samples are not blamed for what may be luck.

    Args:
        samples: all of them checked.
        folder: of the set.
        asked: from `controls`; without it answerability is not judged, but for the letters.
        thresholds: what the set has to reach; `Thresholds()` if omitted.

    Raises:
        DataError: there are no samples, one is not checked, or they were judged by different metrics.
    """
    if not samples:
        raise DataError("There are no samples to report on; write dialogues first.")
    found = [Heard.load(_path(folder, sample.id)) for sample in samples]
    metrics = list(found[0].opinion)
    if any(list(each.opinion) != metrics for each in found):
        raise DataError(
            f"The samples in '{folder / FOLDER}' were judged by different metrics; check all of them again."
        )
    limits = Thresholds() if thresholds is None else thresholds
    letters = Counter(sample.test.correct for sample in samples)
    chance = float(np.mean([1 / len(sample.test.choices) for sample in samples]))
    wer = mean([float(each.errors) for each in found], [float(each.words) for each in found])
    scores = {metric: mean([each.opinion[metric] for each in found]) for metric in metrics}
    letter = share(max(letters.values()), len(samples))
    verdicts = [
        at_most("word error rate", wer.value, limits.wer),
        at_most("word error rate of a sample", max(each.wer for each in found), limits.sample_wer),
        *(
            at_least(metric, scores[metric].value, floor)
            for metric, floor in limits.opinion.items()
            if metric in scores
        ),
        at_least("shortest recording", min(each.seconds for each in found), limits.shortest),
        at_most("longest recording", max(each.seconds for each in found), limits.longest),
        at_most("loudness off -23 LUFS", max(map(_off, found)), limits.loudness),
        *_answerability(letter, asked, chance, limits),
    ]
    return Report(
        passed=all(verdict.passed for verdict in verdicts),
        samples=len(samples),
        wer=wer,
        opinion=scores,
        seconds=mean([each.seconds for each in found]),
        loudness=mean([each.loudness for each in found]),
        chance=chance,
        letter=letter,
        controls=asked,
        verdicts=tuple(verdicts),
        rows=tuple(_row(each, limits) for each in found),
    )


def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> Interval:
    """The sum of the values by that of the weights (1 each if omitted); its interval is bootstrapped."""
    above = np.asarray(values, dtype=np.float64)
    below = np.ones_like(above) if weights is None else np.asarray(weights, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(above), size=(RESAMPLES, len(above)))
    low, high = np.quantile(above[drawn].sum(1) / below[drawn].sum(1), (0.025, 0.975))
    return Interval(float(above.sum() / below.sum()), float(low), float(high))


def share(right: int, of: int) -> Interval:
    """An accuracy with Wilson's interval."""
    interval = stats.binomtest(right, of).proportion_ci(method="wilson")
    return Interval(right / of, float(interval.low), float(interval.high))


def at_most(name: str, value: float, threshold: float) -> Verdict:
    """The verdict on a figure that should be low."""
    return Verdict(name, value, "at most", threshold, value <= threshold)


def at_least(name: str, value: float, threshold: float) -> Verdict:
    """The verdict on a figure that should be high."""
    return Verdict(name, value, "at least", threshold, value >= threshold)


def _answerability(
    letter: Interval, asked: Controls | None, chance: float, limits: Thresholds
) -> Iterator[Verdict]:
    yield at_most("constant letter, lower end", letter.low, chance + limits.leak)
    if asked is not None:
        yield at_most("question alone, lower end", asked.question.low, chance + limits.leak)
        yield at_least("transcript", asked.transcript.value, chance + limits.answerable)


def _row(found: Heard, limits: Thresholds) -> Row:
    own = [
        at_most("word error rate", found.wer, limits.sample_wer),
        at_least("shortest recording", found.seconds, limits.shortest),
        at_most("longest recording", found.seconds, limits.longest),
        at_most("loudness off -23 LUFS", _off(found), limits.loudness),
    ]
    faults = tuple(verdict.name for verdict in own if not verdict.passed)
    return Row(found.id, found.wer, found.opinion, found.seconds, found.loudness, faults)


def _off(found: Heard) -> float:
    return abs(found.loudness - LOUDNESS)


def _path(folder: Path, sample_id: str) -> Path:
    return folder / FOLDER / paths(folder, sample_id)[1].name


def _is_checked(sample: SpiralSample, folder: Path) -> bool:
    wav, path = paths(folder, sample.id)[0], _path(folder, sample.id)
    return path.is_file() and wav.is_file() and path.stat().st_mtime_ns >= wav.stat().st_mtime_ns


def _check(sample: SpiralSample, folder: Path) -> str:
    write_json(_path(folder, sample.id), asdict(listen(sample, folder)))
    return sample.id
