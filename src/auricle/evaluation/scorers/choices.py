"""F1 over the classes of a question with choices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from jaxtyping import Float
from typing_extensions import override

from auricle.errors import DataError
from auricle.evaluation.log import Record
from auricle.evaluation.scorers.base import Figures, Scorer, percent
from auricle.evaluation.scoring import score
from auricle.questions import letter

MOST = 5  # choices of a question
_PARSED = "F1, parsed only"


@final
@dataclass(frozen=True)
class F1(Scorer):
    """The F1 of every class, averaged; `sklearn.metrics.f1_score` is the measure (tested).

    Averaged are the classes that are right or chosen somewhere. An answer that names no choice is one that its
    class misses; "parsed only" leaves it out, as AudioMarathon's scripts do.

    Differs from AudioMarathon's scripts: letters are read from all answers in one way, where each script has its
    own; and some of them average over fixed classes, which is the same where each is right somewhere.

    Attributes:
        classes: the "letters" as they were listed, where choices differ from question to question; or the "choices"
            themselves, where all questions have the same.
        average: "macro": every class counts as much; "weighted": as much as it is right.
    """

    PUBLISHED: ClassVar[str] = _PARSED
    classes: Literal["letters", "choices"] = "letters"
    average: Literal["macro", "weighted"] = "macro"

    @override
    def counts(self, record: Record) -> Sequence[float]:
        if not 2 <= len(record.choices) <= MOST:
            raise DataError(f"Sample {record.sample} has {len(record.choices)} choices; expected 2 to {MOST}.")
        confusion = np.zeros((MOST, MOST + 1))
        chosen = score(record).choice
        column = MOST if chosen is None else self._class(record, chosen)
        confusion[self._class(record, record.correct), column] = 1
        return confusion.ravel().tolist()

    @override
    def measure(self, sums: Float[np.ndarray, "draws counts"]) -> Figures:
        confusion = sums.reshape(-1, MOST, MOST + 1)
        parsed = confusion[..., :MOST]
        hit = np.diagonal(parsed, axis1=1, axis2=2)
        chosen, right = parsed.sum(1), confusion.sum(2)
        every = right.sum(1)
        return {
            f"{self.average} F1": self._average(hit, right, chosen),
            _PARSED: self._average(hit, parsed.sum(2), chosen),
            "accuracy": percent(hit.sum(1), every),
            "unparsed": percent(every - chosen.sum(1), every),
        }

    @override
    def constants(self, records: Sequence[Record]) -> Sequence[str]:
        if self.classes == "choices":
            return sorted({choice for record in records for choice in record.choices})
        return [letter(i) for i in range(max((len(record.choices) for record in records), default=0))]

    def _average(
        self,
        hit: Float[np.ndarray, "draws classes"],
        right: Float[np.ndarray, "draws classes"],
        chosen: Float[np.ndarray, "draws classes"],
    ) -> Float[np.ndarray, "draws"]:
        both = right + chosen
        f1 = np.divide(2 * hit, both, out=np.zeros_like(both), where=both > 0)
        weight = (both > 0).astype(float) if self.average == "macro" else right
        return percent((f1 * weight).sum(1), weight.sum(1))

    def _class(self, record: Record, choice: int) -> int:
        if self.classes == "letters":
            return record.order.index(choice)
        return sorted(record.choices).index(record.choices[choice])
