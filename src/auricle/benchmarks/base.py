"""The contract of a benchmark: a name, samples, and what scores them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from auricle.audio import Waveform
from auricle.evaluation.scorers.base import Scorer

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Sample:
    """A question about a recording: one with choices, or an open one with a reference.

    Attributes:
        id: unique in its benchmark.
        load: reads the recording: mono, 16 kHz.
        question: what is asked.
        choices: the possible answers, without letters, in the published order; none for an open question, whose
            answer is generated.
        correct: index of the right one; -1 for an open question.
        recording: samples of one recording are one cluster of the statistics; by default each has its own.
        evidence: when what holds the answer is said, start and end in seconds; empty where it is not known.
        transcript: what is said, where it is known; the ceiling of hearing is measured with it.
        groups: what results are broken down by, such as {"transcript_type": "lecture"}.
        reference: what the answer to an open question is scored against.
        task: of a benchmark that has several; it names the scorer in `Benchmark.SCORERS`.
        max_new_tokens: of the answer to an open question.
    """

    id: str
    load: Callable[[], Waveform]
    question: str
    choices: tuple[str, ...] = ()
    correct: int = -1
    recording: str = ""
    evidence: Spans = ()
    transcript: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    task: str = ""
    max_new_tokens: int = 64


class Benchmark(ABC):
    """Questions about recordings. Every implementation is a frozen dataclass.

    Attributes:
        SCORERS: what scores each task, for benchmarks of several tasks; the order is that of the columns. Without
            it, questions have choices, and accuracy is the figure.
        MEAN: whether the mean of the tasks' main figures is a figure of the benchmark.
    """

    SCORERS: ClassVar[Mapping[str, Scorer]] = {}
    MEAN: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What results call it."""

    @property
    def note(self) -> str:
        """What every report on this data has to say; mostly nothing."""
        return ""

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """All samples, always in the same order; their recordings are read by `Sample.load` only.

        Raises:
            DataError: the data is not there, or not what was expected.
        """
