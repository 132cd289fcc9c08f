"""The contract of a benchmark: a name, and samples."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from auricle.audio import Waveform

Spans = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Sample:
    """A question about a recording.

    Attributes:
        id: unique in its benchmark.
        load: reads the recording: mono, 16 kHz.
        question: what is asked.
        choices: the possible answers, without letters, in the published order.
        correct: index of the right one.
        recording: samples of one recording are one cluster of the statistics; by default each has its own.
        evidence: when what holds the answer is said, start and end in seconds; empty where it is not known.
        transcript: what is said, where it is known; the ceiling of hearing is measured with it.
        groups: what results are broken down by, such as {"transcript_type": "lecture"}.
    """

    id: str
    load: Callable[[], Waveform]
    question: str
    choices: tuple[str, ...]
    correct: int
    recording: str = ""
    evidence: Spans = ()
    transcript: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


class Benchmark(ABC):
    """Multiple-choice questions about recordings. Every implementation is a frozen dataclass."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What results call it."""

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """All samples, always in the same order; their recordings are read by `Sample.load` only.

        Raises:
            DataError: the data is not there, or not what was expected.
        """
