"""Short answers: a number, an emotion, or what a judge says of a longer one."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from typing_extensions import override

from auricle.evaluation.log import Record
from auricle.evaluation.scorers.base import Figures, Scorer, percent, where_any

UNKNOWN = "reference unknown"
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)

# LongSpeech, section 3.2.2: seven classes, their polarities, and the labels that fall into them.
POLARITIES: Mapping[str, str] = {
    "Positive-HighArousal": "positive",
    "Positive-Uplifting": "positive",
    "Negative-Sadness/Reflection": "negative",
    "Negative-Tension/Seriousness": "negative",
    "Cognitive-Curiosity": "cognitive",
    "Cognitive-Uncertainty": "cognitive",
    "Neutral-Informative": "neutral",
}
EMOTIONS: Mapping[str, tuple[str, ...]] = {
    "Positive-HighArousal": ("Excited", "Amused"),
    "Positive-Uplifting": ("Hopeful", "Determined", "Inspirational", "Awe", "Vivid"),
    "Negative-Sadness/Reflection": ("Melancholy", "Somber", "Pensive", "Reflective"),
    "Negative-Tension/Seriousness": ("Suspenseful", "Serious", "Dramatic", "Urgent", "Intense"),
    "Cognitive-Curiosity": ("Intrigued", "Questioning"),
    "Cognitive-Uncertainty": ("Confused",),
    "Neutral-Informative": ("Neutral", "Calm", "Objective", "Informative", "Assertive"),
}
_CLASSES = {label.lower(): name for name, labels in EMOTIONS.items() for label in labels}
_LONGEST_FIRST = sorted(_CLASSES, key=len, reverse=True)


@final
@dataclass(frozen=True)
class Count(Scorer):
    """N.A: share of right numbers; P.R: of answers with a number; Pr: of right ones among these; M.R: 100 - P.R.

    LongSpeech, section 3.2.1. The number of an answer is its first one in digits, or else in English words up to
    twenty. A reference without a number is counted, and no answer to it is right.

    Differs from the paper, which does not say how numbers are read; a third-party harness reads digits only.
    """

    @override
    def counts(self, record: Record) -> Sequence[float]:
        right = number(record.reference)
        said = None if record.error else number(record.answer)
        return float(right is not None and said == right), float(said is not None), 1.0, float(right is None)

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        hit, parsed, every, unknown = sums.T
        return {
            "N.A": percent(hit, every),
            "P.R": percent(parsed, every),
            "Pr": percent(hit, parsed),
            "M.R": percent(every - parsed, every),
            UNKNOWN: where_any(unknown, every),
        }

    @override
    def constants(self, records: Sequence[Record]) -> Sequence[str]:
        return sorted({record.reference for record in records})


@final
@dataclass(frozen=True)
class Emotion(Scorer):
    """St.A, the share of answers of the right class among seven; Re.A, of the right polarity among four.

    LongSpeech, section 3.2.2. A reference of another kind is counted, and no answer to it is right.
    """

    @override
    def counts(self, record: Record) -> Sequence[float]:
        right = emotion_class(record.reference)
        said = None if record.error else emotion_class(record.answer)
        known = right is not None and said is not None
        same = known and POLARITIES[said or ""] == POLARITIES[right or ""]
        return float(known and said == right), float(same), float(said is None), 1.0, float(right is None)

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        found = {name: percent(sums[:, i], sums[:, 3]) for i, name in enumerate(("St.A", "Re.A", "unparsed"))}
        return found | {UNKNOWN: where_any(sums[:, 4], sums[:, 3])}

    @override
    def constants(self, records: Sequence[Record]) -> Sequence[str]:
        return [labels[0] for labels in EMOTIONS.values()]


@final
@dataclass(frozen=True)
class Judged(Scorer):
    """St.A, the share of answers that a judge calls right; Re.A, right or partially; of those that it has judged.

    `auricle judge` asks it. Without an answer it is wrong; before it was judged it is not counted.
    """

    @override
    def counts(self, record: Record) -> Sequence[float]:
        judged = self.is_scored(record)
        yes, partially = record.verdict == "YES", record.verdict == "PARTIALLY"
        return float(yes), float(yes or partially), float(judged), 1.0

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        yes, partially, judged, every = sums.T
        return {
            "St.A": percent(yes, judged),
            "Re.A": percent(partially, judged),
            "judged": percent(judged, every),
        }

    @override
    def is_scored(self, record: Record) -> bool:
        return bool(record.error or record.verdict)

    @override
    def constants(self, records: Sequence[Record]) -> Sequence[str]:
        return ()  # what a judge thinks of it is not known


def number(text: str) -> int | None:
    """The first whole number in digits, or else the first English number word up to twenty; None without either."""
    if found := re.search(r"(?<!\d)-?\d+(?!\d)", text):
        return int(found[0])
    words = re.findall(r"[a-z]+", text.lower())
    return next((_NUMBERS.index(word) for word in words if word in _NUMBERS), None)


def emotion_class(text: str) -> str | None:
    """The class that a text names, or that the longest label in it belongs to; None without either."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("_", "-")
    plain = re.sub(r"\s*([/-])\s*", r"\1", plain)
    for name in sorted(EMOTIONS, key=len, reverse=True):
        if name.lower() in plain:
            return name
    return next(
        (_CLASSES[label] for label in _LONGEST_FIRST if re.search(rf"(?<![a-z]){label}(?![a-z])", plain)), None
    )
