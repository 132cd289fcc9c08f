"""DREAM-TTS and CN-College-Listen, as `AudioLLMs/*_mcq_test` publish them: parquet with the audio inside."""

import hashlib
import re
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from typing_extensions import override

from auricle import audio
from auricle.audio import SAMPLE_RATE, Waveform
from auricle.benchmarks.base import Benchmark, Sample
from auricle.benchmarks.jsonl import correct_index
from auricle.errors import AudioError, DataError, MissingDependencyError
from auricle.questions import letter

_MARKS = ("({})", "{}.", "{})")
FIELDS = ("context", "instruction", "choices", "answer")


@dataclass(frozen=True)
class AudioLLMs(Benchmark):
    """A set of AudioBench with the columns `context` (audio), `instruction`, `choices` (one string), `answer`.

    Attributes:
        data: a hub id, a parquet file, or a folder of parquet files.
        longer_than: seconds; shorter recordings are left out. The paper's * sets are those longer than 60 s.
    """

    data: str | Path
    longer_than: float = 0.0

    @property
    @abstractmethod
    def name(self) -> str:
        """What results call it."""

    @final
    @override
    def samples(self) -> Iterator[Sample]:
        for number, row in enumerate(_rows(self.data)):
            if missing := [field for field in FIELDS if field not in row]:
                raise DataError(f"'{self.data}' has no column {', '.join(missing)}; expected {', '.join(FIELDS)}.")
            waveform = partial(_decode, row["context"], f"{self.data}, row {number}")
            if self.longer_than and not _is_longer(waveform, self.longer_than):
                continue
            choices = split_choices(row["choices"])
            correct = correct_index(str(row["answer"]).strip(), choices, str(number))
            question = str(row["instruction"]).strip()
            yield Sample(str(number), waveform, question, choices, correct, _recording(row["context"]))


@final
@dataclass(frozen=True)
class DreamTTS(AudioLLMs):
    """DREAM's dialogues (Sun et al. 2019), voiced; three choices. The SpeechPrune paper, section 1.9."""

    data: str | Path = "AudioLLMs/dream_tts_mcq_test"

    @property
    @override
    def name(self) -> str:
        return "dream-tts"


@final
@dataclass(frozen=True)
class CNCollegeListen(AudioLLMs):
    """Listening tests of Chinese colleges, in English (WavLLM, AudioBench). The SpeechPrune paper, section 1.9."""

    data: str | Path = "AudioLLMs/cn_college_listen_mcq_test"

    @property
    @override
    def name(self) -> str:
        return "cn-college-listen"


def split_choices(listed: str) -> tuple[str, ...]:
    """Choices from one string: "(A) at home (B) at work", or with "A." and "A)", on lines or not.

    The first mark says what all look like, and a letter counts only where it comes next: "Vitamin A." within
    a choice splits nothing.

    Raises:
        DataError: fewer than two letters in order.
    """
    rest = listed.strip()
    mark = next((mark for mark in _MARKS if rest.startswith(mark.format("A"))), "{}.")
    choices: list[str] = []
    while rest.startswith(mark.format(letter(len(choices)))):
        rest = rest[len(mark.format("A")) :]
        following = re.search(rf"\s{re.escape(mark.format(letter(len(choices) + 1)))}", rest)
        end = following.start() if following else len(rest)
        choices.append(rest[:end].strip(" \n\t;"))
        rest = rest[end:].lstrip()
    if len(choices) < 2 or not all(choices):
        raise DataError(f"The choices {listed!r} cannot be split; expected them as '(A) ... (B) ...'.")
    return tuple(choices)


def _rows(data: str | Path) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets is not installed; install auricle[eval].") from error
    path = Path(data)
    files = sorted(str(file) for file in path.rglob("*.parquet")) if path.is_dir() else [str(path)]
    if path.is_dir() and not files:
        raise DataError(f"There is no parquet file in '{path}'.")
    try:
        if path.exists():
            rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        else:
            rows = datasets.load_dataset(str(data), split="test", streaming=True)
        if "context" in (rows.column_names or ()):  # as stored: our own reader decodes it
            rows = rows.cast_column("context", datasets.Audio(decode=False))
        yield from rows
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"'{data}' cannot be read as parquet or from the hub: {reason[:200]}") from error


def _decode(stored: Mapping[str, Any], name: str) -> Waveform:
    content = stored.get("bytes")
    if content is None:
        return audio.load(stored["path"])
    suffix = Path(stored.get("path") or "audio.wav").suffix
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:  # FFmpeg and libsndfile want a file to seek in
        file.write(content)
        file.flush()
        try:
            return audio.load(file.name)
        except AudioError as error:
            raise AudioError(f"The audio of {name} cannot be used: {error}") from error


def _is_longer(load: Callable[[], Waveform], seconds: float) -> bool:
    """Whether a recording is longer; one that cannot be read stays in, to be counted with its reason."""
    try:
        return load().size > seconds * SAMPLE_RATE
    except AudioError:
        return True


def _recording(stored: Mapping[str, Any]) -> str:
    """Tells recordings apart by their bytes: these sets ask several questions of one, a row each."""
    return hashlib.sha256(stored.get("bytes") or str(stored.get("path")).encode()).hexdigest()[:16]
